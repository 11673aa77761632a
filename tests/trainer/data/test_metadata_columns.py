"""Columns that travel along: the same for each record, whichever way a split is read."""

from __future__ import annotations

import dataclasses
import hashlib
import math

import numpy as np
import pytest

from pipelines import contract as contracts
from pipelines.contract import MetadataColumn, Shard, Split, metadata, tf_example, tfrecord
from tests.support import datasets, folds
from trainer.config import TrainerError
from trainer.data import dataset
from trainer.data.shards import mmap_tfrecord
from trainer.evaluation import inference, read_metadata

COLUMNS = (MetadataColumn("age", "int64"), MetadataColumn("dose", "float32"), MetadataColumn("site", "string"))
ROWS = [(3, 0.5, "A"), (None, None, None), (-70, 1e-3, "Zürich"), (2**40, 3.0, "a longer name"), (0, -1.0, "A")]


def write(directory, encoding="uint8", weighted=False, broken=False):
    """Writes five records in two shards, with picture i and row i of the columns."""
    directory.mkdir(parents=True, exist_ok=True)
    contract = datasets.make_contract(encoding=encoding, weighted=weighted, metadata=COLUMNS)
    shards = []
    for number, members in enumerate((range(3), range(3, 5))):
        frames = []
        for i in members:
            kept = {c.feature: metadata.stored(v, c.dtype) for c, v in zip(COLUMNS, ROWS[i], strict=True)}
            if broken and i == 4:
                kept["metadata/age"] = "four"
            pixels = datasets.encode(contract, datasets.picture(i, i % 2))
            weight = i / 2 if weighted else 1.0
            frames.append(tfrecord.framed(tf_example.serialize(pixels, i % 2, weight, f"{i:016x}-000", kept)))
        path = directory / f"tiny-train.tfrecord-{number:05d}-of-00002"
        path.write_bytes(b"".join(frames))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append(Shard(path.name, len(frames), path.stat().st_size, digest))
    counts = {"ok": 3, "broken": 2}
    contract = dataclasses.replace(contract, splits={"train": Split(counts, counts, {}, tuple(shards))})
    (directory / contracts.FILE_NAME).write_text(contract.to_json())
    return directory


def rows(directory, **options):
    """The (label, age, dose, site) of each record of two passes; dose None where it is not a number."""
    loaded = dataset.load(directory, "train", 2, with_metadata=True, **options)
    found = []
    for _ in range(2):
        for batch in loaded:
            parts, count = (batch[0], int(batch[1])) if options.get("share") else (batch, None)
            columns = {name: values.numpy()[:count] for name, values in parts[-1].items()}
            assert list(columns) == ["age", "dose", "site"]
            labels = parts[1].numpy().tolist()
            found += zip(labels, columns["age"], columns["dose"], columns["site"], strict=False)
    return [(int(y), int(a), None if math.isnan(d) else float(d), s.decode()) for y, a, d, s in found]


def expected():
    return [
        (i % 2, metadata.MISSING_INTEGER if a is None else a, None if d is None else float(np.float32(d)), s or "")
        for i, (a, d, s) in enumerate(ROWS)
    ]


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("float16", "jpeg")]


@pytest.fixture(params=["uint8", *SLOW, "png"])
def encoding(request):
    return request.param


# Without a weight, records are read in the same way but for one column less.
WEIGHTED = pytest.mark.parametrize("weighted", [pytest.param(False, marks=pytest.mark.slow), True])


@WEIGHTED
@pytest.mark.parametrize("options", [{}, {"cache": "memory"}, {"shuffle": True, "seed": 3}, {"share": (0, 1)}])
def test_every_path_gives_each_record_its_columns(tmp_path, encoding, weighted, options):
    found = rows(write(tmp_path / "tiny", encoding, weighted), **options)
    assert sorted(found, key=str) == sorted(2 * expected(), key=str)


@WEIGHTED
def test_streams_give_the_same_as_maps(tmp_path, monkeypatch, encoding, weighted):
    directory = write(tmp_path / "tiny", encoding, weighted)
    mapped = rows(directory)
    monkeypatch.setattr(mmap_tfrecord, "open_shards", lambda *_: None)
    assert rows(directory) == mapped


def test_the_columns_are_fixed_in_type_and_stand_last(tmp_path):
    batch = next(iter(dataset.load(write(tmp_path / "tiny", weighted=True), "train", 2, with_metadata=True)))
    images, labels, weights, columns = batch
    assert images.shape[0] == labels.shape[0] == weights.shape[0] == 2
    assert {name: values.dtype.name for name, values in columns.items()} == {
        "age": "int64", "dose": "float32", "site": "string",
    }  # fmt: skip
    spec = dataset.load(tmp_path / "tiny", "train", 2, with_metadata=True, drop_remainder=True).element_spec
    assert {name: tuple(tensor.shape) for name, tensor in spec[-1].items()} == dict.fromkeys(columns, (2,))


@pytest.mark.parametrize("options", [{}, {"dequantize": False}, {"shuffle": True, "seed": 1}])
def test_images_labels_and_weights_are_as_without_columns(tmp_path, encoding, options):
    """Records of many lengths are read as those of one length are."""
    directory = write(tmp_path / "tiny", encoding, weighted=True)
    contract = contracts.load(directory)
    for images, labels, weights in dataset.load(directory, "train", 2, **options):
        for image, label, weight in zip(images.numpy(), labels.numpy(), weights.numpy(), strict=True):
            i = int(2 * weight)
            assert label == i % 2
            stored = contracts.stored_from_records(
                contract, np.array([datasets.encode(contract, datasets.picture(i, i % 2))])
            )
            if options.get("dequantize", True) and stored.dtype == "uint8":
                stored = contracts.normalize(contract, stored)
            np.testing.assert_array_equal(image, stored.numpy()[0])


def test_a_value_of_another_type_names_shard_and_record(tmp_path):
    directory = write(tmp_path / "tiny", broken=True)
    with pytest.raises(Exception, match="record 1: its metadata/age should be one int64"):
        rows(directory)


def test_without_columns_it_is_refused(tmp_path):
    datasets.write_dataset(tmp_path)
    with pytest.raises(TrainerError, match=r"no column of a table travels along with dataset 'tiny'\. Prepare"):
        dataset.load(tmp_path, "train", 2, with_metadata=True)


def test_all_folds_together_have_the_columns_of_their_originals(tmp_path):
    directory = write(tmp_path / "d")
    folds.divide(directory, 2, 2, copies=True)  # records 0 and 4 are copies
    for name in ("out-of-fold", "out-of-fold-1"):
        keys, _ = inference.keys(directory, name)
        found = read_metadata.read(directory, name, 1)
        assert [folds.index_of(key) for key in keys] == [1, 3, 2]  # records 1 and 2 are of the first shard
        values = {column.name: column.texts() for column in found.columns}
        assert values["age"] == ["", str(2**40), "-70"]
        assert values["site"] == ["", "a longer name", "Zürich"]
