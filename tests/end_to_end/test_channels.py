"""`prepare --channels 1`, from gray files to what a model sees: hand-checkable contents for every encoding."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract
from pipelines.cli import main
from pipelines.config import PrepareConfig
from pipelines.core.errors import ConfigError
from pipelines.dataset import like, verify
from pipelines.job import prepare
from tests.support import images as fx

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


@pytest.mark.parametrize("encoding", contract.ENCODINGS)
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


def test_a_raw_dataset_has_a_third_of_the_bytes(grays, tmp_path):
    sizes = []
    for channels in (1, 3):
        out = tmp_path / str(channels)
        prepare.prepare(config(grays, out, channels=channels, size=(64, 64)))
        sizes.append(sum(s.bytes for split in contract.load(out).splits.values() for s in split.shards))
    assert sizes[1] - sizes[0] == 24 * 64 * 64 * 2
    assert sizes[0] / sizes[1] < 0.36


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
    assert like.inherited({"like": str(stored)})["channels"] == 1
    with pytest.raises(ConfigError, match="--channels should be 1, as in --like"):
        like.check(str(stored), old, {"channels": 3}, PrepareConfig("a", "b").classes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"channels": 2}, "--channels should be 3 for colours or 1 for gray. Received: 2"),
        ({"channels": 4}, "--channels should be from 1 to 3. Received: 4"),
        ({"normalize": "imagenet"}, "--normalize imagenet has numbers for red, green and blue"),
    ],
)
def test_what_does_not_go_together_is_refused(grays, tmp_path, changes, why):
    with pytest.raises(ConfigError, match=why.replace(".", r"\.")):
        dataclasses.replace(config(grays, tmp_path), **changes)
