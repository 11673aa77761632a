"""Datasets of format version 1, as an earlier version wrote them, are read as ever; tests/data/format_1/README.md."""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import contract as contracts
from trainer import dataset

ROOT = pathlib.Path(__file__).parents[2]
KEPT = ROOT / "tests/data/format_1"
SPLITS = ("test", "train", "validation")

# (encoding, split) -> the labels in order, and the SHA-256 of all pixels, uint8 (N, 8, 8, 3).
STORED = {
    ("uint8", "train"): ([1] * 14 + [0], "a6b00c5354ace75d77f86d6c8b43d0ca724ac1ac267bf4f906f5b62c3e58cbdc"),
    ("uint8", "validation"): (
        [1, 1, 1, 1, 0, 1, 1],
        "19d8a88b48b2ad197c76aba83d1a9a646fa97b794ee241eb0bf0f3787b299e0e",
    ),
    ("uint8", "test"): (
        [1, 1, 1, 1, 1, 0, 1, 1],
        "8326927f1e3da234c971b29a9d44402c1c53e65c08d58b45de80d8c33c37cc3c",
    ),
    ("jpeg", "train"): (
        [0, 1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 0],
        "eb745377eecd8d6b101d485945e5137d3ba58b58e3af4847782587073f5a1b22",
    ),
    ("jpeg", "validation"): (
        [1, 1, 1, 1, 0, 1, 1],
        "443aaa3bd2d938a9c892452d51203e6760630b04f41c33d37c41ad517f1048f4",
    ),
    ("jpeg", "test"): (
        [1, 1, 1, 1, 1, 0, 1, 1],
        "469d11eaf55880fcd863a130acd83d33060e75596e24c8348a4a9f0719542f14",
    ),
}
# encoding -> (natural, stored, copies) of the train split, by class.
TRAIN = {
    "uint8": ({"cracked": 1, "sound": 14}, {"cracked": 1, "sound": 14}, {"cracked": 0, "sound": 0}),
    "jpeg": ({"cracked": 1, "sound": 14}, {"cracked": 10, "sound": 14}, {"cracked": 9, "sound": 0}),
}
CONTRACT_DIGEST = {
    "uint8": "e65f2ad4ded31bddf02620c684b11bc4b2245122e639bee1dea201161bffd76f",
    "jpeg": "1d5407dec1d9b4fecf6b1da2d16f61ed052d68aeb5652b12a5bbf04ae81e660a",
}


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pipelines", *arguments], cwd=ROOT, capture_output=True, text=True)


def passed_over(encoding: str, split: str, **options: Any) -> tuple[np.ndarray, list[int]]:
    """(images (N, 8, 8, 3), labels) of one pass without shuffling."""
    batches = list(dataset.load(KEPT / encoding, split, 4, **options))
    images = np.concatenate([images.numpy() for images, *_ in batches])
    return images, [int(label) for _, labels, *_ in batches for label in labels]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("encoding", ["uint8", "jpeg"])
def test_the_trainer_reads_the_very_pixels(encoding, split):
    pixels, labels = passed_over(encoding, split, dequantize=False)
    assert (pixels.dtype, pixels.shape[1:]) == (np.uint8, (8, 8, 3))
    assert (labels, hashlib.sha256(pixels.tobytes()).hexdigest()) == STORED[encoding, split]
    images, again = passed_over(encoding, split)
    assert again == labels
    contract = contracts.load(KEPT / encoding)
    affine = contract.normalization
    expected = pixels * np.float32(affine.scale) + np.float32(affine.offset)
    np.testing.assert_allclose(images, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("encoding", ["uint8", "jpeg"])
def test_the_contract_says_what_it_said(encoding):
    contract = contracts.load(KEPT / encoding)
    assert contract.digest == CONTRACT_DIGEST[encoding]
    assert (contract.format_version, contract.encoding, contract.labels) == (1, encoding, ("cracked", "sound"))
    train = contract.split("train")
    assert (dict(train.natural), dict(train.stored), dict(train.copies)) == TRAIN[encoding]
    assert contract.versions["shardmill"] == "0.1.0"


# The graph gives what a record would hold: that of `jpeg` compresses the pixels on the way.
@pytest.mark.parametrize(("encoding", "levels"), [("uint8", 0), ("jpeg", 3)])
def test_the_transform_graph_still_runs(encoding, levels):
    contract = contracts.load(KEPT / encoding)
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, format="PNG")
    _, images = contracts.load_transform(KEPT / encoding)
    got = images(tf.constant([png.getvalue()]))[0]
    most = levels * max(contract.normalization.scale) + 1e-5
    np.testing.assert_allclose(got, contracts.normalize(contract, tf.constant(pixels)), rtol=0, atol=most)


@pytest.mark.slow
@pytest.mark.parametrize(("encoding", "records"), [("uint8", 30), ("jpeg", 39)])
def test_verify_and_inspect_read_it(encoding, records):
    checked = command("verify", str(KEPT / encoding))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith(f"Intact: {records} records in 6 shards ")
    shown = command("inspect", str(KEPT / encoding), "--json")
    assert shown.returncode == 0, shown.stderr
    told = json.loads(shown.stdout)
    assert told["format_version"] == 1
    assert {name: told["splits"][name]["shard_count"] for name in SPLITS} == dict.fromkeys(SPLITS, 2)
    assert sum(sum(told["splits"][name]["stored"].values()) for name in SPLITS) == records


@pytest.mark.slow
@pytest.mark.parametrize("program", ["verify", "inspect"])
def test_a_newer_format_is_refused_with_what_to_do(tmp_path, program):
    copy = tmp_path / "data"
    shutil.copytree(KEPT / "uint8", copy)
    text = (copy / contracts.FILE_NAME).read_text()
    assert '"format_version": 1,' in text
    (copy / contracts.FILE_NAME).write_text(text.replace('"format_version": 1,', '"format_version": 2,'))
    sentence = (
        "format_version should be 1. Received: 2: use the Shardmill that made it, or this one to prepare the "
        "dataset again"
    )
    done = command(program, str(copy))
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr
    with pytest.raises(contracts.ContractError, match=sentence):
        dataset.load(copy, "test", 4)
