"""`--resize shorter=N`: records of whole images with their own height and width, and what reads them."""

from __future__ import annotations

import dataclasses
import io
import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import contract
from pipelines.cli import options
from pipelines.cli.main import main as pipelines_main
from pipelines.config import PrepareConfig
from pipelines.contract import ContractError
from pipelines.core.errors import ConfigError
from pipelines.dataset import verify
from pipelines.job import prepare
from tests.support import once
from trainer.cli.main import main as trainer_main
from trainer.config import TrainConfig, TrainerError
from trainer.data import dataset
from trainer.training.augment import crop
from trainer.training.train import train

SIDE = 16
COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))


def thirds(path: pathlib.Path, shape: tuple[int, int]) -> None:
    """A picture of three equal parts along its longer side: red, green and blue. It is a PNG, so they are exact."""
    pixels = np.zeros((*shape, 3), np.uint8)
    axis = int(np.argmax(shape))
    for part, colour in zip(np.array_split(np.arange(shape[axis]), 3), COLOURS, strict=True):
        pixels[part if axis == 0 else slice(None), part if axis else slice(None)] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def config(source: pathlib.Path, output: pathlib.Path, **given: object) -> PrepareConfig:
    form = {"size": (SIDE, SIDE), "resize": "shorter", "encoding": "jpeg", "shards": 2, "workers": 2, **given}
    return PrepareConfig(input=str(source), output=str(output), name="uneven", **form)


@pytest.fixture(scope="module")
def stored(photos, tmp_path_factory) -> pathlib.Path:
    """The insects of `photos`, balanced by augmented copies."""

    def make(root: pathlib.Path) -> pathlib.Path:
        prepare.prepare(config(photos, root / "data", balance="uniform", max_reject_rate=0.1))
        return root / "data"

    return once.made(tmp_path_factory, "uneven", make)


def rows(directory: pathlib.Path) -> list[tuple[dict[str, object], bytes]]:
    """(line of the ledger, JPEG) of every record."""
    c, found = contract.load(directory), []
    for split in c.splits:
        for path in c.shard_paths(str(directory), split):
            lines = (directory / "ledger" / f"{pathlib.Path(path).name}.jsonl").read_text().splitlines()
            for serialized, line in zip(tf.data.TFRecordDataset(path), map(json.loads, lines), strict=True):
                parsed = tf.io.parse_single_example(serialized, contract.feature_spec(c))
                found.append((line, parsed["image"].numpy()))
    return found


def upright(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        turned = image.getexif().get(0x0112, 1) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)


def size_of(jpeg: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(jpeg)).size[::-1]


@pytest.mark.slow
def test_a_record_keeps_the_aspect_of_its_source(stored):
    """Also the copies that balance the classes, and a photo that lies on its side."""
    found = rows(stored)
    assert {line["copy"] > 0 for line, _ in found} == {True, False}
    for line, jpeg in found:
        height, width = upright(line["uri"])
        shorter = min(height, width)
        expected = tuple(int(side * SIDE / shorter + 0.5) for side in (height, width))
        assert size_of(jpeg) == expected, line["uri"]
    assert len({size_of(jpeg) for _, jpeg in found}) > 5


@pytest.mark.slow
def test_the_graph_of_the_dataset_gives_the_centre_of_the_record(stored):
    """Exactly, with the loss of the JPEG: what is served is what is evaluated."""
    c = contract.load(stored)
    _, images = contract.load_transform(stored)
    originals = [(line, jpeg) for line, jpeg in rows(stored) if not line["copy"] and line.get("in_graph", True)]
    sources = [pathlib.Path(line["uri"]).read_bytes() for line, _ in originals]
    given = images(tf.constant(sources)).numpy()
    expected = contract.images_from_records(c, tf.constant([jpeg for _, jpeg in originals])).numpy()
    assert given.shape == (len(originals), SIDE, SIDE, 3)
    np.testing.assert_array_equal(given, expected)
    whole = np.asarray(Image.open(io.BytesIO(originals[0][1])))
    top, left = ((side - SIDE) // 2 for side in whole.shape[:2])
    stored_ = contract.stored_from_records(c, tf.constant([originals[0][1]])).numpy()[0]
    np.testing.assert_array_equal(stored_, whole[top : top + SIDE, left : left + SIDE])


@pytest.mark.slow
def test_what_tools_say_of_it(stored, capsys, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    c = contract.load(stored)
    assert c.is_uneven
    assert c.image_shape == (SIDE, SIDE, 3)
    assert c.resize["mode"] == "shorter"
    assert not list(verify.verify(str(stored)))
    builder = tfds.builder_from_directory(str(stored))
    assert builder.info.features["image"].shape == (None, None, 3)
    shapes = {row["image"].shape for row in tfds.as_numpy(builder.as_dataset(split="test"))}
    assert all(min(shape[:2]) == SIDE for shape in shapes)
    assert pipelines_main(["inspect", str(stored), "--images", str(tmp_path / "sheet.png")]) == 0
    assert "whole images, 16 pixels on the shorter side" in capsys.readouterr().out
    assert "16 pixels on the shorter side" in (stored / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_crops_come_from_the_whole_image(tmp_path):
    """Pictures of three colours: the centre is green, and crops see the ends, too. A long one is a reject."""
    for number in range(12):
        shape = (SIDE, 3 * SIDE) if number % 2 else (6 * SIDE, 2 * SIDE)
        thirds(tmp_path / "in" / "ab"[number // 6] / f"{number:02d}.png", shape)
    thirds(tmp_path / "in/a/long.png", (10, 6000))
    out = tmp_path / "out"
    prepare.prepare(config(tmp_path / "in", out, normalize="none", splits={"train": 1.0}, max_reject_rate=0.1))
    reject = json.loads((out / "rejects/rejected.jsonl").read_text())
    assert reject["reason"] == "too-long"
    assert "the longer one would have 9600, and at most 8192 are stored" in reject["detail"]
    centres = np.concatenate([images.numpy() for images, _ in dataset.load(out, "train", 4)])
    assert centres.shape == (12, SIDE, SIDE, 3)
    assert np.abs(centres[:, 4:-4, 4:-4] - COLOURS[1]).max() < 16  # the loss of the JPEG
    options_ = TrainConfig(str(out), "o", train_size=8, crop_scale="0.1-0.2")
    crops = crop.for_loader(options_, contract.load(out), range(1))
    passes = dataset.load(out, "train", 4, shuffle=True, seed=0, crops=crops)
    parts = np.concatenate([images.numpy() for _ in range(4) for images, _ in passes])
    assert parts.shape == (48, 8, 8, 3)
    seen = parts.mean(axis=(1, 2)).argmax(axis=1)
    assert {0, 1, 2} == set(seen.tolist())
    assert 8 < np.count_nonzero(seen == 1) < 30  # a third of each image


@pytest.mark.slow
def test_a_network_is_trained_evaluated_exported_and_predicts(stored, photos, tmp_path, capsys):
    run = tmp_path / "run"
    made = train(TrainConfig(str(stored), str(run), epochs=2, batch_size=16, train_size=12, model="cnn"))
    assert made["epochs"]["run"] == 2
    out = str(tmp_path / "again.json")
    assert trainer_main(["evaluate", "--model", str(run), "--data", str(stored), "--output", out]) == 0
    again = json.loads(pathlib.Path(out).read_text())
    assert again["splits"]["test"]["confusion_matrix"] == made["splits"]["test"]["confusion_matrix"]
    for form, target in (("savedmodel", "saved"), ("tflite", "m.tflite")):
        where = ["--output", str(tmp_path / target), "--format", form]
        assert trainer_main(["export", "--model", str(run), "--data", str(stored), *where]) == 0
    assert capsys.readouterr().out.count("differ from the trained network's by at most") == 2
    assert trainer_main(["predict", "--model", str(run), str(photos / "ant/00.jpg"), str(photos / "cat/00.jpg")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.slow
def test_a_cache_of_centres_and_training_without_crops(stored):
    c = contract.load(stored)
    with pytest.raises(TrainerError, match="--cache memory keeps images of one size, and those of this dataset have"):
        crop.check(TrainConfig(str(stored), "o", train_size=12, cache="memory"), c)
    assert "trained on centres of 16x16" in crop.check(TrainConfig(str(stored), "o"), c)[0]
    assert crop.check(TrainConfig(str(stored), "o", train_size=12), c) == []


@pytest.mark.slow
def test_verify_names_a_record_of_another_size(stored, tmp_path):
    shutil.copytree(stored, tmp_path / "data")
    c = contract.load(stored)
    path = c.shard_paths(str(tmp_path / "data"), "test")[0]
    kept = [record.numpy() for record in tf.data.TFRecordDataset(path)]
    example = tf.train.Example.FromString(kept[0])
    small = tf.io.encode_jpeg(np.zeros((15, 20, 3), np.uint8)).numpy()
    example.features.feature["image"].bytes_list.value[0] = small
    with tf.io.TFRecordWriter(path) as writer:
        for record in (example.SerializeToString(deterministic=True), *kept[1:]):
            writer.write(record)
    told = list(verify.verify(str(tmp_path / "data")))
    assert any("the image should be JPEG of 16 pixels on the shorter side" in sentence for sentence in told)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"encoding": "uint8"},
            "stores images of unequal size, and only a JPEG says how large it is and is read",
        ),
        (
            {"size": (16, 20)},
            "that of the shorter side, and a model sees a square. Received: --size 16x20",
        ),
        ({"resize": "longer"}, "--resize should be one of stretch, crop, pad, none, shorter. Received: 'longer'"),
    ],
)
def test_what_cannot_be_is_refused(given, told, tmp_path):
    with pytest.raises(ConfigError) as e:
        config(tmp_path, tmp_path / "out", **given)
    assert told in str(e.value)


def parsed(*given: str) -> PrepareConfig:
    arguments, _ = options.parse(["prepare", "--input", ".", "--output", "o", "--encoding", "jpeg", *given])
    return options.prepare_config(arguments)


def test_the_option_states_mode_and_size():
    made = parsed("--resize", "shorter=48")
    assert (made.resize, made.size) == ("shorter", (48, 48))
    assert made == parsed("--resize", "shorter", "--size", "48")
    assert parsed("--resize", "shorter=256", "--for", "MobileNetV2").size == (256, 256)
    with pytest.raises(ConfigError, match=r"--resize shorter=48 states the size of the images. Leave out --size"):
        parsed("--resize", "shorter=48", "--size", "64")


@pytest.mark.parametrize("change", [{"encoding": "uint8"}, {"image_shape": (8, 10, 3)}], ids=str)
def test_a_contract_that_contradicts_itself_is_refused(change):
    made = contract.load("tests/data/format_1/jpeg")
    text = dataclasses.replace(made, resize={"mode": "shorter"}, **change).to_json()
    with pytest.raises(ContractError, match="should have the encoding jpeg and a square image_shape"):
        contract.from_json(text)
