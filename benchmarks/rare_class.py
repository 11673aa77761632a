"""Which way of making up for a rare class is the best, on real photographs: three seeds each, the same small network.

    SHARDMILL_DATA=/folder python benchmarks/rare_class.py --work /folder [--epochs 15] [--seeds 3] [--table]

The datasets: trashnet as it is (the rarest of six classes is 5 %), and dogcat made 9 to 1 by a manifest (450 cats to 50
dogs in train, 90 to 10 in validation, the other photographs in test). Each is prepared three times: as it is, and
balanced with augmented and with plain copies. Then every way of `WAYS` is trained with every seed, and on trashnet each
other option of the trainer once, with the first seed and the loss of the natural classes. Balanced shards have more
records and so more steps in an epoch; `LONGER` gives others as many.

A finished run is a line of WORK/runs.jsonl, so a broken off benchmark goes on where it was; --table prints the tables
of the lines that are there.
"""

from __future__ import annotations

import argparse
import collections
import csv
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

RARE = {"trashnet": "trash", "dogcat": "dog"}
PREPARED = {
    "natural": ["--balance", "none"],
    "augmented": ["--balance", "uniform"],
    "copies": ["--balance", "uniform", "--augment", "none"],
}
WAYS = {  # name -> (prepared, options)
    "nothing": ("natural", {}),
    "class weights": ("natural", {"loss": "weighted"}),
    "focal": ("natural", {"loss": "focal"}),
    "logit adjustment": ("natural", {"loss": "logit-adjusted"}),
    "resampling": ("natural", {"resample": "uniform"}),
    "balanced shards, augmented": ("augmented", {}),
    "balanced shards, plain copies": ("copies", {}),
}
LONGER = {  # the same for as many steps as balanced shards have in these epochs
    "nothing, as many steps": ("natural", {}),
    "logit adjustment, as many steps": ("natural", {"loss": "logit-adjusted"}),
    "resampling, as many steps": ("natural", {"resample": "uniform"}),
}
COSINE = {"schedule": "cosine", "warmup_epochs": 1.0}
OPTIONS = {
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "mixup 0.2": {"mixup": 0.2},
    "cutmix 1": {"cutmix": 1.0},
    "RandAugment 0.1": {"rand_augment": 0.1},
    "RandAugment 0.1, rare class only": {"rand_augment": 0.1, "flip": False, "augment_classes": "trash"},
    "resampling, temperature 2": {"resample": "temperature=2"},
    "cosine, 1 epoch of warm-up": COSINE,
    "weight decay 0.01": {"weight_decay": 0.01},
    "clipping at norm 1": {"clip_norm": 1.0},
    "EMA 0.98": {"ema": 0.98},
    "from the dogcat run": {"init_weights": "dogcat"},
    "from the dogcat run, frozen for 5 epochs": {
        "init_weights": "dogcat", "freeze_epochs": 5, "head_learning_rate": 0.01
    },
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--work", required=True, type=pathlib.Path, help="folder of datasets, runs and runs.jsonl")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", default="64x64")
    parser.add_argument("--table", action="store_true", help="only print the tables of what was run")
    arguments = parser.parse_args()
    lines = arguments.work / "runs.jsonl"
    if not arguments.table:
        arguments.work.mkdir(parents=True, exist_ok=True)
        prepare(pathlib.Path(os.environ["SHARDMILL_DATA"]), arguments.work, arguments.size)
        train(arguments.work, lines, arguments.epochs, arguments.seeds)
    print(tables([json.loads(line) for line in lines.read_text().splitlines()]))
    return 0


def prepare(photos: pathlib.Path, work: pathlib.Path, size: str, kinds: Iterable[str] = PREPARED) -> None:
    """Prepares both datasets in each of these ways; those that are there are kept."""
    manifest = work / "dogcat.csv"
    write_manifest(photos / "dogcat", manifest)
    sources = {
        "trashnet": [str(photos / "trashnet"), "--splits", "train=0.6,validation=0.15,test=0.25"],
        "dogcat": [str(manifest), "--allow-outside"],
    }
    for name, source in sources.items():
        for kind in kinds:
            options, output = PREPARED[kind], work / f"{name}-{kind}"
            if not (output / "contract.json").exists():
                command = [sys.executable, "-m", "pipelines", "prepare", "--input", *source, "--output", str(output)]
                subprocess.run([*command, "--size", size, "--encoding", "uint8", *options], cwd=ROOT, check=True)


def write_manifest(photos: pathlib.Path, manifest: pathlib.Path) -> None:
    """The first photographs of each class in the order of their names: train, then validation, then test."""
    with manifest.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "split"))
        for label, train, validation in (("cat", 450, 90), ("dog", 50, 10)):
            for index, path in enumerate(sorted((photos / label).iterdir())):
                split = "train" if index < train else "validation" if index < train + validation else "test"
                rows.writerow((os.path.relpath(path, manifest.parent), label, split))


def runs(seeds: int) -> Iterator[tuple[str, str, int, str, dict]]:
    """(dataset, way, seed, prepared, options) of every run, seed by seed, so that a broken off one is of some use."""
    for seed in range(seeds):
        for name in RARE:
            for way, (kind, options) in WAYS.items():
                yield name, way, seed, kind, options
    for way, options in OPTIONS.items():
        yield "trashnet", way, 0, "natural", options
    for seed in range(seeds):
        for name in RARE:
            for way, (kind, options) in LONGER.items():
                yield name, way, seed, kind, options


def train(work: pathlib.Path, lines: pathlib.Path, epochs: int, seeds: int) -> None:
    """Trains what has no line yet."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from trainer.config import TrainConfig
    from trainer.training.train import train as run

    done = {tuple(json.loads(line)["run"]) for line in lines.read_text().splitlines()} if lines.exists() else set()
    kept = work / "dogcat-model.keras"
    for name, way, seed, kind, options in runs(seeds):
        if (name, way, seed) in done:
            continue
        began, cpu, output = time.perf_counter(), time.process_time(), work / "run"
        shutil.rmtree(output, ignore_errors=True)
        chosen = {**options, **({"init_weights": str(kept)} if "init_weights" in options else {})}
        passes = longer(work, name, epochs) if way in LONGER else epochs
        config = TrainConfig(
            str(work / f"{name}-{kind}"), str(output), epochs=passes, seed=seed, verify="off", checkpoint_minutes=0.0,
            **chosen,
        )  # fmt: skip
        metrics = run(config)
        if (name, way, seed) == ("dogcat", "resampling", 0):
            shutil.copy(output / "model.keras", kept)
        line = result(metrics, RARE[name]) | {"run": [name, way, seed], "epochs": passes}
        line |= {"seconds": round(time.perf_counter() - began, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
        with lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


def longer(work: pathlib.Path, name: str, epochs: int) -> int:
    """Epochs of the natural shards that have as many records as these of the balanced ones."""
    from pipelines import contract

    natural, balanced = (
        contract.load(work / f"{name}-{kind}").split("train").records for kind in ("natural", "augmented")
    )
    return round(epochs * balanced / natural)


def result(metrics: dict, rare: str) -> dict:
    """What is compared, of the test split."""
    test = metrics["splits"]["test"]
    return {
        "balanced_accuracy": test["balanced_accuracy"],
        "rare_recall": test["per_class"][rare]["recall"],
        "accuracy": test["accuracy"],
        "kept": metrics["epochs"]["kept"],
        "train_records": metrics["train_records"],
    }


def tables(found: list[dict]) -> str:
    """Means and standard deviations over the seeds, and the other options beside the run without any."""
    by_way: dict[tuple[str, str], list[dict]] = collections.defaultdict(list)
    for line in found:
        by_way[line["run"][0], line["run"][1]].append(line)
    text = ["| | " + " | ".join(f"{name}: balanced accuracy | recall of {rare}" for name, rare in RARE.items()) + " |"]
    text.append("|---|" + "---|" * (2 * len(RARE)))
    for way in (*WAYS, *LONGER):
        cells = [spread([r[key] for r in by_way[name, way]]) for name in RARE
                 for key in ("balanced_accuracy", "rare_recall")]  # fmt: skip
        text.append(f"| {way} | " + " | ".join(cells) + " |")
    text += ["", "| trashnet, seed 0 | balanced accuracy | recall of trash | epoch kept | CPU seconds |"]
    text.append("|---|---|---|---|---|")
    for way in ("nothing", *OPTIONS):
        for line in (r for r in by_way["trashnet", way] if r["run"][2] == 0):
            text.append(
                f"| {way} | {line['balanced_accuracy']:.3f} | {line['rare_recall']:.2f} | {line['kept']} | "
                f"{line['cpu_seconds']:.0f} |"
            )
    return "\n".join(text)


def spread(values: list[float]) -> str:
    if not values:
        return ""
    return f"{statistics.mean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
