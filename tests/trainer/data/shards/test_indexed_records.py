"""Records of compressed images are found by position."""

import mmap
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import ContractError
from tests.support.datasets import write_dataset
from trainer.config import NO_CACHE
from trainer.data import dataset
from trainer.data.shards import indexed_records, mmap_tfrecord
from trainer.data.shards.indexed_records import IndexedRecords

COUNTS = (11, 6)  # 17 records, 5 batches of 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("indexed") / "data"
    write_dataset(path, encoding="png", splits={"train": COUNTS}, shards=3, weighted=True)
    return str(path)


def opened(data):
    return mmap_tfrecord.open_shards(contracts.load(data), data, "train")


def passes(data, count, **options):
    batches = dataset.load(data, "train", 4, dequantize=False, **options)
    return [[tuple(part.numpy() for part in batch) for batch in batches] for _ in range(count)]


def numbers(batches):
    return [int(i) for images, *_ in batches for i in images[:, 0, 0, 0]]


def same(one, other):
    return all(np.array_equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def test_records_by_position(data):
    shards = opened(data)
    everything = [
        bytes(record) for shard in shards for record in tf.data.TFRecordDataset(shard.path).as_numpy_iterator()
    ]
    found = IndexedRecords(shards)(np.array([16, 0, 5, 5]))
    assert found.tolist() == [everything[16], everything[0], everything[5], everything[5]]


def test_each_pass_has_each_record_in_an_order_of_the_whole_split(data):
    first, second = passes(data, 2, shuffle=True, seed=3)
    assert sorted(numbers(first)) == sorted(numbers(second)) == list(range(17))
    assert numbers(first) != numbers(second)
    assert same(first, passes(data, 1, shuffle=True, seed=3, cache="memory")[0])
    position = (1, 3)
    assert same(second[3:], passes(data, 1, shuffle=True, seed=3, start=lambda: position)[0])


def test_in_the_order_of_the_shards_it_is_the_stream(data):
    assert same(passes(data, 1)[0], passes(f"file://{data}", 1)[0])


def test_resampled_images_are_streamed_unless_they_are_cached(data):
    assert dataset.is_gathered(data, "train")
    assert not dataset.is_gathered(data, "train", NO_CACHE, "uniform")
    assert dataset.is_gathered(data, "train", "memory", "uniform")


def test_a_checksum_is_compared_once_and_a_damaged_record_is_named(data, tmp_path, monkeypatch):
    checked, check = [], mmap_tfrecord.Shard.check
    monkeypatch.setattr(mmap_tfrecord.Shard, "check", lambda shard, n: (checked.append(n), check(shard, n))[1])
    passes(data, 2, shuffle=True, seed=0)
    assert len(checked) == 17
    shutil.copytree(data, tmp_path / "bad")
    shards = opened(str(tmp_path / "bad"))
    start, _ = shards[1].place(2)
    with open(shards[1].path, "r+b") as file:
        file.seek(start + 9)
        file.write(b"\xff")
    with pytest.raises(ContractError, match=r"-00001-of-00003, record 2: a checksum does not agree"):
        IndexedRecords(shards)(np.array([shards[0].records + 2]))


def test_labels(data, tmp_path):
    labels = indexed_records.labels(contracts.load(data), opened(data))
    assert sorted(labels.tolist()) == [0] * 11 + [1] * 6
    assert labels.tolist() == [int(label) for label in np.concatenate([b[1] for b in in_order(data)])]


def in_order(data):
    """Batches of one record each, shard after shard."""
    records = IndexedRecords(opened(data))
    spec = contracts.feature_spec(contracts.load(data))
    for position in range(17):
        [record] = records(np.array([position]))
        yield None, tf.io.parse_single_example(record, spec)["label"].numpy()[None]


def test_the_pages_of_a_batch_are_asked_for_together(data, monkeypatch):
    asked = []

    class Map:
        def __init__(self, content):
            self.content = content

        def __len__(self):
            return len(self.content)

        def __getitem__(self, part):
            return self.content[part]

        def madvise(self, option, start, length):
            asked.append((option, start % mmap.PAGESIZE, length > 0))

    shards = opened(data)
    for shard in shards:
        shard.map = Map(shard.map)
    records = IndexedRecords(shards)
    records(np.arange(5))
    records(np.arange(6))
    assert asked == [(mmap.MADV_WILLNEED, 0, True)] * 6  # none again that was read before
