"""`dataset.batches` gives the batches of `dataset.load`, and its threads end with the pass."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from tests.support import fresh_python
from tests.support.datasets import write_dataset
from tests.support.folds import divide
from tests.trainer.data.test_metadata_columns import write as write_with_columns
from trainer.data import dataset

COUNTS = (11, 6)  # 17 records: not a multiple of the batch


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return written(tmp_path_factory.mktemp("data"), "uint8")


def written(path, encoding, **options):
    write_dataset(path / "set", encoding=encoding, splits={"train": COUNTS}, shards=3, **options)
    return path / "set"


def assert_alike(directory, batch_size=4, passes=2, split="train", **options):
    loaded = dataset.load(directory, split, batch_size, **options)
    tensors = dataset.batches(directory, split, batch_size, **options)
    arrays = dataset.batches(directory, split, batch_size, numpy=True, **options)
    assert len(loaded) == len(tensors) == len(arrays) > 0
    for _ in range(passes):
        found = [tf.nest.map_structure(lambda t: t.numpy(), batch) for batch in loaded]
        same(found, [tf.nest.map_structure(lambda t: t.numpy(), batch) for batch in tensors])
        same(found, list(arrays))


def same(one, other):
    tf.nest.assert_same_structure(one, other)
    for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"drop_remainder": True},
        {"shuffle": True, "seed": 3},
        {"shuffle": True, "seed": 3, "drop_remainder": True, "dequantize": False},
        {"shuffle": True, "seed": 3, "resample": "uniform"},
        {"shuffle": True, "seed": 3, "share": (1, 3)},
    ],
    ids=str,
)
def test_the_batches_of_load(directory, options):
    assert_alike(directory, **options)


@pytest.mark.parametrize(
    ("encoding", "options"),
    [
        ("float16", {"weighted": True}),
        ("float32", {}),
        pytest.param("jpeg", {}, marks=pytest.mark.slow),
        pytest.param("png", {}, marks=pytest.mark.slow),
    ],
)
def test_every_encoding(tmp_path, encoding, options):
    assert_alike(written(tmp_path, encoding, **options), shuffle=True, seed=0)


def test_columns_that_travel_along(tmp_path):
    assert_alike(write_with_columns(tmp_path / "set"), 2, with_metadata=True)


def test_a_fold(tmp_path):
    write_dataset(tmp_path, encoding="uint8", splits={"train": (24, 8), "validation": (6, 6)})
    divide(tmp_path, 3)
    assert_alike(tmp_path, shuffle=True, seed=1, fold=1)
    assert_alike(tmp_path, split="validation", fold=1)


@pytest.mark.slow
def test_streams(directory):
    assert_alike(f"file://{directory}", shuffle=True, seed=2)


@pytest.mark.parametrize("numpy", [False, True])
def test_a_pass_begins_where_it_is_told(directory, numpy):
    position = [0, 0]
    options = {"shuffle": True, "seed": 3, "start": lambda: tuple(position)}
    loaded, made = dataset.load(directory, "train", 4, **options), dataset.batches(
        directory, "train", 4, numpy=numpy, **options
    )  # fmt: skip
    for position[:] in ([0, 0], [1, 3], [0, 5], [2, 4]):
        labels = [np.asarray(batch[1]).tolist() for batch in made]
        assert labels == [batch[1].numpy().tolist() for batch in loaded]
        assert len(labels) == 5 - position[1]
    with pytest.raises(TypeError, match="start"):
        len(made)


def test_a_damaged_record_is_told_where_its_batch_is_due(tmp_path):
    path = written(tmp_path, "uint8")
    shard = sorted(path.glob("*train*"))[-1]
    content = bytearray(shard.read_bytes())
    content[-40] ^= 1  # of the last record, which comes in the last batch but one or the last
    shard.write_bytes(content)
    told, given = [], []
    for read in (dataset.load, dataset.batches):
        given.append([])
        with pytest.raises(tf.errors.OpError) as raised:
            given[-1].extend(batch[1].numpy().tolist() for batch in read(path, "train", 1))
        told.append((type(raised.value), shard.name in str(raised.value)))
    assert told[0] == told[1] == (told[0][0], True)
    assert given[0] == given[1]
    assert len(given[0]) > 10


@pytest.mark.parametrize("taken", [0, 1])
def test_a_pass_that_is_left_ends_its_threads(directory, taken):
    before = set(threading.enumerate())
    one_pass = iter(dataset.batches(directory, "train", 1))
    assert [len(next(one_pass)[1]) for _ in range(taken)] == [1] * taken
    del one_pass
    begun = set(threading.enumerate()) - before
    for thread in begun:
        thread.join(10)
    assert set(threading.enumerate()) <= before


@pytest.mark.slow
def test_a_program_ends_in_the_middle_of_a_pass(directory):
    code = (
        "import sys; from trainer.data import dataset\n"
        f"passes = [iter(dataset.batches({str(directory)!r}, 'train', 1, shuffle=True)) for _ in range(3)]\n"
        "print([len(next(one)[1]) for one in passes])"
    )
    assert fresh_python.output_of(code) == b"[1, 1, 1]\n"


@pytest.mark.parametrize("read", [dataset.load, dataset.batches])
def test_an_option_that_does_not_exist_is_named_beside_those_that_do(directory, read):
    with pytest.raises(TypeError, match=r"The options are shuffle, seed, .*, with_metadata\. Received: shufle\."):
        read(directory, "train", 4, shufle=True)
