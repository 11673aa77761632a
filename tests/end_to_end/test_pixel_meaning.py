"""What `prepare` takes the pixels of a file for: by its options, in records, contract, report, export and `predict`."""

from __future__ import annotations

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import contract
from pipelines.config import PrepareConfig
from pipelines.images import file_reader
from pipelines.images.limits import Limits
from pipelines.job import prepare
from tests.support.files import images as fx
from tests.support.files import profiles
from trainer.serving import export, predict

SIDE = 8
LINEAR = profiles.rgb(profiles.SRGB_PRIMARIES, 1.0, "linear sRGB")


def run(source: pathlib.Path, out: pathlib.Path, **options: object) -> prepare.Result:
    config = PrepareConfig(str(source), str(out), size=(SIDE, SIDE), encoding="png", workers=2, **options)
    return prepare.prepare(config)


def stored_pixels(out: pathlib.Path) -> dict[str, np.ndarray]:
    """File name of each source -> the pixels of its record."""
    c, found = contract.load(out), {}
    for shard in (shard for split in c.splits.values() for shard in split.shards):
        lines = (out / "ledger" / f"{shard.file}.jsonl").read_text().splitlines()
        for line, record in zip(lines, tf.data.TFRecordDataset(str(out / shard.file)), strict=True):
            image = tf.io.parse_single_example(record, contract.feature_spec(c))["image"]
            found[pathlib.Path(json.loads(line)["uri"]).name] = fx.decode(image.numpy())
    return found


def exported(out: pathlib.Path, saved: pathlib.Path) -> predict.Model:
    """An export of a small network, which is compared with the records before it is written."""
    inputs = keras.Input((SIDE, SIDE, 3))
    network = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    found = export.write(network, str(out), contract.load(out), str(saved))
    assert found.difference <= found.tolerance
    return predict.load(str(saved))


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> pathlib.Path:
    """Twenty pictures in two classes: of each class five in linear light, four without a profile, one broken."""
    root = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(5)
    for label in ("cat", "dog"):
        (root / label).mkdir()
        for i in range(10):
            options = {"icc_profile": LINEAR} if i < 5 else {"icc_profile": b"none"} if i == 9 else {}
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            (root / label / f"{label}{i}.png").write_bytes(fx.encode(pixels, "PNG", **options))
    return root


@pytest.mark.slow
def test_profiles_are_converted_counted_and_stated(scans, tmp_path):
    out = tmp_path / "out"
    result = run(scans, out)

    assert result.summary.conversions == {"broken-profile": 2, "color-profile": 10}
    assert contract.load(out).decode["color_profile"] == "srgb"
    assert "color-profile" in (out / "report.html").read_text()
    found = stored_pixels(out)
    assert len(found) == 20
    for path in scans.rglob("*.png"):
        linear = np.asarray(Image.open(path)) / 255
        expected = np.asarray(Image.open(path)).astype(float)
        if int(path.stem[3:]) < 5:  # IEC 61966-2-1
            expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
        assert np.abs(found[path.name] - expected).max() <= 1.1, path.name
    lines = [json.loads(line) for file in (out / "ledger").iterdir() for line in file.read_text().splitlines()]
    outside = sorted(pathlib.Path(line["uri"]).stem for line in lines if not line.get("in_graph", True))
    assert outside == [f"{label}{i}" for label in ("cat", "dog") for i in range(5)]
    # An export is compared with the files that its graph reads as they are meant; `predict` converts the others, too.
    model = exported(out, tmp_path / "saved")
    paths = sorted(map(str, scans.rglob("*.png")))
    for path, read in zip(paths, file_reader.records(paths, model.spec, Limits()), strict=True):
        np.testing.assert_array_equal(fx.decode(read), found[pathlib.Path(path).name])


@pytest.mark.slow
def test_ignored_profiles_leave_the_numbers_and_predict_follows(scans, tmp_path):
    out = tmp_path / "out"
    result = run(scans, out, color_profile="ignore")

    assert result.summary.conversions == {}
    assert contract.load(out).decode["color_profile"] == "ignore"
    found = stored_pixels(out)
    model = exported(out, tmp_path / "saved")
    paths = sorted(map(str, scans.rglob("*.png")))
    for path, read in zip(paths, file_reader.records(paths, model.spec, Limits()), strict=True):
        np.testing.assert_array_equal(found[pathlib.Path(path).name], np.asarray(Image.open(path)))
        np.testing.assert_array_equal(fx.decode(read), np.asarray(Image.open(path)))


def deep_pictures(root: pathlib.Path, offset: int, dtype: type, format_: str) -> pathlib.Path:
    """Twenty pictures in two classes with the values offset..offset + 4095, both of which occur."""
    rng = np.random.default_rng(7)
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for i in range(10):
            values = rng.integers(0, 4096, (SIDE, SIDE))
            values[0, :2] = 0, 4095
            (root / label / f"{label}{i}.x").write_bytes(fx.encode((values + offset).astype(dtype), format_))
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("offset", "dtype", "format_", "bit_depth", "stated"),
    [
        (32768, np.uint16, "TIFF", "data", [32768, 36863]),
        (-1024, np.float32, "TIFF", "-1024..3071", [-1024, 3071]),
    ],
)
def test_deep_pixels_get_the_range_that_is_stated_or_found(tmp_path, offset, dtype, format_, bit_depth, stated):
    source, out = deep_pictures(tmp_path / "in", offset, dtype, format_), tmp_path / "out"

    result = run(source, out, bit_depth=bit_depth)

    assert contract.load(out).decode["value_range"] == stated
    assert result.summary.depth == (20, *stated)
    assert result.summary.conversions == {"16-bit": 20, "gray": 20}
    assert result.summary.warnings == ()
    found = stored_pixels(out)
    model = exported(out, tmp_path / "saved")
    paths = sorted(map(str, source.rglob("*.x")))
    for path, read in zip(paths, file_reader.records(paths, model.spec, Limits()), strict=True):
        exact = (np.asarray(Image.open(path)).astype(float) - offset) / 4095 * 255
        assert np.abs(found[pathlib.Path(path).name] - exact[..., None]).max() <= 0.5 + 1e-9
        np.testing.assert_array_equal(fx.decode(read), found[pathlib.Path(path).name])


@pytest.mark.slow
def test_few_levels_that_remain_are_said_with_the_remedy(tmp_path):
    source = deep_pictures(tmp_path / "in", 0, np.uint16, "PNG")

    plain = run(source, tmp_path / "plain").summary
    narrow = run(source, tmp_path / "narrow", bit_depth="0..2000").summary

    said = (
        "20 images have more than 8 bits a channel, but use only 0..4095: after division by 257 17 levels of 256 "
        "remain. Give --bit-depth 12, or --bit-depth data."
    )
    assert plain.warnings == (said,)
    assert said in (tmp_path / "plain/report.html").read_text()
    assert narrow.conversions["clipped"] == 20
    assert narrow.warnings == (
        "Of 20 images with more than 8 bits a channel, 20 have values beyond --bit-depth 0..2000, which were clipped: "
        "the values reach from 0 to 4095.",
    )


@pytest.mark.slow
def test_a_range_from_the_data_without_deep_images_changes_nothing(scans, tmp_path):
    run(scans, tmp_path / "one/out")
    run(scans, tmp_path / "two/out", bit_depth="data")

    shards = sorted(path.name for path in (tmp_path / "one/out").glob("*.tfrecord-*"))
    assert len(shards) == 3
    for name in shards:
        assert (tmp_path / "one/out" / name).read_bytes() == (tmp_path / "two/out" / name).read_bytes()
    assert contract.load(tmp_path / "two/out").decode["value_range"] is None
