"""How fast a device may be before it waits for the loader: input wait against the length of a step.

    SHARDMILL_DATA=/folder python benchmarks/feed.py
    python benchmarks/feed.py --data prepared/

The device is a process that multiplies matrices (`synthetic_step.py`). On one core the loader shares it; on two the
device has one and the loader the other, also when it is measured alone. Steps take 0.25 to 8 times as long as the
loader, alone, needs for a batch.

Without --data, photographs are prepared as uint8, 128x128. Their train split is read several times over (as further
shards, links to the same files), so that the shuffle buffer is small beside it, as it is for a large dataset; the files
are in memory. Points measured while other processes took more than --others of a core are measured again, up to three
times.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import measure
import psutil

sys.path.insert(0, str(measure.ROOT))

from pipelines import contract as contracts
from trainer.bench.verdict import COMPUTE_BOUND, Findings

FACTORS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0)
RECORDS = 50_000  # at least, of the split that is read
TRIES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--data", default="", help="a prepared dataset; without it one is made of SHARDMILL_DATA")
    parser.add_argument("--count", type=int, default=4000, help="photographs to prepare (default: 4000)")
    parser.add_argument("--batch-size", type=int, default=256, help="images a step (default: 256)")
    parser.add_argument("--runs", type=int, default=5, help="processes to take medians over (default: 5)")
    parser.add_argument("--cores", default="1,2", help="numbers of cores to try (default: 1,2)")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="for each of the three rates of a point (default: 1)"
    )
    parser.add_argument(
        "--others", type=float, default=0.15, help="cores that other processes may take (default: 0.15)"
    )
    parser.add_argument("--json", default="", help="also write every point to this file")
    parser.add_argument("--child", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _child(args)
        return
    with tempfile.TemporaryDirectory(dir=pathlib.Path(args.data).resolve().parent if args.data else None) as temporary:
        work = pathlib.Path(temporary)  # beside the data: links do not cross file systems
        data = enlarged(pathlib.Path(args.data or prepared(work, args.count)), work / "enlarged")
        points = []
        core_counts = [int(n) for n in args.cores.split(",")]
        for run in range(args.runs):
            for cores in core_counts:
                points += _run(args, data, cores)
                print(f"run {run + 1} of {args.runs}, {cores} core(s)", file=sys.stderr, flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(points, indent=1) + "\n", encoding="utf-8")
    for cores in core_counts:
        report([p for p in points if p["cores"] == cores], cores, args)


def prepared(work: pathlib.Path, count: int) -> pathlib.Path:
    measure.collect(work / "photos", count)
    measure.run([sys.executable, "-m", "pipelines", "prepare", "--input", str(work / "photos"), "--output",
                 str(work / "data"), "--encoding", "uint8", "--size", "128x128", "--max-reject-rate", "0"])  # fmt: skip
    return work / "data"


def enlarged(data: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """The train split of `data` as a dataset of its own, each shard linked as often as it takes for RECORDS."""
    contract = contracts.load(data)
    split = contract.split("train")
    times = -(-RECORDS // split.records)
    target.mkdir()
    shards = []
    for i in range(times):
        for shard in split.shards:
            name = f"{i:03d}-{shard.file}"
            os.link(data / shard.file, target / name)
            shards.append(dataclasses.replace(shard, file=name))
    stored = {label: count * times for label, count in split.stored.items()}
    split = dataclasses.replace(split, shards=tuple(shards), stored=stored)
    text = dataclasses.replace(contract, splits={"train": split}).to_json()
    (target / contracts.FILE_NAME).write_text(text, encoding="utf-8")
    return target


def _run(args: argparse.Namespace, data: pathlib.Path, cores: int) -> list[dict]:
    command = [sys.executable, __file__, "--child", str(cores), "--data", str(data), "--others", str(args.others),
               "--batch-size", str(args.batch_size), "--seconds", str(args.seconds)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _child(args: argparse.Namespace) -> None:
    """One process on so many cores: a JSON list of points, one a factor, on the last line."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.child])  # before TensorFlow counts its threads
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    from synthetic_step import matrix_step

    from trainer.bench import measure as timing
    from trainer.bench.config import BenchConfig
    from trainer.training import train

    config = BenchConfig(args.data, batch_size=args.batch_size, seconds=args.seconds)
    contract = contracts.load(args.data)

    def time_step(step_ms: float) -> Findings:
        with matrix_step() as step:  # first: it starts TensorFlow's threads
            train.start_keras(0)
            step.set_milliseconds(step_ms, timing.batch_in_memory(contract, args.batch_size))
            return timing.time_step(config, contract, timing.load(config), step, xla=False)

    def point(step_ms: float) -> dict:
        for _ in range(TRIES):
            with _others() as others:
                found = time_step(step_ms)
            if others[0] <= args.others:
                break
        return {
            "cores": args.child,
            "step_ms": 1000 * args.batch_size / found.model.median,
            "loader": found.loader.median,
            "loader_cores": found.loader_cores,
            "model": found.model.median,
            "both": found.both.median,
            "wait_share": found.wait_share.median,
            "stretch": found.stretch,
            "others": others[0],
        }

    first = point(10.0)
    batch_ms = 1000 * args.batch_size / first["loader"]
    print(json.dumps([{"factor": factor, **point(factor * batch_ms)} for factor in FACTORS]))


@contextlib.contextmanager
def _others() -> Iterator[list[float]]:
    """Yields a list that afterwards holds how many cores other processes kept busy."""

    def busy() -> float:
        times = psutil.cpu_times()
        return times.user + times.system + times.nice

    def own() -> float:  # with the process that multiplies: it has been waited for at the end
        return sum(os.times()[:4])

    found: list[float] = []
    all_before, own_before, began = busy(), own(), time.monotonic()
    yield found
    found.append((busy() - all_before - own() + own_before) / (time.monotonic() - began))


def report(points: list[dict], cores: int, args: argparse.Namespace) -> None:
    """The table of one number of cores, and where the input wait falls under COMPUTE_BOUND."""

    def column(factor: float, name: str) -> list[float]:
        return [p[name] for p in points if p["factor"] == factor]

    quiet = sum(p["others"] <= args.others for p in points)
    print(
        f"\n{cores} core(s), batches of {args.batch_size}, medians of {args.runs} (least to greatest); "
        f"loader alone {measure.spread([p['loader'] for p in points])} images/s on "
        f"{measure.middle([p['loader_cores'] for p in points]):.2f} cores; {quiet} of {len(points)} points undisturbed"
    )
    print(f"{'step ms':>22}  {'loader / model':>22}  {'input wait %':>22}  {'step, times alone':>22}")
    rows = []
    for factor in FACTORS:
        ratios = [p["loader"] / p["model"] for p in points if p["factor"] == factor]
        waits = [100 * w for w in column(factor, "wait_share")]
        rows.append((measure.middle(ratios), measure.middle(waits)))
        cells = [column(factor, "step_ms"), ratios, waits, column(factor, "stretch")]
        print("  ".join(f"{measure.spread(values):>22}" for values in cells))
    print(line(rows))


def line(rows: list[tuple[float, float]]) -> str:
    """rows: (loader / model, input wait in %), from short steps to long ones."""
    above = [i for i, (_, wait) in enumerate(rows) if wait >= 100 * COMPUTE_BOUND]
    if not above:
        return f"input wait under {COMPUTE_BOUND:.0%} everywhere, from loader / model {rows[0][0]:.2f} on"
    if above[-1] == len(rows) - 1:
        return f"input wait is not under {COMPUTE_BOUND:.0%} at loader / model {rows[-1][0]:.2f}"
    (before, wait), (after, _) = rows[above[-1]], rows[above[-1] + 1]
    return f"input wait under {COMPUTE_BOUND:.0%} from loader / model {after:.2f} on (at {before:.2f}: {wait:.1f} %)"


if __name__ == "__main__":
    main()
