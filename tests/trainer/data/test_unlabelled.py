"""The split of images without a label: y is -1 or NaN, however it is read, and nothing trains or scores on it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import ContractError, Shard, Split, Task, tf_example, tfrecord
from tests.support import datasets
from trainer.bench.config import BenchConfig, check_split
from trainer.config import TrainerError
from trainer.data import dataset
from trainer.evaluation import inference

ORDER = [0, 3, 1, 4, 2]  # the records of two shards in turn
WIDTHS = {"classes": 0, "multi-label": 3, "regression": 2}


def write(directory: Path, encoding: str, kind: str, label: object = None) -> contracts.Contract:
    """Writes five records without a label in two shards, with picture i; `label` is that of the last one."""
    directory.mkdir(parents=True)
    contract = datasets.make_contract(encoding=encoding, labels=("ant", "bee", "cat"))
    width = WIDTHS[kind]
    unknown = (math.nan,) * width if width else -1
    shards = []
    for number, members in enumerate((range(3), range(3, 5))):
        frames = [
            tfrecord.framed(
                tf_example.serialize(
                    datasets.encode(contract, datasets.picture(i, 0)),
                    unknown if i < 4 or label is None else label,
                    1.0,
                    f"{i:016x}-000",
                )
            )
            for i in members
        ]
        path = directory / f"tiny-unlabelled.tfrecord-{number:05d}-of-00002"
        path.write_bytes(b"".join(frames))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append(Shard(path.name, len(frames), path.stat().st_size, digest))
    images = {"train": {"natural": 0, "stored": 0, "copies": 0}}
    task = Task() if kind == "classes" else Task(kind, images=images)
    if kind == "regression":
        two = dict.fromkeys(("mean", "std", "median", "least", "greatest"), (1.0, 2.0))
        task, contract = Task(kind, ("x", "y"), **two, images=images), dataclasses.replace(contract, labels=())
    of_train, without = Split({}, {}, {}, ()), Split({}, {}, {}, tuple(shards))
    contract = dataclasses.replace(contract, task=task, splits={"train": of_train}, unlabelled=without)
    (directory / contracts.FILE_NAME).write_text(contract.to_json())
    return contract


def read(directory: Path, **options) -> list[np.ndarray]:
    batches = [[part.numpy() for part in batch] for batch in dataset.load(directory, "unlabelled", 2, **options)]
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("float16", "float32")]


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        pytest.param(how, kind, marks=[pytest.mark.slow] * (how != "mapped" and kind != "classes"))
        for how in ("mapped", "cached", "streamed")
        for kind in WIDTHS
    ],
)
@pytest.mark.parametrize("encoding", ["uint8", *SLOW, "png"])
def test_images_come_with_labels_that_say_there_is_none(tmp_path, monkeypatch, encoding, how, kind):
    contract = write(tmp_path / "d", encoding, kind)
    if how == "streamed":
        monkeypatch.setattr("trainer.data.shards.mmap_tfrecord.MAX_SHARDS", 0)

    images, labels = read(tmp_path / "d", cache="memory" if how == "cached" else "none")

    pixels = np.stack([datasets.picture(i, 0) for i in ORDER])
    np.testing.assert_allclose(images, contracts.normalize(contract, tf.constant(pixels)), atol=2e-3)
    if WIDTHS[kind]:
        assert labels.shape == (5, WIDTHS[kind])
        assert np.isnan(labels).all()
    else:
        assert (labels.dtype, labels.tolist()) == (np.int64, [-1] * 5)
    keys, of_keys = inference.keys(tmp_path / "d", "unlabelled")
    assert keys == tuple(f"{i:016x}-000" for i in ORDER)
    np.testing.assert_array_equal(of_keys, labels)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("kind", "label"), [("classes", 1), ("multi-label", (1.0, 0.0, 0.0)), ("regression", (3.0, 4.0))]
)
@pytest.mark.parametrize("encoding", ["uint8", "png"])
def test_a_record_that_has_a_label_is_an_error(tmp_path, monkeypatch, encoding, kind, label, streamed):
    write(tmp_path / "d", encoding, kind, label)
    if streamed:
        monkeypatch.setattr("trainer.data.shards.mmap_tfrecord.MAX_SHARDS", 0)
    with pytest.raises((tf.errors.InvalidArgumentError, ContractError), match="should have no label"):
        read(tmp_path / "d")


def test_shuffled_passes_have_each_record_once(tmp_path):
    write(tmp_path / "d", "uint8", "classes")
    images, labels = read(tmp_path / "d", shuffle=True, seed=1)
    assert (len(images), labels.tolist()) == (5, [-1] * 5)


def test_nothing_is_measured_on_it(tmp_path):
    contract = write(tmp_path / "d", "uint8", "classes")
    with pytest.raises(TrainerError, match="has images without a label, and training needs labels"):
        check_split(BenchConfig(data=str(tmp_path / "d"), split="unlabelled", batch_size=2), contract)
    assert contract.priors("unlabelled") == (0.0, 0.0, 0.0)
