"""Kills training again and again, resumes it, and compares the weights with those of a run that nobody killed.

    python benchmarks/soak_resume.py [--kills 20] [--seed 0] [--work /folder]
    … --signals SIGTERM SIGINT SIGHUP SIGQUIT

Trains the small network on 600 drawn images, once to the end, and then with a signal (SIGKILL, or one drawn from
--signals) at a random moment, over and over, each time going on with --resume; a run that reaches its end is compared,
and another begins. Now and then the newest checkpoint is cut short as well. A line for each signal; exit status 1
unless no process is left and the weights, metrics.json and the history (but for the images/s) are equal, exactly, in
every run.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

import signals

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

RECORDS = {"train": 600, "validation": 60, "test": 60}
OPTIONS = [
    "--epochs", "4", "--batch-size", "4", "--loss", "weighted", "--checkpoint-steps", "5", "--verify", "off",
]  # fmt: skip
CUT_RATE = 0.2  # of the kills


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    signals.add_option(parser)
    parser.add_argument("--work", default="", help="folder to work in; a temporary one if not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-", dir=arguments.work or None) as folder:
        try:
            return soak(pathlib.Path(folder), arguments.kills, arguments.signals, random.Random(arguments.seed))
        except signals.LeftBehindError as e:
            print(f"failed: {e}")
            return 1


def soak(folder: pathlib.Path, kills: int, names: list[str], draw: random.Random) -> int:
    """Returns the exit status: 0 where all runs came to the same."""
    data, whole, killed = folder / "data", folder / "whole", folder / "killed"
    write_dataset(data)
    start, length = training_seconds(data, whole)
    print(f"uninterrupted: {start:.1f} s until the first checkpoint, {length:.1f} s of training", flush=True)
    for number in range(1, kills + 1):
        said = train_and_kill(data, killed, draw.uniform(0, start + length / 2), names, draw)
        if not (killed / "metrics.json").exists() and draw.random() < CUT_RATE and cut_newest(killed):
            said += ", and cut short"
        print(f"kill {number:>3}: {said}", flush=True)
        if (killed / "metrics.json").exists() and not same(whole, killed):
            return 1
    finish = subprocess.run(command(data, killed, "--resume"), cwd=ROOT, capture_output=True, text=True, check=False)
    if finish.returncode:
        print(f"the last resume failed:\n{finish.stderr[-2000:]}")
        return 1
    return 0 if same(whole, killed) else 1


def same(whole: pathlib.Path, killed: pathlib.Path) -> bool:
    """Compares a run that came to its end, says so, and takes it away."""
    differences = compare(whole, killed)
    print("\n".join(differences) or "  equal: every weight, the metrics and the history", flush=True)
    if not differences:
        shutil.rmtree(killed)
    return not differences


def command(data: pathlib.Path, output: pathlib.Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "trainer", "train", "--data", str(data), "--output", str(output), *OPTIONS, *more]


def training_seconds(data: pathlib.Path, output: pathlib.Path) -> tuple[float, float]:
    """Trains to the end; gives the seconds until the first checkpoint, and from there to the last."""
    began = time.monotonic()
    process = subprocess.Popen(command(data, output), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = last = 0.0
    while process.poll() is None:
        if list(output.glob("checkpoints/*.checkpoint")):
            last = time.monotonic() - began
            first = first or last
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit("The uninterrupted run failed: run `python -m trainer train` by hand to see why.")
    return first, last - first


def train_and_kill(
    data: pathlib.Path, output: pathlib.Path, seconds: float, names: list[str], draw: random.Random
) -> str:
    """Goes on with the run and kills it so many seconds after its start, unless it has ended; says what happened."""
    said = signals.end_after(command(data, output, "--resume"), ROOT, seconds, names, draw)
    newest = max((path.name for path in output.glob("checkpoints/*.checkpoint")), default="no checkpoint")
    return f"{said}; the newest is {newest}" if said else "none, it had ended"


def cut_newest(output: pathlib.Path) -> bool:
    """Only where there is another one to fall back to."""
    paths = sorted(output.glob("checkpoints/*.checkpoint"))
    if len(paths) < 2:
        return False
    with paths[-1].open("r+b") as file:
        file.truncate(paths[-1].stat().st_size // 2)
    return True


def compare(one: pathlib.Path, other: pathlib.Path) -> list[str]:
    """A line for everything that differs."""
    differences = []
    weights = [members(folder / "model.keras") for folder in (one, other)]
    if weights[0] != weights[1]:
        differences.append("DIFFERENT: the weights in model.keras")
    if json.loads((one / "metrics.json").read_text()) != json.loads((other / "metrics.json").read_text()):
        differences.append("DIFFERENT: metrics.json")
    if history(one) != history(other):
        differences.append("DIFFERENT: metrics.csv")
    return differences


def members(path: pathlib.Path) -> dict[str, list[tuple[str, bytes]]]:
    """The arrays of a .keras file by name; HDF5's own bytes hold addresses and times."""
    import h5py

    with zipfile.ZipFile(path) as archive:
        stored = io.BytesIO(archive.read("model.weights.h5"))
    found: dict[str, list[tuple[str, bytes]]] = {}
    with h5py.File(stored) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: [(str(item.dtype), item[()].tobytes())]})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return found


def history(output: pathlib.Path) -> list[dict[str, str]]:
    with (output / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "images_per_second"} for row in csv.DictReader(file)]


def write_dataset(directory: pathlib.Path) -> None:
    """A dataset by `python -m pipelines`' contract, of noise that is brighter above or below: nothing to wait for."""
    from tests.support import datasets

    splits = {name: (2 * count // 3, count - 2 * count // 3) for name, count in RECORDS.items()}
    datasets.write_dataset(directory, encoding="uint8", splits=splits, weighted=True)


if __name__ == "__main__":
    sys.exit(main())
