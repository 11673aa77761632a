"""The parts of train that a fold stands for, by every way of reading records."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import ContractError
from tests.support import tasks
from tests.support.datasets import write_dataset
from tests.support.folds import COPIES, divide, index_of
from trainer.config import TrainerError
from trainer.data import dataset, parts
from trainer.data.shards import integrity, mmap_tfrecord
from trainer.evaluation import inference, mistakes

COUNTS = {"train": (24, 8), "validation": (6, 6), "test": (9, 3)}
TRAIN = range(32)
HELD = [i for i in TRAIN if i % 3 == 1 and i % COPIES]
REST = [i for i in TRAIN if i % 3 != 1]


def written(path, encoding="uint8", shards=2, copies=True):
    write_dataset(path, encoding=encoding, splits=COUNTS, shards=shards)
    divide(path, 3, copies=copies)
    return path


def indices(batches) -> list[int]:
    """The numbers of the pictures, from their first pixel, in the order of the batches."""
    return [int(i) for images, *_ in batches for i in np.rint((images.numpy()[:, 0, 0, 0] + 2) * 64)]


@pytest.mark.parametrize("encoding", ["uint8", pytest.param("float16", marks=pytest.mark.slow), "png"])
@pytest.mark.parametrize("cache", ["none", pytest.param("memory", marks=pytest.mark.slow)])
@pytest.mark.parametrize("shards", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_a_fold_is_read_without_its_copies_and_the_rest_with_its_own(tmp_path, encoding, cache, shards):
    data = written(tmp_path / "d", encoding, shards)

    held = indices(dataset.load(data, "validation", 5, fold=1, cache=cache))
    assert sorted(held) == HELD
    keys, labels = inference.keys(data, "fold-1")
    assert [index_of(key) for key in keys] == held
    assert labels.tolist() == [int(y) for _, of in dataset.load(data, "fold-1", 5) for y in of]
    for load in (
        lambda: dataset.load(data, "train", 5, fold=1, cache=cache),
        lambda: dataset.load(data, "train", 5, shuffle=True, seed=3, fold=1, cache=cache),
    ):
        batches = load()
        assert int(batches.cardinality()) == -(-len(REST) // 5)
        assert sorted(indices(batches)) == REST


@pytest.mark.parametrize("encoding", ["uint8", "png"])
def test_shuffled_passes_have_orders_of_their_own_and_begin_where_they_are_told(tmp_path, encoding):
    data = written(tmp_path / "d", encoding)
    made = dataset.load(data, "train", 4, shuffle=True, seed=3, fold=1)
    first, second = indices(made), indices(made)
    begun = dataset.load(data, "train", 4, shuffle=True, seed=3, fold=1, start=lambda: (1, 2))

    assert first != second
    assert sorted(first) == sorted(second) == REST
    assert indices(begun) == second[8:]


@pytest.mark.parametrize("encoding", ["uint8", pytest.param("png", marks=pytest.mark.slow)])
def test_resampling_goes_by_the_classes_of_the_part(tmp_path, encoding):
    data = written(tmp_path / "d", encoding)
    batches = dataset.load(data, "train", 4, shuffle=True, seed=3, fold=1, resample="uniform")
    found = [(i, int(y)) for images, labels in batches for i, y in zip(indices([(images,)]), labels, strict=True)]

    assert len(found) == len(REST)
    assert {i for i, _ in found} <= set(REST)
    assert abs(sum(1 - 2 * y for _, y in found)) <= 1


def test_positions_of_gathered_records_are_those_of_the_part_only(tmp_path, monkeypatch):
    data = written(tmp_path / "d")
    read = set()
    check = mmap_tfrecord.Shard.check

    def checked(self, number):
        read.add((self.path, number))
        check(self, number)

    monkeypatch.setattr(mmap_tfrecord.Shard, "check", checked)
    list(dataset.load(data, "validation", 5, fold=1))

    assert len(read) == len(HELD)  # no other record was looked at


def test_parts_are_shared_and_their_pictures_found(tmp_path):
    data = written(tmp_path / "d")
    halves = [dataset.load(data, "fold-1", 4, share=(i, 2)) for i in range(2)]
    counted = [(batch[0], int(n)) for half in halves for batch, n in half]
    assert sum(n for _, n in counted) == len(HELD)

    keys, _ = inference.keys(data, "fold-1")
    images = inference.pixels(data, "fold-1", np.array([2, 0]), 4)
    assert [int(image[0, 0, 0]) for image in images] == [index_of(keys[2]), index_of(keys[0])]


def test_sources_are_those_of_the_records(tmp_path):
    from tests.support.folds import write_ledgers

    data = written(tmp_path / "d", shards=3)
    write_ledgers(data)
    keys, _ = inference.keys(data, "train-without-fold-1")
    assert mistakes.sources(data, "train-without-fold-1") == [f"in/{index_of(key)}.png" for key in keys]


def test_the_view_of_a_fold_counts_what_is_read(tmp_path):
    data = written(tmp_path / "d")
    contract = contracts.load(data)
    view = parts.view(contract, data, 1)

    assert view.split("train").records == len(REST)
    assert view.split("fold-1").records == len(HELD)
    labels = np.concatenate([y.numpy() for _, y in dataset.load(data, "train", 5, fold=1)])
    assert [view.split("train").stored[name] for name in contract.labels] == np.bincount(labels).tolist()
    assert view.split("test") == contract.split("test")


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_targets_have_folds_too(tmp_path, kind):
    contract = tasks.write(tmp_path / "d", kind)
    divide(tmp_path / "d", 4, 2)
    keys, targets = inference.keys(tmp_path / "d", "fold-6")

    assert sorted(index_of(key) for key in keys) == [i for i in range(48) if i // 2 % 4 == 2]
    found = np.concatenate([y.numpy() for _, y in dataset.load(tmp_path / "d", "fold-6", 5)])
    np.testing.assert_array_equal(found, targets)
    view = parts.view(contracts.load(tmp_path / "d"), tmp_path / "d", 6)
    assert view.task.images["fold-6"]["stored"] == view.split("fold-6").records == 12
    assert view.task.images["train"]["stored"] == view.split("train").records == 36
    assert contract.task.images["train"]["stored"] == 48


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"split": "train", "fold": 3}, TrainerError, "The fold should be one from 0 to 2, which dataset 'tiny' has."),
        ({"split": "fold--1"}, ContractError, "No split 'fold--1'"),
        ({"split": "test", "fold": 0}, TrainerError, "Other splits have no folds: leave the fold out."),
    ],
)
def test_what_is_no_part_is_refused_by_name(tmp_path, options, error, said):
    data = written(tmp_path / "d")
    with pytest.raises(error, match=re.escape(said)):
        dataset.load(data, batch_size=4, **options)


def test_a_dataset_without_folds_is_refused(tmp_path):
    write_dataset(tmp_path / "d", splits=COUNTS)
    with pytest.raises(ContractError, match="has no folds: prepare it with --folds"):
        dataset.load(tmp_path / "d", "train", 4, fold=0)


def test_a_stream_that_lacks_records_is_found(tmp_path):
    data = written(tmp_path / "d", "png")
    contract = contracts.load(data)
    part = parts.find(contract, data, "fold-1")
    paths = integrity.checked_shards(contract, str(data), "train")
    from trainer.data import record_stream

    assert len(list(record_stream.stream(part, paths))) == len(HELD)
    with tf.io.TFRecordWriter(paths[0]):  # the file has no record any more
        pass
    with pytest.raises(tf.errors.OpError):
        list(record_stream.stream(part, paths))
