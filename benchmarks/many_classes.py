"""Takes thousands of classes from folders to an evaluation and an exported model.

    python benchmarks/many_classes.py [--classes 10000]

It draws three PNG files of 8x8 pixels for each class, runs `look`, `prepare`, `verify`, `train`, `evaluate` and
`predict` as a user does, and compares what they say with what was drawn: the images of each class, the class of each
record, and one probability for each class. It prints what each command took. Exit status 1 where something differs.
With 10,000 classes it takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import collections
import csv
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from measure import ROOT
from PIL import Image

IMAGES = 3  # of each class
SIDE = 8  # pixels


class DifferenceError(Exception):
    """Says what a command made of the classes instead of what it should."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--classes", type=int, default=10_000, help="number of classes (default: 10000)")
    classes = parser.parse_args().classes
    with tempfile.TemporaryDirectory(prefix="many-classes-") as folder:
        work = pathlib.Path(folder)
        draw(work / "in", classes)
        try:
            check(work, classes)
        except DifferenceError as e:
            print(f"failed: {e}")
            return 1
    print(f"{classes:,} classes: as drawn")
    return 0


def draw(folder: pathlib.Path, classes: int) -> None:
    """Draws images of noise, each another."""
    random = np.random.default_rng(0)
    for number in range(classes):
        (folder / name(number)).mkdir(parents=True)
        for image in range(IMAGES):
            pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name(number) / f"{image}.png")


def name(number: int) -> str:
    """Returns the name of a class; names are in the order of the numbers."""
    return f"class {number:06d}"


def check(work: pathlib.Path, classes: int) -> None:
    """Runs the commands; raises DifferenceError where they do not agree with what was drawn."""
    names = [name(number) for number in range(classes)]
    data, run = work / "data", work / "run"
    looked = json.loads(_run("pipelines", "look", str(work / "in"), "--json"))
    _same("images that look counts", looked["images"], {label: {"": IMAGES} for label in names})
    _run("pipelines", "prepare", "--input", str(work / "in"), "--output", str(data), "--size", str(SIDE),
         "--encoding", "uint8", "--shards", "4")  # fmt: skip
    contract = json.loads((data / "contract.json").read_text())
    _same("labels of the contract", contract["labels"], names)
    stored = collections.Counter[str]()
    for split in contract["splits"].values():
        stored.update(split["stored"])
    _same("records of each class", dict(stored), dict.fromkeys(names, IMAGES))
    _run("pipelines", "verify", str(data))
    _run("trainer", "train", "--data", str(data), "--output", str(run), "--epochs", "1", "--model", "cnn",
         "--batch-size", "256")  # fmt: skip
    _run("trainer", "evaluate", "--model", str(run), "--data", str(data), "--output", str(work / "test"))
    folders = {}
    for shard in contract["splits"]["test"]["shards"]:
        for line in (data / "ledger" / f"{shard['file']}.jsonl").read_text().splitlines():
            record = json.loads(line)
            folders[record["key"]] = pathlib.PurePath(record["uri"]).parent.name
    with open(work / "test" / "predictions-test.csv", newline="") as file:
        answered = {row["key"]: row["label"] for row in csv.DictReader(file)}
    _same("records and classes that evaluate answers", answered, folders)
    photographs = [str(work / "in" / label / "0.png") for label in (names[0], names[-1])]
    for line in _run("trainer", "predict", "--model", str(run / "saved_model"), "--json", *photographs).splitlines():
        probabilities = json.loads(line)["probabilities"]
        _same("labels of predict", sorted(probabilities), names)
        if abs(sum(probabilities.values()) - 1) > 1e-3:
            raise DifferenceError(f"probabilities should sum to 1. Received: {sum(probabilities.values())}")


def _run(program: str, *arguments: str) -> str:
    """Runs a command, prints its time, and returns what it printed."""
    started = time.monotonic()
    command = [sys.executable, "-m", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DifferenceError(f"{arguments[0]} ended with status {done.returncode}: {done.stderr[-2000:]}")
    print(f"{arguments[0]:10s}{time.monotonic() - started:7.1f} s", flush=True)
    return done.stdout


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise DifferenceError(f"{what}: expected {expected!r:.200}. Received: {found!r:.200}")


if __name__ == "__main__":
    sys.exit(main())
