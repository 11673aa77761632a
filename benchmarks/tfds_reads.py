"""Prepares inputs as people have them, and reads each dataset with TensorFlow Datasets.

    SHARDMILL_DATA=/folder python benchmarks/tfds_reads.py [--only 01 27]

The inputs are those of SHARDMILL_DATA/cases that `look` reads (tests/support/cases.py lists them with their options).
Each is prepared at 32x32 pixels. TensorFlow Datasets opens the directory without code of ours, and has to give the
records of each split and class that the contract states. A line for each input; exit status 1 where one differs.
"""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import subprocess
import sys
import tempfile

import measure

sys.path.insert(0, str(measure.ROOT))

import tensorflow_datasets as tfds

from pipelines import contract as contracts
from tests.support.cases import CASES

# Of some inputs too much is rejected on purpose, or a class has nothing that can be read.
ALLOWED = ["--max-reject-rate", "1", "--allow-lost-classes"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help="numbers of the cases (default: all)")
    only = parser.parse_args().only
    folder = pathlib.Path(os.environ.get("SHARDMILL_DATA", "")) / "cases"
    if not folder.is_dir():
        sys.exit("Set SHARDMILL_DATA to the folder that has `cases`.")
    failed = 0
    for case, below, options, status, _ in CASES:
        if status or (only and not any(case.startswith(number) for number in only)):
            continue
        [drawn] = folder.glob(case)
        with tempfile.TemporaryDirectory(prefix="tfds-") as work:
            subprocess.run([sys.executable, str(drawn / "make.py"), f"{work}/in"], check=True)
            told = read(os.path.join(work, "in", below), options, os.path.join(work, "out"))
        failed += told.startswith("failed")
        print(f"{drawn.name:34s}{below:34s}{told}", flush=True)
    return 1 if failed else 0


def read(source: str, options: list[str], output: str) -> str:
    """Prepares an input and returns a line that says what TensorFlow Datasets finds."""
    command = ["-m", "pipelines", "prepare", "--input", source, "--output", output, "--size", "32", "--encoding", "png"]
    done = subprocess.run(
        [sys.executable, *command, *options, *ALLOWED], cwd=measure.ROOT, capture_output=True, text=True
    )
    if done.returncode:
        return f"failed: prepare ended with status {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
    contract = contracts.load(output)
    builder = tfds.builder_from_directory(output)
    if tuple(builder.info.features["label"].names) != contract.labels:
        return f"failed: the labels are {builder.info.features['label'].names!r:.200}"
    for name, split in contract.splits.items():
        found = collections.Counter[str]()
        for row in tfds.as_numpy(builder.as_dataset(split=name)):
            if row["image"].shape != contract.image_shape:
                return f"failed: an image of {name} is {row['image'].shape}"
            found[contract.labels[int(row["label"])]] += 1
        stored = {label: count for label, count in split.stored.items() if count}
        if dict(found) != stored:
            return f"failed: {name} has {dict(found)!r:.200}, and the contract says {stored!r:.200}"
    records = {name: split.records for name, split in contract.splits.items()}
    return f"{len(contract.labels)} classes, {records}"


if __name__ == "__main__":
    sys.exit(main())
