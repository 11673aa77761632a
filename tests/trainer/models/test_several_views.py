"""Answers averaged over mirror images and crops, for evaluation and predict."""

import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.support import tasks, trainings
from tests.support.datasets import make_contract, picture, write_dataset
from trainer.cli.main import main
from trainer.config import TrainConfig, TrainerError
from trainer.evaluation import inference
from trainer.models import ensemble, outputs, several_views, view
from trainer.serving import predict, predict_views
from trainer.training.train import train

IMAGES = np.random.default_rng(0).normal(size=(3, 12, 10, 3)).astype(np.float32)


def network(activation=None, shape=(12, 10, 3), units=2):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layers.Dense(units, activation=activation)(layers.Flatten()(inputs)))


def probabilities(model, images, activation):
    logits = outputs.logits_function(model, activation)(tf.constant(images))
    return (tf.nn.softmax(logits) if activation == "softmax" else tf.sigmoid(logits)).numpy()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("ends", [None, "same"])
def test_probabilities_of_both_sides_are_averaged(activation, ends):
    model = network(activation if ends else None)
    both = several_views.averaged(model, "flip", activation)
    expected = (probabilities(model, IMAGES, activation) + probabilities(model, IMAGES[:, :, ::-1], activation)) / 2
    np.testing.assert_allclose(probabilities(both, IMAGES, activation), expected, atol=1e-5)
    np.testing.assert_allclose(both(IMAGES), both(IMAGES[:, :, ::-1].copy()), atol=1e-5)


def test_numbers_are_averaged():
    model = network(units=1)
    both = several_views.averaged(model, "flip", "")
    np.testing.assert_allclose(both(IMAGES), (model(IMAGES) + model(IMAGES[:, :, ::-1])) / 2, atol=1e-5)
    assert several_views.averaged(model, "none", "") is model


@pytest.mark.parametrize("size", [8, 9])
def test_ten_crops_by_hand(size):
    """The stored image of 12x10 is resized to 11x9 for a view of 8, and is as it is for one of 9."""
    inner = network(shape=(size, size, 3))
    model = view.viewed(inner, make_contract(image_shape=(12, 10, 3)))
    ten = several_views.averaged(model, "crops", "softmax")
    resized = tf.image.resize(IMAGES, view.resized_shape(12, 10, size), antialias=True).numpy()
    tall, wide = (side - size for side in resized.shape[1:3])
    found = []
    for top, left in [(tall // 2, wide // 2), (0, 0), (0, wide), (tall, 0), (tall, wide)]:
        crop = resized[:, top : top + size, left : left + size]
        found += [probabilities(inner, part, "softmax") for part in (crop, crop[:, :, ::-1])]
    np.testing.assert_allclose(probabilities(ten, IMAGES, "softmax"), np.mean(found, axis=0), atol=1e-5)


def test_crops_of_a_network_that_sees_all_are_refused():
    with pytest.raises(TrainerError, match="--tta crops is for models that see a part of each image"):
        several_views.averaged(network(), "crops", "softmax")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tta")
    write_dataset(folder / "data", encoding="uint8", shape=(12, 10, 3))
    options = {"epochs": 1, "batch_size": 8, "train_size": 8}
    with trainings.without_reports():
        train(TrainConfig(str(folder / "data"), str(folder / "run"), **options))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("tta", ["flip", "crops"])
def test_evaluate_takes_it(run, tta):
    out = run / f"{tta}.json"
    arguments = ["evaluate", "--model", str(run / "run"), "--data", str(run / "data"), "--output", str(out)]
    assert main([*arguments, "--tta", tta]) == 0
    found = json.loads(out.read_text())["splits"]["test"]
    single = json.loads((run / "run" / "metrics.json").read_text())["splits"]["test"]
    assert found["records"] == single["records"]
    assert found["loss"] != single["loss"]


def evaluated(folder, tta, kind="probability of "):
    """The numbers of each record of test by `evaluate --tta`: {key: {name: value}}."""
    out = folder / f"by-{tta}"
    arguments = ["evaluate", "--model", str(folder / "run"), "--data", str(folder / "data"), "--output", str(out)]
    assert main([*arguments, "--tta", tta]) == 0
    with (out / "predictions-test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        row["key"]: {name.removeprefix(kind): float(row[name]) for name in row if name.startswith(kind)} for row in rows
    }


def written(folder, data):
    """Writes the images of the records of test as files; returns their paths."""
    keys, _ = inference.keys(data, "test")
    pixels = inference.pixels(data, "test", np.arange(len(keys)), 8)
    folder.mkdir()
    for key, image in zip(keys, pixels, strict=True):
        (folder / f"{key}.png").write_bytes(tf.io.encode_png(image).numpy())
    return [str(folder / f"{key}.png") for key in keys]


def predicted(capsys, model, files, tta):
    """The numbers of each file by `predict --tta --json`: {key: {name: value}}."""
    capsys.readouterr()
    assert main(["predict", "--model", str(model), "--tta", tta, "--json", *files]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {Path(line["path"]).stem: line.get("probabilities", line.get("values")) for line in lines}


def check_equal(found, expected, atol=1e-6):
    assert list(found) == list(expected)
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, abs=atol)


@pytest.mark.slow
@pytest.mark.parametrize("tta", ["flip", "crops"])
def test_predict_answers_as_evaluate_does(run, tmp_path, capsys, tta):
    assert json.loads((run / "run" / "calibration.json").read_text())["temperature"] != 1
    expected = evaluated(run, tta)
    files = written(tmp_path / "photos", run / "data")
    check_equal(predicted(capsys, run / "run", files, tta), expected)
    single = predicted(capsys, run / "run", files, "none")
    assert any(abs(single[key]["ok"] - values["ok"]) > 1e-4 for key, values in expected.items())


@pytest.mark.slow
def test_an_export_answers_the_mean_of_both_sides(run, capsys):
    export = str(run / "run" / "saved_model")
    model, pixels = predict.load(export), picture(3, 1, (12, 10, 3))
    one, other = (tf.io.encode_png(p).numpy() for p in (pixels, pixels[:, ::-1]))
    single = model.serve([one, other])
    assert not np.allclose(single[0], single[1], atol=1e-4)
    both = predict_views.averaged(model, export, "flip")
    np.testing.assert_allclose(both.serve([one]), single.mean(axis=0, keepdims=True), atol=1e-6)
    assert main(["predict", "--model", export, "--tta", "crops", "photo.jpg"]) == 1
    assert f"--tta crops needs the network of a run. {export!r} is an export" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "column"), [("multi-label", "probability of "), ("regression", "answer ")])
def test_predict_answers_labels_and_numbers_as_evaluate_does(tmp_path, capsys, kind, column):
    tasks.write(tmp_path / "data", kind)
    with trainings.without_reports():
        train(TrainConfig(str(tmp_path / "data"), str(tmp_path / "run"), epochs=1, batch_size=8, train_size=6))
    files = written(tmp_path / "photos", tmp_path / "data")
    for tta in ("flip", "crops"):
        expected = evaluated(tmp_path, tta, column)
        check_equal(predicted(capsys, tmp_path / "run", files, tta), expected, atol=1e-4)
    assert main(["predict", "--model", str(tmp_path / "run"), "--tta", "flip", files[0]]) == 0
    assert ("leave it out if a number depends on the side" in capsys.readouterr().err) == (kind == "regression")


def test_the_mean_of_folds_has_one_view(tmp_path):
    contract = make_contract(image_shape=(12, 10, 3))
    inner = [network(shape=(8, 8, 3)), network(shape=(8, 8, 3))]
    joined = ensemble.mean([view.viewed(one, contract) for one in inner], "softmax", contract)
    assert [layer.name for layer in joined.layers].count(view.CENTRE) == 1
    images = tf.constant(IMAGES)
    seen = view.central(images, 8)
    np.testing.assert_allclose(joined(images), (inner[0](seen) + inner[1](seen)) / 2, atol=1e-5)
    ten = several_views.averaged(joined, "crops", "softmax")
    assert ten(images).shape == (3, 2)
    whole = [network(), network()]
    assert view.core(ensemble.mean(whole, "softmax", contract)).input_shape == (None, 12, 10, 3)


@pytest.mark.slow
def test_a_mirrored_number_is_told_of(tmp_path, capsys):
    tasks.write(tmp_path / "data", "regression")
    with trainings.without_reports(export=False):
        train(TrainConfig(str(tmp_path / "data"), str(tmp_path / "run"), epochs=1, batch_size=8, flip=False))
    capsys.readouterr()
    arguments = ["evaluate", "--model", str(tmp_path / "run"), "--data", str(tmp_path / "data"), "--tta", "flip"]
    assert main(arguments) == 0
    assert "leave it out if a number depends on the side" in capsys.readouterr().out
