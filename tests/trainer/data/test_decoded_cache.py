"""Decoded once: the images, the orders and the weights are those of every pass."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import ContractError
from tests.support.datasets import picture, write_dataset
from trainer.config import TrainConfig, TrainerError
from trainer.data import dataset, decoded_cache
from trainer.data.shards.indexed_records import IndexedRecords
from trainer.training import resume

COUNTS = (11, 6)  # 17 records, 5 batches of 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "data"
    write_dataset(path, encoding="png", splits={"train": COUNTS}, shards=3, weighted=True)
    return path


@pytest.fixture
def parsed(monkeypatch):
    """How many records were read to be decoded."""
    count, read = [], IndexedRecords.__call__
    monkeypatch.setattr(IndexedRecords, "__call__", lambda self, p: (count.extend(p.tolist()), read(self, p))[1])
    return count


def epochs(batches, count=1):
    return [[(images.numpy(), labels.numpy(), w.numpy()) for images, labels, w in batches] for _ in range(count)]


def load(data, cache, **changes):
    options = {"shuffle": True, "seed": 3, "dequantize": False, **changes}
    return dataset.load(data, "train", 4, cache=cache, **options)


def assert_equal(one, other):
    for given, expected in zip(one, other, strict=True):
        for values, wanted in zip(given, expected, strict=True):
            for value, want in zip(values, wanted, strict=True):
                np.testing.assert_array_equal(value, want)


def order(epoch):
    return [int(i) for images, *_ in epoch for i in images[:, 0, 0, 0]]


def test_every_epoch_has_every_record_in_an_order_of_its_own_and_decodes_it_once(data, parsed):
    found = epochs(load(data, "memory"), 3)
    assert [sorted(order(epoch)) for epoch in found] == [list(range(17))] * 3
    assert order(found[0]) != order(found[1]) != order(found[2])
    assert sorted(parsed) == list(range(17))
    for images, labels, own in found[1]:
        for image, label, weight in zip(images, labels, own, strict=True):
            np.testing.assert_array_equal(image, picture(int(image[0, 0, 0]), int(label)))
            assert weight == image[0, 0, 0] / 2
    assert_equal(found, epochs(load(data, "memory"), 3))
    position = (1, 2)
    assert_equal([found[1][2:]], epochs(load(data, "memory", start=lambda: position)))


def test_in_the_order_of_the_shards_and_normalized_it_is_the_stream(data):
    options = {"shuffle": False, "seed": None, "dequantize": True}
    assert_equal(epochs(load(data, "memory", **options)), epochs(load(data, "none", **options)))


def test_no_room_is_one_sentence(data, monkeypatch):
    monkeypatch.setattr(decoded_cache, "MEMORY_SHARE", 1e-12)
    with pytest.raises(
        TrainerError, match=r"--cache memory needs .* half of the .* GB that this process may use: leave --cache out"
    ):
        load(data, "memory")


def test_another_cache_is_refused(data, tmp_path):
    write_dataset(tmp_path / "raw", encoding="uint8", splits={"train": COUNTS})
    for directory in (data, tmp_path / "raw"):
        with pytest.raises(TrainerError, match=r"cache should be one of none, memory\. Received: 'disk'"):
            load(directory, "disk")


def test_damaged_records_are_told_and_remote_datasets_refused(data, tmp_path):
    with pytest.raises(TrainerError, match="--cache memory needs local shards"):
        load(f"file://{data}", "memory")
    shutil.copytree(data, tmp_path / "bad")
    shard = tmp_path / "bad" / contracts.load(data).split("train").shards[1].file
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises((ContractError, tf.errors.OpError), match=r"Shard .*-00001-of-00003, record"):
        epochs(load(tmp_path / "bad", "memory"))


def test_raw_images_are_mapped_as_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(decoded_cache, "open_store", None)  # not called
    write_dataset(tmp_path / "raw", encoding="uint8", splits={"train": COUNTS}, weighted=True)
    assert_equal(epochs(load(tmp_path / "raw", "memory")), epochs(load(tmp_path / "raw", "none")))


def test_the_keys_of_a_batch_and_what_a_run_may_go_on_with(data):
    contract = contracts.load(data)
    batch = epochs(load(data, "memory"), 2)[1][3]
    options = dataset.ReadOptions("train", 4, shuffle=True, seed=3, cache="memory")
    records = dataset.records_of_batch(data, options, 1, 3)
    spec = contracts.feature_spec(contract)
    keys = [tf.io.parse_single_example(record, spec)["key"].numpy() for record in records]
    assert keys == [b"%016x-000" % int(i) for i in batch[0][:, 0, 0, 0]]
    reading = [
        resume.fingerprint(TrainConfig(str(data), "o", cache=cache), contract, 1)["reading"]
        for cache in ("none", "memory")
    ]
    assert reading == ["from memory maps"] * 2


def test_classes_are_resampled_as_those_of_raw_images(data, tmp_path):
    """The labels of all records are known before the first batch, from the cache or from raw shards."""
    write_dataset(tmp_path / "raw", encoding="uint8", splits={"train": COUNTS}, shards=3, weighted=True)
    [cached], [raw] = (epochs(load(place, "memory", resample="uniform")) for place in (data, tmp_path / "raw"))
    assert_equal([cached], [raw])
    assert sorted(np.concatenate([labels for _, labels, _ in cached]).tolist()) == [0] * 9 + [1] * 8
