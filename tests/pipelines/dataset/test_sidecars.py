"""Other tools read the dataset: TFDS without code, tensorflow-metadata's parsers, and plain tf.data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from pipelines import contract
from pipelines.dataset import sidecars
from pipelines.job import prepare


def test_tfds_reads_the_dataset_without_code(prepared):
    tfds = pytest.importorskip("tensorflow_datasets")
    out, result, _ = prepared
    builder = tfds.builder_from_directory(str(out))
    c = result.contract
    assert builder.info.features["label"].names == list(c.labels)
    assert {n: s.num_examples for n, s in builder.info.splits.items()} == {n: s.records for n, s in c.splits.items()}
    in_order = tfds.ReadConfig(interleave_cycle_length=1)  # shard after shard
    for split in c.splits:
        rows = list(tfds.as_numpy(builder.as_dataset(split=split, read_config=in_order)))
        ours = [
            tf.io.parse_single_example(r, contract.feature_spec(c))
            for r in tf.data.TFRecordDataset(c.shard_paths(str(out), split))
        ]
        assert [r["key"] for r in rows] == [r["key"].numpy() for r in ours]
        assert [r["label"] for r in rows] == [int(r["label"]) for r in ours]
        images = contract.images_from_records(c, tf.stack([r["image"] for r in ours])).numpy()
        assert rows[0]["image"].dtype == np.float16
        np.testing.assert_array_equal(np.stack([r["image"] for r in rows]).astype(np.float32), images)


@pytest.mark.parametrize("encoding", contract.ENCODINGS)
def test_tfds_understands_the_features_of_every_encoding(prepared, tmp_path, encoding):
    tfds = pytest.importorskip("tensorflow_datasets")
    c = dataclasses.replace(prepared[1].contract, encoding=encoding)
    for name, text in sidecars.tfds_files(c).items():
        (tmp_path / name).write_text(text)
    features = tfds.features.FeaturesDict.from_config(str(tmp_path))
    assert features["image"].shape == (24, 32, 3)
    wanted = {"float16": "float16", "float32": "float32"}.get(encoding, "uint8")
    assert features["image"].np_dtype == np.dtype(wanted)
    assert features["label"].names == ["ant", "bee", "cat"]


def test_statistics_and_schema_parse_and_count(prepared):
    out, result, _ = prepared
    for name, split in result.contract.splits.items():
        text = (out / f"stats/{name}.pbtxt").read_text()
        stats = text_format.Parse(text, statistics_pb2.DatasetFeatureStatisticsList()).datasets[0]
        assert stats.num_examples == split.records
        features = {f.name: f for f in stats.features}
        top = {v.value: v.frequency for v in features["label"].string_stats.top_values}
        assert top == dict(split.stored)
        red = features["pixel_R"].num_stats
        originals = split.records - sum(split.copies.values())
        assert red.common_stats.num_non_missing == originals * 24 * 32
        if name == "train":
            assert red.mean == pytest.approx(result.contract.normalization.mean[0])
            assert red.std_dev == pytest.approx(result.contract.normalization.std[0])
    schema = text_format.Parse((out / "schema.pbtxt").read_text(), schema_pb2.Schema())
    assert {f.name for f in schema.feature} == {"image", "label", "weight", "key"}
    assert next(f for f in schema.feature if f.name == "label").int_domain.max == 2


@pytest.mark.slow
def test_given_splits_and_straddling_copies_are_reported(photos, tmp_path):
    """split/class folders keep their splits, and the same picture in two of them is said to leak."""
    for split in ("train", "test"):
        for label in ("ant", "cat"):
            folder = tmp_path / "in" / split / label
            folder.mkdir(parents=True)
            for path in sorted((photos / label).glob("0*.jpg"))[:3]:
                (folder / path.name).write_bytes(path.read_bytes())
    from pipelines.config import PrepareConfig

    result = prepare.prepare(PrepareConfig(input=str(tmp_path / "in"), output=str(tmp_path / "out"), size=(8, 8)))
    assert {n: dict(s.natural) for n, s in result.contract.splits.items()} == {
        "test": {"ant": 3, "cat": 3},
        "train": {"ant": 3, "cat": 3},
    }
    assert result.summary.straddling_groups == 6
    assert any("(leakage)" in w for w in result.summary.warnings)
