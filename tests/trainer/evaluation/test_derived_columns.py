"""Columns that are made of the records themselves: brightness and folder."""

from __future__ import annotations

import dataclasses
import json
import types

import numpy as np
import pytest

from pipelines.contract.metadata import MetadataColumn
from pipelines.core.errors import ConfigError
from tests.support.datasets import picture, write_dataset
from trainer.config import TrainConfig, TrainerError, derived_columns
from trainer.evaluation import derived_columns as columns
from trainer.evaluation import inference


@pytest.fixture
def data(tmp_path):
    """Five ok and four broken in two shards; the ledger has the files of each shard in a folder of its own."""
    contract = write_dataset(tmp_path / "d", encoding="float16", splits={"test": (5, 4)})
    ledger = tmp_path / "d" / "ledger"
    ledger.mkdir()
    for number, shard in enumerate(contract.splits["test"].shards):
        rest = {"key": "k", "label": "ok", "digest": "0" * 64, "copy": 0, "width": 1000 * (1 + number), "height": 2000}
        lines = [json.dumps({"uri": f"/photos/site {number}/{i}.jpg", **rest}) for i in range(shard.records)]
        (ledger / f"{shard.file}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "d"


def test_brightness_is_the_mean_gray_level_and_folder_that_below_what_all_share(data):
    brightness, folder, size = columns.made(("brightness", "folder", "size"), data, "test")
    keys, labels = inference.keys(data, "test")
    numbers = [int(key[:16], 16) for key in keys]
    expected = [picture(n, label).mean() for n, label in zip(numbers, labels.tolist(), strict=True)]
    np.testing.assert_allclose(brightness.values, expected, atol=0.1)
    assert folder.values.tolist() == [f"site {n % 2}" for n in numbers]  # records alternate over the shards
    assert size.values.tolist() == [2.0 + 2 * (n % 2) for n in numbers]
    assert (brightness.name, folder.name, size.name) == ("brightness", "folder", "size")


@pytest.mark.parametrize(
    ("uris", "expected"),
    [
        (["gs://photos/a/cat/1.jpg", "gs://photos/a/dog/1.jpg"], ["cat", "dog"]),
        (["gs://photos/a/1.jpg", "gs://photos/a/b/c/1.jpg"], [".", "b/c"]),
        (["s3://photos/1.jpg", "/photos/1.jpg"], ["s3://photos", "/photos"]),  # they share none
        (["/photos/cat/1.jpg", "/photos/cats/1.jpg"], ["cat", "cats"]),
    ],
)
def test_folders_of_urls(uris, expected, monkeypatch):
    monkeypatch.setattr(columns.mistakes, "sources", lambda *_: list(uris))
    monkeypatch.setattr(columns.contracts, "load", lambda _: types.SimpleNamespace(metadata=()))
    [folder] = columns.made(("folder",), "data", "test")
    assert folder.values.tolist() == expected


def test_what_cannot_be_made_is_told(data, monkeypatch):
    for file in (data / "ledger").iterdir():
        file.unlink()
    with pytest.raises(TrainerError, match="--slice-by folder reads the paths of the sources from the ledger"):
        columns.made(("folder",), data, "test")
    with pytest.raises(TrainerError, match="--slice-by size reads the sizes of the source images from the ledger"):
        columns.made(("size",), data, "test")
    contract = columns.contracts.load(data)
    kept = dataclasses.replace(contract, metadata=(MetadataColumn("brightness", "float32"),))
    monkeypatch.setattr(columns.contracts, "load", lambda _: kept)
    with pytest.raises(TrainerError, match="the dataset has a column 'brightness' of --keep"):
        columns.made(("brightness",), data, "test")


def test_the_names_of_the_option():
    assert derived_columns("folder, brightness") == ("folder", "brightness")
    assert derived_columns("") == ()
    for text in ("colour", "folder,folder"):
        with pytest.raises(ConfigError, match="--slice-by should be some of brightness, folder, size, each once"):
            TrainConfig("data", "run", slice_by=text)
