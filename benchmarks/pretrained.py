"""What published weights are worth on few photographs: the datasets of rare_class.py, with EfficientNet-Lite0.

    SHARDMILL_DATA=/folder python benchmarks/pretrained.py --work /folder --weights lite0.keras [--tuned 4] [--seeds 3]

`efficientnet_lite0.py` says how to make the file of weights. The photographs and splits are those of the table in
docs/training.md, at 224x224. A fitted head does not depend on the seed; fine-tuning is run with each of --seeds.

A finished run is a line of WORK/pretrained.jsonl, so a broken off benchmark goes on where it was; --table prints only
the table of the lines that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rare_class  # noqa: E402
from trainer import recipe  # noqa: E402

NETWORK = "benchmarks.efficientnet_lite0:network"
HEADS = {
    "fitted head": {"loss": "ce"},
    "fitted head, class weights": {"loss": "weighted"},
    "fitted head, logit adjustment (`--recipe transfer`)": {},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--work", required=True, type=pathlib.Path, help="folder of datasets and runs")
    parser.add_argument("--weights", required=True, help="the file that efficientnet_lite0.py writes")
    parser.add_argument("--tuned", type=int, default=4, help="epochs of fine-tuning; 0: none (default: 4)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of fine-tuning (default: 3)")
    parser.add_argument("--size", default="224x224")
    parser.add_argument("--table", action="store_true", help="only print the table of what was run")
    arguments = parser.parse_args()
    lines = arguments.work / "pretrained.jsonl"
    if not arguments.table:
        arguments.work.mkdir(parents=True, exist_ok=True)
        photos = pathlib.Path(os.environ["SHARDMILL_DATA"])
        rare_class.prepare(photos, arguments.work, arguments.size, kinds=("natural",))
        runs = [(name, 0, {"epochs": 0, **options}) for name, options in HEADS.items()]
        if arguments.tuned:
            way = f"the same, then {arguments.tuned} epochs of fine-tuning"
            runs += [(way, seed, {"epochs": arguments.tuned}) for seed in range(arguments.seeds)]
        for way, seed, options in runs:
            for name in rare_class.RARE:
                given = {"init_weights": arguments.weights, "seed": seed, **options}
                train(arguments.work, lines, name, way, given)
    print(table([json.loads(line) for line in lines.read_text().splitlines()]))
    return 0


def train(work: pathlib.Path, lines: pathlib.Path, name: str, way: str, options: dict) -> None:
    """Trains what has no line yet."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from trainer.config import TrainConfig
    from trainer.training.train import train as run

    done = [json.loads(line)["run"] for line in lines.read_text().splitlines()] if lines.exists() else []
    if [name, way, options["seed"]] in done:
        return
    began, cpu, output = time.perf_counter(), time.process_time(), work / "run"
    shutil.rmtree(output, ignore_errors=True)
    given = {"data": str(work / f"{name}-natural"), "output": str(output), "model": NETWORK, **options}
    metrics = run(TrainConfig(**recipe.filled(given, "transfer")))
    line = rare_class.result(metrics, rare_class.RARE[name]) | {"run": [name, way, options["seed"]]}
    line |= {"seconds": round(time.perf_counter() - began, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    with lines.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def table(found: list[dict]) -> str:
    """Returns the scores of each way, both datasets in one row; of several seeds means and deviations."""
    heads = [f"{name}: balanced accuracy | recall of {rare} | CPU-seconds" for name, rare in rare_class.RARE.items()]
    text = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * (3 * len(heads))]
    for way in dict.fromkeys(line["run"][1] for line in found):
        cells = []
        for name in rare_class.RARE:
            own = [line for line in found if line["run"][:2] == [name, way]]
            cells += [rare_class.spread([line[key] for line in own]) for key in ("balanced_accuracy", "rare_recall")]
            cells.append(f"{statistics.fmean(line['cpu_seconds'] for line in own):.0f}" if own else "")
        text.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(text)


if __name__ == "__main__":
    sys.exit(main())
