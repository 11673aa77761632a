"""`predict`: a line for each file, whatever the files are."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.config import PrepareConfig
from pipelines.images import file_reader
from pipelines.images.limits import Limits
from tests.support.datasets import write_dataset
from trainer.cli.main import main
from trainer.serving import export, predict
from trainer.serving.predict_config import FileBounds

LABELS = ("dark", "light")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A SavedModel that tells dark images from light ones."""
    folder = tmp_path_factory.mktemp("predict")
    contract = write_dataset(folder / "data", encoding="uint8", labels=LABELS, splits={"test": (2, 2)})
    inputs = keras.Input((8, 8, 3))
    mean = keras.layers.GlobalAveragePooling2D()(inputs)
    kernel = np.array([[-1, 1]] * 3, np.float32)
    outputs = keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant(kernel))(mean)
    export.write(keras.Model(inputs, outputs), str(folder / "data"), contract, str(folder / "saved"))
    return folder / "saved"


def image(path, value, format_, size=(40, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value,) * 3).save(path, format_, **options)
    return str(path)


@pytest.fixture
def photos(tmp_path):
    """A file of every format, dark or light, in nested folders; a hidden file."""
    for i, format_ in enumerate(("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")):
        image(tmp_path / "p" / ("more" if i % 2 else "") / f"{format_}.x", 255 * (i % 2), format_, (40 + i, 30))
    frames = [Image.new("RGB", (20, 20), (v,) * 3) for v in (250, 0)]
    frames[0].save(tmp_path / "p" / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    Image.new("P", (20, 20)).save(
        tmp_path / "p" / "moving.gif", save_all=True, append_images=[Image.new("RGB", (20, 20), (255,) * 3)]
    )
    (tmp_path / "p" / ".hidden").write_text("no image")
    return tmp_path / "p"


@pytest.mark.slow
def test_every_format_in_folders(saved, photos, capsys):
    assert main(["predict", "--model", str(saved), str(photos)]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [(os.path.relpath(path, photos), label) for path, label, _ in lines] == [
        ("AVIF.x", "dark"), ("GIF.x", "dark"), ("JPEG.x", "dark"), ("WEBP.x", "dark"), ("moving.gif", "dark"),
        ("moving.webp", "light"), ("more/BMP.x", "light"), ("more/PNG.x", "light"), ("more/TIFF.x", "light"),
    ]  # fmt: skip
    assert all(0.99 < float(probability) <= 1 for *_, probability in lines)


def test_a_run_directory_is_a_model(saved, photos, tmp_path, capsys):
    shutil.copytree(saved, tmp_path / "run" / "saved_model")
    assert main(["predict", "--model", str(saved), str(photos)]) == 0
    expected = capsys.readouterr().out
    assert main(["predict", "--model", str(tmp_path / "run"), str(photos)]) == 0
    assert capsys.readouterr().out == expected
    assert len(expected.splitlines()) == 9


@pytest.mark.parametrize("format_", ["GIF", "BMP", "TIFF"])
def test_a_format_that_the_served_graph_refuses_is_answered_as_its_pixels_are(saved, tmp_path, format_):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).quantize(60)
    picture.save(tmp_path / "other", format_)
    picture.convert("RGB").save(tmp_path / "same.png")
    serve = tf.saved_model.load(str(saved)).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="The model reads JPEG, PNG and WebP"):
        serve(image_bytes=tf.constant([(tmp_path / "other").read_bytes()]))
    model = predict.load(str(saved))
    one, other = predict.answers(model, [str(tmp_path / "other"), str(tmp_path / "same.png")], Limits())
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_one_bad_file_is_one_line_and_the_rest_is_predicted(saved, photos, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("dear diary")
    whole = (photos / "more" / "PNG.x").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) - 30])  # its header is well: only decoding tells
    bad = [str(tmp_path / name) for name in ("notes.txt", "cut.png", "gone.jpg")]
    good = [str(photos / "JPEG.x"), str(photos / "more" / "PNG.x")]
    os.mkfifo(tmp_path / "pipe")
    argv = ["predict", "--model", str(saved), good[0], *bad, str(tmp_path / "pipe"), good[1]]
    assert main(argv) == 1
    said = capsys.readouterr()
    assert [line.split("\t")[:2] for line in said.out.splitlines()] == [[good[0], "dark"], [good[1], "light"]]
    errors = [line for line in said.err.splitlines() if line.startswith("predict: ")]
    assert [line.split(": ")[1] for line in errors] == [*bad, str(tmp_path / "pipe")]
    assert "Not one of JPEG, PNG" in errors[0]
    assert errors[1].endswith(f"cut.png: Invalid PNG data, size {len(whole) - 30}")  # and no place in a graph
    assert errors[2].endswith("There is no such file.")
    assert errors[3].endswith("Not a regular file.")
    assert main([*argv, "--json"]) == 1
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [o["path"] for o in objects if "error" in o] == [*bad, str(tmp_path / "pipe")]
    assert objects[0]["label"] == "dark"
    assert objects[0]["probabilities"].keys() == set(LABELS)
    assert objects[0]["probability"] == objects[0]["probabilities"]["dark"] > 0.99
    assert sum(objects[0]["probabilities"].values()) == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
def test_a_file_that_hangs_crashes_or_misleads_costs_its_own_line(saved, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(file_reader, "RECORDS", "tests.support.files.faulty_files")
    for name in ("hangs.jpg", "crashes.jpg"):
        image(tmp_path / "bad" / name, 0, "JPEG")
    (tmp_path / "bad" / "marker.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x14" + b"Exif\0\0" * 3 + b"\xff")
    image(tmp_path / "bad" / "huge.tif", 0, "TIFF", (9000, 9000), compression="tiff_lzw")
    image(tmp_path / "bad" / "large.tif", 0, "TIFF", (6000, 6000), compression="tiff_lzw")
    good = [str(photos / "JPEG.x"), str(photos / "more" / "PNG.x")]
    argv = ["predict", "--model", str(saved), "--image-timeout", "3", "--image-memory", "64M", good[0],
            str(tmp_path / "bad"), good[1]]  # fmt: skip
    assert main(argv) == 1
    said = capsys.readouterr()
    assert [line.split("\t")[:2] for line in said.out.splitlines()] == [[good[0], "dark"], [good[1], "light"]]
    errors = [line.rpartition("/bad/")[2] for line in said.err.splitlines() if line.startswith("predict: ")]
    expected = {
        "crashes.jpg": "crashed", "hangs.jpg": "longer than 3 seconds", "huge.tif": "pixels", "large.tif": "of memory",
        "marker.jpg": "Not one of",
    }  # fmt: skip
    assert [line.split(":")[0] for line in errors] == list(expected)
    for line, words in zip(errors, expected.values(), strict=True):
        assert words in line


def test_the_bounds_of_a_file_are_those_of_prepare(saved, capsys):
    for name in ("image_timeout", "image_memory"):
        theirs, ours = ({f.name: f for f in dataclasses.fields(k)}[name] for k in (PrepareConfig, FileBounds))
        assert (ours.default, ours.metadata["limits"]) == (theirs.default, theirs.metadata["limits"])
    with pytest.raises(SystemExit) as ended:
        main(["predict", "--model", str(saved), "--image-memory", "much", "x.jpg"])
    assert ended.value.code == 2
    assert main(["predict", "--model", str(saved), "--image-timeout", "0", "x.jpg"]) == 2
    assert "--image-timeout should be from 0.001 to 86400" in capsys.readouterr().err


def test_a_saved_model_without_its_metadata_is_refused(saved, tmp_path, capsys):
    shutil.copytree(saved, tmp_path / "bare", ignore=shutil.ignore_patterns("shardmill.json"))
    assert main(["predict", "--model", str(tmp_path / "bare"), "x.jpg"]) == 1
    assert "should say how the model's images were decoded and resized" in capsys.readouterr().err


def test_more_files_than_a_batch_from_a_list_on_stdin(saved, tmp_path, monkeypatch, capsys):
    paths = [
        image(tmp_path / f"{i:02}_\n-ä.png", 255 * (i % 3 == 0), "PNG", (4 + i, 5)) for i in range(predict.BATCH + 3)
    ]
    names = [path.replace("\n", "") for path in paths]
    for path, name in zip(paths, names, strict=True):
        os.rename(path, name)
    listed = "".join(f"{name}\n" for name in names) + "\n"
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(os.fsencode(listed))))
    assert main(["predict", "--model", str(saved), "-"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == names
    assert [line[1] for line in lines] == [LABELS[i % 3 == 0] for i in range(len(names))]


def test_a_name_with_a_line_break_stays_on_one_line(saved, tmp_path, capsys):
    path = image(tmp_path / "a\tb\nc.png", 0, "PNG")
    assert main(["predict", "--model", str(saved), "--", path]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/a\\tb\\nc.png\tdark\t")


def test_no_model_or_no_files(saved, tmp_path, capsys):
    assert main(["predict", "--model", str(tmp_path), "x.jpg"]) == 1
    assert "should be the --output directory of a finished training run, or a SavedModel" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["predict", "--model", str(saved), str(tmp_path / "empty")]) == 1
    assert "There are no files to predict in" in capsys.readouterr().err
    other = tf.Module()
    other.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec([])])
    tf.saved_model.save(other, str(tmp_path / "other"), signatures=other.f)
    assert main(["predict", "--model", str(tmp_path / "other"), "x.jpg"]) == 1
    assert "was not written by this trainer: it has the signatures serving_default" in capsys.readouterr().err
