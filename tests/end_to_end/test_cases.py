"""`prepare` of the inputs of SHARDMILL_DATA/cases: what is published, and that TFDS reads each result."""

from __future__ import annotations

import collections
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from pipelines.cli import main
from tests.support.cases import PREPARED, REFUSED, Made

pytestmark = pytest.mark.slow
_FLAGS = ("--size", "16", "--encoding", "uint8")


@pytest.fixture(scope="module")
def case(real_data, tmp_path_factory) -> Callable[[str], pathlib.Path]:
    """Draws a case once; returns its folder."""
    made: dict[str, pathlib.Path] = {}

    def draw(pattern: str) -> pathlib.Path:
        [maker] = (real_data / "cases").glob(f"{pattern}/make.py")
        if pattern not in made:
            made[pattern] = tmp_path_factory.mktemp("case")
            subprocess.run([sys.executable, str(maker), str(made[pattern])], check=True, timeout=120)
        return made[pattern]

    return draw


@pytest.mark.parametrize(("pattern", "below", "options", "made"), PREPARED)
def test_each_case_is_published_and_tfds_reads_it(pattern, below, options, made: Made, case, tmp_path, capfd):
    folder = case(pattern)
    out = tmp_path / "my data [x] (2)" / "cases v1.0"  # brackets and blanks: case 33
    options = [option.replace("{0}", str(folder)) for option in options]

    assert main.main(["prepare", "--input", str(folder / below), "--output", str(out), *_FLAGS, *options]) == 0

    told = capfd.readouterr()
    contract = json.loads((out / "contract.json").read_text())
    assert {name: split["records"] for name, split in contract["splits"].items()} == made.splits
    assert images(contract) == made.images
    assert contract["rejected"] == made.rejected
    assert made.says in told.out + told.err
    assert_tfds_reads(out, contract, made)


def images(contract: dict) -> dict[str, int]:
    """Class or label -> images of all splits."""
    if contract.get("task", {}).get("kind") == "regression":
        return {}
    found = collections.Counter[str]()
    for split in contract["splits"].values():
        found.update(split["natural"])
    return dict(found)


def assert_tfds_reads(out: pathlib.Path, contract: dict, made: Made) -> None:
    """Each split has its records, with images of 16x16, and the classes are as often as they should be."""
    tfds = pytest.importorskip("tensorflow_datasets")
    builder = tfds.builder_from_directory(str(out))
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == made.splits
    found, keys = collections.Counter[str](), set()
    for split in made.splits:
        for row in tfds.as_numpy(builder.as_dataset(split=split)):
            assert row["image"].shape == tuple(contract["image_shape"])
            assert row["image"].dtype == np.uint8
            keys.add(row["key"])
            if "label" in row:
                found[contract["labels"][row["label"]]] += 1
            elif made.images:
                found.update(label for label, is_it in zip(contract["labels"], row["target"], strict=True) if is_it)
            else:
                assert np.isfinite(row["target"]).all()
    assert len(keys) == sum(made.splits.values())
    assert dict(found) == made.images


@pytest.mark.parametrize(("pattern", "below", "options", "why"), REFUSED)
def test_what_is_not_published_says_why(pattern, below, options, why, case, tmp_path, capfd):
    folder = case(pattern)
    command = ["prepare", "--input", str(folder / below), "--output", str(tmp_path / "out"), *_FLAGS, *options]
    assert main.main(command) == 3
    assert why.format(folder) in capfd.readouterr().err
    assert not (tmp_path / "out/contract.json").exists()
