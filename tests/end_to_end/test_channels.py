"""`--channels 1` and `--bands`, from files to what a model sees: hand-checkable contents for every encoding."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import contract
from pipelines.cli import main
from pipelines.config import PrepareConfig
from pipelines.core.errors import ConfigError, NothingUsableError
from pipelines.dataset import contact_sheet, earlier_dataset, verify
from pipelines.images.files import band_values, formats
from pipelines.images.source_policy import SourcePolicy
from pipelines.job import prepare
from tests.support import trainings
from tests.support.files import images as fx
from tests.support.files.tiffs import tiff
from trainer.config import TrainConfig
from trainer.serving import predict
from trainer.serving.predict_config import FileBounds
from trainer.training import train

SIDE = 8
pytestmark = pytest.mark.slow


def picture(number: int) -> np.ndarray:
    """uint8 (8, 8): levels that count up from a number of its own."""
    return (np.arange(SIDE * SIDE, dtype=np.uint16) * 3 + 5 * number).astype(np.uint8).reshape(SIDE, SIDE)


@pytest.fixture(scope="module")
def grays(tmp_path_factory) -> pathlib.Path:
    """24 gray PNGs of two classes."""
    folder = tmp_path_factory.mktemp("grays")
    for number in range(24):
        path = folder / ("even", "odd")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(fx.encode(picture(number), "PNG"))
    return folder


def config(source: pathlib.Path, output: pathlib.Path, **options: object) -> PrepareConfig:
    given = {"size": (SIDE, SIDE), "channels": 1, "shards": 2, "encoding": "uint8", **options}
    return PrepareConfig(input=str(source), output=str(output), name="gray", **given)


def rows(directory: pathlib.Path) -> list[tuple[str, dict[str, tf.Tensor]]]:
    """(path of the source, record) of every original."""
    c = contract.load(directory)
    found = []
    for split in c.splits:
        for path in c.shard_paths(str(directory), split):
            lines = (directory / "ledger" / f"{pathlib.Path(path).name}.jsonl").read_text().splitlines()
            for serialized, line in zip(tf.data.TFRecordDataset(path), map(json.loads, lines), strict=True):
                if not line["copy"]:
                    found.append((line["uri"], tf.io.parse_single_example(serialized, contract.feature_spec(c))))
    return found


def digests(directory: pathlib.Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(directory.glob("*.tfrecord-*"))}


@pytest.fixture(scope="module")
def stored(grays, tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("stored") / "data"
    prepare.prepare(config(grays, out, balance="counts", counts={"even": 20, "odd": 20}))
    return out


def test_a_record_has_the_bytes_of_the_gray_file(stored):
    found = rows(stored)
    assert len(found) == 24
    for uri, record in found:
        number = int(pathlib.Path(uri).stem)
        assert record["image"].numpy() == picture(number).tobytes()


def test_the_contract_says_it(stored):
    c = contract.load(stored)
    assert (c.image_shape, c.channel_order) == ((SIDE, SIDE, 1), "L")
    assert c.decode["gray"] == "(19595 R + 38470 G + 7471 B + 32768) / 65536, rounded down; gray pixels as they are"
    assert "color" not in c.augmentation
    assert "brightness" in c.augmentation
    train = np.stack([picture(int(pathlib.Path(u).stem)) for u, _ in rows(stored) if u in _train(stored)])
    np.testing.assert_allclose(c.normalization.mean, [train.mean()], rtol=1e-12)
    np.testing.assert_allclose(c.normalization.std, [train.std()], rtol=1e-12)
    np.testing.assert_allclose(c.normalization.scale, [1 / train.std()], rtol=1e-6)
    assert contract.from_json(c.to_json()) == c


def _train(directory: pathlib.Path) -> set[str]:
    found = set()
    for path in (directory / "ledger").glob("*-train.*"):
        found |= {json.loads(line)["uri"] for line in path.read_text().splitlines()}
    return found


def test_it_is_intact_and_shown(stored, tmp_path, capsys):
    assert list(verify.verify(str(stored))) == []
    assert main.main(["inspect", str(stored), "--images", str(tmp_path / "sheet.png")]) == 0
    shown = capsys.readouterr().out
    assert "8 x 8 x 1 L" in shown
    assert "gray " in shown
    assert "blue" not in shown
    page = (stored / "report.html").read_text()
    assert "a model sees gray values" in page
    assert "<figcaption>Gray</figcaption>" in page
    assert "<figcaption>Red</figcaption>" not in page
    statistics = (stored / "stats/train.pbtxt").read_text()
    assert "pixel_L" in statistics
    assert "pixel_R" not in statistics


@pytest.mark.parametrize("encoding", ["jpeg", "float16"])  # of uint8 there is `stored`, of PNG that of bands
def test_every_encoding_reads_back_as_the_graph_gives_it(grays, tmp_path, encoding):
    out = tmp_path / "data"
    prepare.prepare(config(grays, out, encoding=encoding, balance="uniform"))
    c = contract.load(out)
    found = rows(out)
    images = contract.images_from_records(c, tf.stack([r["image"] for _, r in found])).numpy()
    _, graph = contract.load_transform(out)
    files = tf.constant([pathlib.Path(uri).read_bytes() for uri, _ in found])
    np.testing.assert_array_equal(images, graph(files).numpy())
    exact = np.stack([picture(int(pathlib.Path(uri).stem)) for uri, _ in found])[..., None].astype(np.float64)
    levels = (images - c.normalization.offset[0]) / c.normalization.scale[0]
    assert np.abs(levels - exact).max() < {"jpeg": 12, "float16": 0.1}.get(encoding, 1e-3)
    assert list(verify.verify(str(out))) == []


def test_a_raw_record_has_a_third_of_the_bytes_of_pixels(grays, stored, tmp_path):
    prepare.prepare(config(grays, tmp_path, channels=3, balance="counts", counts={"even": 20, "odd": 20}))
    one, three = (contract.load(folder) for folder in (stored, tmp_path))
    sizes = [sum(s.bytes for split in c.splits.values() for s in split.shards) for c in (one, three)]
    records = sum(split.records for split in one.splits.values())
    lengths = 4  # of messages around the pixels; each takes a byte more where there are 192 pixels and not 64
    assert sizes[1] - sizes[0] == records * (SIDE * SIDE * 2 + lengths)


def test_shards_do_not_depend_on_workers_and_survive_an_interruption(grays, stored, tmp_path, monkeypatch):
    options = {"balance": "counts", "counts": {"even": 20, "odd": 20}}
    out = tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "publish", None)  # the run ends when all shards are staged
        with pytest.raises(AttributeError):
            prepare.prepare(config(grays, out, workers=1, **options))
    assert not (out / "contract.json").exists()
    prepare.prepare(config(grays, out, workers=2, **options))
    assert digests(out) == digests(stored)


def test_colours_become_the_luma_and_the_graph_agrees(photos, tmp_path):
    out = tmp_path / "data"
    prepare.prepare(config(photos, out, size=(16, 16), background=(10, 200, 30), resize="pad", max_reject_rate=0.2))
    c = contract.load(out)
    served = [(u, r) for u, r in rows(out) if u.endswith((".jpg", ".png"))]
    assert len(served) > 20
    _, graph = contract.load_transform(out)
    files = tf.constant([pathlib.Path(uri).read_bytes() for uri, _ in served])
    images = contract.images_from_records(c, tf.stack([r["image"] for _, r in served]))
    np.testing.assert_array_equal(graph(files).numpy(), images.numpy())


def test_tfds_reads_it(stored):
    tfds = pytest.importorskip("tensorflow_datasets")
    builder = tfds.builder_from_directory(str(stored))
    assert builder.info.features["image"].shape == (SIDE, SIDE, 1)
    train = list(tfds.as_numpy(builder.as_dataset(split="test")))
    known = {picture(n).tobytes() for n in range(24)}
    assert train
    for row in train:
        assert row["image"].shape == (SIDE, SIDE, 1)
        assert row["image"].tobytes() in known


def test_three_channels_are_noted_nowhere(grays, tmp_path):
    three = config(grays, tmp_path / "data", channels=3)
    assert "channels" not in three.noted()
    assert config(grays, tmp_path / "data").noted()["channels"] == 1
    assert three.digest() != config(grays, tmp_path / "data").digest()


def test_like_takes_the_channels_and_refuses_others(stored):
    old = contract.load(stored)
    assert earlier_dataset.inherited({"like": str(stored)})["channels"] == 1
    with pytest.raises(ConfigError, match="--channels should be 1, as in --like"):
        earlier_dataset.check(str(stored), old, {"channels": 3}, PrepareConfig("a", "b").classes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"channels": 2}, "--channels should be 3 for colours or 1 for gray. Received: 2"),
        ({"channels": 4}, "--channels should be 3 for colours or 1 for gray. Received: 4"),
        ({"normalize": "imagenet"}, "--normalize imagenet has numbers for red, green and blue"),
    ],
)
def test_what_does_not_go_together_is_refused(grays, tmp_path, changes, why):
    with pytest.raises(ConfigError, match=why.replace(".", r"\.")):
        dataclasses.replace(config(grays, tmp_path), **changes)


@pytest.fixture(scope="module")
def bands(tmp_path_factory) -> pathlib.Path:
    """40 TIFFs of five bands in two classes, which differ in band 4 alone."""
    folder = tmp_path_factory.mktemp("bands")
    rng = np.random.default_rng(0)
    for number in range(40):
        source = rng.integers(0, 900, (12, 10, 5)).astype(np.uint16)
        source[..., 3] += 2000 * (number % 2)
        path = folder / ("bare", "grown")[number % 2] / f"{number:02d}.tif"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(tiff(source, planar=number % 3 == 0, packed=number % 5 == 0))
    return folder


def of_bands(source: pathlib.Path, output: pathlib.Path, *chosen: int, **options: object) -> PrepareConfig:
    given = {"size": (8, 8), "bands": chosen, "shards": 2, "bit_depth": "0..3000", **options}
    return PrepareConfig(input=str(source), output=str(output), name="bands", **given)


@pytest.mark.parametrize(("chosen", "encoding"), [((4, 3, 2), "png"), ((4,), "jpeg"), ((5, 4, 3, 2, 1), "float16")])
def test_bands_are_stored_and_the_graph_agrees(bands, tmp_path, chosen, encoding):
    out = tmp_path / "data"
    prepare.prepare(of_bands(bands, out, *chosen, encoding=encoding, balance="counts", counts={"bare": 40}))
    c = contract.load(out)
    assert (c.image_shape, c.channel_order) == ((8, 8, len(chosen)), "bands")
    assert c.decode["bands"] == list(chosen)
    assert c.channel_names == tuple(f"band {band}" for band in chosen)
    found = rows(out)
    assert len(found) == 40
    images = contract.images_from_records(c, tf.stack([r["image"] for _, r in found])).numpy()
    policy = SourcePolicy(value_range=(0.0, 3000.0), bands=chosen)
    _, graph = contract.load_transform(out)
    stacks = [formats.canonical(pathlib.Path(uri).read_bytes(), policy=policy) for uri, _ in found]
    np.testing.assert_array_equal(np.concatenate([graph(tf.constant([s])) for s in stacks]), images)
    grown = np.array(["/grown/" in uri for uri, _ in found])
    infrared = images[..., chosen.index(4)].mean((1, 2))
    assert infrared[grown].min() > infrared[~grown].max()
    assert list(verify.verify(str(out))) == []
    page = (out / "report.html").read_text()
    assert "<figcaption>Band 4</figcaption>" in page
    assert "pixel_band_4" in (out / "stats/train.pbtxt").read_text()
    [shown] = contact_sheet.load_sources([found[0][0]], policy)
    levels = band_values.band_pixels(pathlib.Path(found[0][0]).read_bytes(), 1000, 1, policy)
    np.testing.assert_array_equal(np.asarray(shown)[..., 0], levels[..., 0])
    assert earlier_dataset.inherited({"like": str(out)})["bands"] == chosen


def test_a_model_of_five_bands_is_trained_exported_and_predicts(bands, tmp_path):
    """The range of all bands is found: band 4 has the greatest values, and all others the least."""
    data, run = tmp_path / "data", tmp_path / "run"
    prepare.prepare(of_bands(bands, data, 1, 2, 3, 4, 5, bit_depth="data"))
    low, high = contract.load(data).decode["value_range"]
    assert 0 <= low < 20
    assert 2880 < high < 2900
    with trainings.without_reports(page=True):
        train.train(TrainConfig(str(data), str(run), epochs=6, batch_size=8))
    assert (run / "evaluation.html").exists()
    served = predict.load(str(run))
    assert served.spec.source.bands == (1, 2, 3, 4, 5)
    files = sorted(map(str, bands.rglob("*.tif")))
    answers = list(predict.predict(served, files, FileBounds()))
    given = [served.labels[int(a.probabilities.argmax())] for a in answers]
    assert sum(pathlib.Path(f).parent.name == label for f, label in zip(files, given, strict=True)) > 36


def test_other_files_are_rejects_by_name(photos, tmp_path):
    cause = r"^No image can be used\. The first, '.*', is a reject: unsupported-pixels\. --bands reads TIFF and PNG "
    with pytest.raises(NothingUsableError, match=cause):
        prepare.prepare(of_bands(photos, tmp_path / "data", 1, exclude=("*.png",)))


def test_near_infrared_that_is_called_alpha_is_told(tmp_path):
    """Half of the images have it; the other half have a soft mask."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "in"
    for number in range(12):
        alpha = rng.integers(20, 230, (24, 24)) if number % 2 else np.clip(np.arange(24) * 64 - 500, 0, 255)[None]
        picture = np.dstack([rng.integers(0, 255, (24, 24, 3)), np.broadcast_to(alpha, (24, 24))]).astype(np.uint8)
        path = folder / ("field", "wood")[number // 6] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    config = PrepareConfig(input=str(folder), output=str(tmp_path / "a"), size=(8, 8), encoding="uint8")
    said = prepare.prepare(config).summary
    assert said.conversions["varying-alpha"] == 6
    assert [
        line for line in said.warnings if line.startswith("The alpha of 6 of 12 images with alpha varies as a photo")
    ]
    infrared = dataclasses.replace(config, output=str(tmp_path / "b"), bands=(4, 1, 2))
    assert not [line for line in prepare.prepare(infrared).summary.warnings if "alpha" in line]
    few = dataclasses.replace(config, output=str(tmp_path / "c"), exclude=("1.png", "3.png", "7.png"))
    assert not [line for line in prepare.prepare(few).summary.warnings if "alpha" in line]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"bands": (0,)}, "--bands should be up to 64 different numbers of bands"),
        ({"bands": (1, 2), "channels": 1}, "--bands names 2 bands, and --channels says 1"),
        ({"bands": (1, 2), "encoding": "png"}, "--encoding png holds 1 or 3 channels, and --bands names 2"),
        ({"bands": (1, 2), "background": (1, 2, 3)}, "--background should be gray with --bands"),
        ({"bands": (3, 2, 1), "normalize": "imagenet"}, "--normalize imagenet has numbers for red, green and blue"),
    ],
)
def test_what_does_not_go_with_bands_is_refused(tmp_path, changes, why):
    with pytest.raises(ConfigError, match=why):
        PrepareConfig(input="in", output=str(tmp_path), **changes)
