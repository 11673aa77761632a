"""Decoded once, whatever became of the cache meanwhile: the images, the orders and the weights are the same."""

from __future__ import annotations

import errno
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import ContractError
from tests.support.datasets import picture, write_dataset
from trainer.config import TrainConfig, TrainerError
from trainer.data import dataset, decoded_cache
from trainer.training import resume

COUNTS = (11, 6)  # 17 records, 5 batches of 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "data"
    write_dataset(path, encoding="png", splits={"train": COUNTS}, shards=3, weighted=True)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(decoded_cache, "folder", lambda: tmp_path / "decoded")
    return tmp_path / "decoded"


@pytest.fixture
def parsed(monkeypatch):
    """How many records were read to be decoded."""
    count, record = [], decoded_cache.Store._record
    monkeypatch.setattr(decoded_cache.Store, "_record", lambda self, p: (count.append(p), record(self, p))[1])
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


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_every_epoch_has_every_record_in_an_order_of_its_own_and_decodes_it_once(data, parsed, cache):
    found = epochs(load(data, cache), 3)
    assert [sorted(order(epoch)) for epoch in found] == [list(range(17))] * 3
    assert order(found[0]) != order(found[1]) != order(found[2])
    assert sorted(parsed) == list(range(17))
    for images, labels, own in found[1]:
        for image, label, weight in zip(images, labels, own, strict=True):
            np.testing.assert_array_equal(image, picture(int(image[0, 0, 0]), int(label)))
            assert weight == image[0, 0, 0] / 2
    assert_equal(found, epochs(load(data, "memory" if cache == "disk" else "disk"), 3))
    position = (1, 2)
    assert_equal([found[1][2:]], epochs(load(data, cache, start=lambda: position)))


def test_in_the_order_of_the_shards_and_normalized_it_is_the_stream(data):
    options = {"shuffle": False, "seed": None, "dequantize": True}
    assert_equal(epochs(load(data, "memory", **options)), epochs(load(data, "none", **options)))


def test_a_file_serves_later_runs_and_what_is_not_whole_in_it_is_decoded_again(data, folder, parsed):
    whole = epochs(load(data, "disk"))
    (file,) = folder.iterdir()
    parsed.clear()
    assert_equal(epochs(load(data, "disk")), whole)
    assert parsed == []
    content = bytearray(file.read_bytes())
    row = 8 * 8 * 3 + 8 + 4
    assert len(content) == 17 * (4 + row)
    content[4 * 2 : 4 * 3] = bytes(4)  # row 2 was not written when the run was killed
    content[4 * 17 + 5 * row + 100] ^= 1  # row 5 is damaged
    seven, nine = 4 * 17 + 7 * row, 4 * 17 + 9 * row  # row 9 lies in the place of row 7
    content[seven : seven + row] = content[nine : nine + row]
    content[4 * 7 : 4 * 8] = content[4 * 9 : 4 * 10]
    file.write_bytes(content)
    assert_equal(epochs(load(data, "disk")), whole)
    assert sorted(parsed) == [2, 5, 7]
    parsed.clear()
    file.write_bytes(content[:-1])  # of another size: made anew
    assert_equal(epochs(load(data, "disk")), whole)
    assert len(parsed) == 17


def test_another_dataset_is_another_file(data, folder, tmp_path):
    epochs(load(data, "disk"))
    write_dataset(tmp_path / "other", encoding="png", splits={"train": (6, 11)}, shards=3, weighted=True)
    epochs(load(tmp_path / "other", "disk"))
    shutil.copytree(data, tmp_path / "copy")
    epochs(load(tmp_path / "copy", "disk"))  # the same dataset elsewhere
    assert len(list(folder.iterdir())) == 2


def test_no_room_is_one_sentence(data, folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(decoded_cache.os, "posix_fallocate", full)
        with pytest.raises(TrainerError, match=r"--cache disk needs 0.00 GB in .*No space left on device\): make room"):
            load(data, "disk")
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(decoded_cache, "MEMORY_SHARE", 1e-12)
    with pytest.raises(TrainerError, match=r"--cache memory needs .* more than half of this machine's .*--cache disk"):
        load(data, "memory")


def test_damaged_records_are_told_and_remote_datasets_refused(data, tmp_path):
    with pytest.raises(TrainerError, match="--cache disk needs local shards"):
        load(f"file://{data}", "disk")
    shutil.copytree(data, tmp_path / "bad")
    shard = tmp_path / "bad" / contracts.load(data).split("train").shards[1].file
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises((ContractError, tf.errors.OpError), match=r"Shard .*-00001-of-00003, record"):
        epochs(load(tmp_path / "bad", "memory"))


def test_raw_images_are_mapped_as_ever(tmp_path, folder):
    write_dataset(tmp_path / "raw", encoding="uint8", splits={"train": COUNTS}, weighted=True)
    assert_equal(epochs(load(tmp_path / "raw", "disk")), epochs(load(tmp_path / "raw", "none")))
    assert not folder.exists()


def test_the_keys_of_a_batch_and_what_a_run_may_go_on_with(data):
    contract = contracts.load(data)
    batch = epochs(load(data, "memory"), 2)[1][3]
    records = dataset.records_of_batch(data, "train", 4, 3, 1, 3, cache="memory")
    spec = contracts.feature_spec(contract)
    keys = [tf.io.parse_single_example(record, spec)["key"].numpy() for record in records]
    assert keys == [b"%016x-000" % int(i) for i in batch[0][:, 0, 0, 0]]
    reading = [
        resume.fingerprint(TrainConfig(str(data), "o", cache=cache), contract, 1)["reading"]
        for cache in ("none", "memory", "disk")
    ]
    assert reading == ["as streams", "from memory maps", "from memory maps"]
