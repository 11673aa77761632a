"""Records of several labels or of numbers: y is their target, whichever way a split is read."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Shard, Split, Task, tf_example, tfrecord
from tests.support import datasets
from trainer.config import TrainerError
from trainer.data import dataset

TARGETS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1]], np.float32)
AGES = np.array([[31.5, -2], [0, 1e-3], [7, 7], [1e6, 0.1], [-31, 5]], np.float32)


def write(directory: Path, encoding: str, kind: str, weighted: bool = False, targets: np.ndarray | None = None) -> None:
    """Writes five records in two shards, with picture i and row i of the targets."""
    directory.mkdir(parents=True)
    if targets is None:
        targets = TARGETS if kind == "multi-label" else AGES
    contract = datasets.make_contract(encoding=encoding, labels=("ant", "bee", "cat"), weighted=weighted)
    shards = []
    for number, members in enumerate((range(3), range(3, 5))):
        frames = [
            tfrecord.framed(
                tf_example.serialize(
                    datasets.encode(contract, datasets.picture(i, 0)),
                    tuple(targets[i].tolist()),
                    i / 2 if weighted else 1.0,
                    f"{i:016x}-000",
                )
            )
            for i in members
        ]
        path = directory / f"tiny-train.tfrecord-{number:05d}-of-00002"
        path.write_bytes(b"".join(frames))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append(Shard(path.name, len(frames), path.stat().st_size, digest))
    images = {"train": {"natural": 5, "stored": 5, "copies": 0}}
    counts = dict(zip(contract.labels, targets.sum(0).astype(int).tolist(), strict=False))
    if kind == "multi-label":
        task, split = Task(kind, images=images), Split(counts, counts, {}, tuple(shards))
    else:
        two = dict.fromkeys(("mean", "std", "median", "least", "greatest"), (1.0, 2.0))
        task = Task(kind, ("x", "y"), **two, images=images)
        contract, split = dataclasses.replace(contract, labels=()), Split({}, {}, {}, tuple(shards))
    contract = dataclasses.replace(contract, task=task, splits={"train": split})
    (directory / contracts.FILE_NAME).write_text(contract.to_json())


def read(directory: Path, **options) -> list[np.ndarray]:
    """All arrays of a pass, one after another: images, targets and perhaps weights."""
    batches = [[part.numpy() for part in batch] for batch in dataset.load(directory, "train", 2, **options)]
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


ORDER = [0, 3, 1, 4, 2]  # the records of two shards in turn


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
@pytest.mark.parametrize(
    ("encoding", "cache"),
    [
        pytest.param(encoding, cache, marks=[pytest.mark.slow] * (encoding == "float32" or cache != "none"))
        for encoding in ("uint8", "float16", "float32", "jpeg")
        for cache in ("none", "memory")
    ]
    + [("png", "none"), ("png", "memory")],
)
def test_y_is_the_target_as_it_is_stored(tmp_path, encoding, cache, kind):
    write(tmp_path / "d", encoding, kind)

    images, targets = read(tmp_path / "d", cache=cache)

    expected = TARGETS if kind == "multi-label" else AGES
    assert (images.dtype, images.shape, targets.dtype) == (np.float32, (5, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(targets, expected[ORDER])
    spec = dataset.load(tmp_path / "d", "train", 2, drop_remainder=True).element_spec
    assert spec[1] == tf.TensorSpec((2, expected.shape[1]), tf.float32)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("encoding", ["uint8", "png"])
def test_weights_stand_beside_targets_and_shuffled_passes_have_each_record_once(
    tmp_path, monkeypatch, encoding, streamed
):
    write(tmp_path / "d", encoding, "multi-label", weighted=True)
    if streamed:
        monkeypatch.setattr("trainer.data.shards.mmap_tfrecord.MAX_SHARDS", 0)

    _, targets, weights = read(tmp_path / "d", shuffle=True, seed=1)

    assert sorted(weights.tolist()) == [0.0, 0.5, 1.0, 1.5, 2.0]
    np.testing.assert_array_equal(targets, TARGETS[(weights * 2).astype(int)])


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("kind", "value"), [("multi-label", 0.5), ("regression", np.nan)])
def test_a_target_that_breaks_the_contract_is_an_error(tmp_path, monkeypatch, kind, value, streamed):
    targets = (TARGETS if kind == "multi-label" else AGES).copy()
    targets[4, 1] = value
    write(tmp_path / "d", "uint8", kind, targets=targets)
    if streamed:
        monkeypatch.setattr("trainer.data.shards.mmap_tfrecord.MAX_SHARDS", 0)

    with pytest.raises(tf.errors.InvalidArgumentError, match="target should"):
        read(tmp_path / "d")


def test_class_sampling_is_refused_by_name(tmp_path):
    write(tmp_path / "d", "uint8", "multi-label")

    with pytest.raises(TrainerError, match=r"--resample uniform draws records by their class, and .* multi-label"):
        dataset.load(tmp_path / "d", "train", 2, shuffle=True, resample="uniform")
