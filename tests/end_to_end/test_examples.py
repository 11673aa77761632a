"""The examples do what they say, on a tiny dataset; of JAX's and PyTorch's at least the part without them."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import re
import runpy
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.dataset import sidecars
from tests.support import tasks
from tests.support.datasets import picture, write_dataset
from trainer import dataset

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("examples") / "data"
    write_dataset(path, encoding="uint8", splits={"train": (40, 30), "validation": (6, 6)})
    return path


@pytest.fixture(scope="module", params=["multi-label", "regression"])
def targets(request, tmp_path_factory):
    """A dataset without classes, of one channel."""
    path = tmp_path_factory.mktemp("targets") / "data"
    tasks.write(path, request.param, encoding="float16", channels=1)
    return path


def example(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"own_keras_fit", "own_tf_loop", "own_jax", "own_torch"}


def test_keras_fit(data, capsys):
    history = example("own_keras_fit")["main"](str(data), 2)
    assert history.params["steps"] == 3  # 70 records in batches of 32
    assert history.history.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(values) == 2 and np.isfinite(values).all() for values in history.history.values())
    assert "commonest class: 0.5\n" in capsys.readouterr().out


def test_keras_fit_of_targets(targets, capsys):
    history = example("own_keras_fit")["main"](str(targets), 2).history
    assert all(len(values) == 2 and np.isfinite(values).all() for values in history.values())
    task = contracts.load(targets).task
    truth = np.concatenate([y.numpy() for _, y in dataset.load(targets, "validation", 16)])
    if task.kind == "multi-label":
        assert "val_binary_accuracy" in history
        expected = np.maximum(truth.mean(0), 1 - truth.mean(0)).mean()
    else:
        assert "val_mean_absolute_error" in history
        expected = np.abs((truth - task.mean) / task.std).mean()
    assert float(capsys.readouterr().out.split("\n")[0].split(": ")[1]) == pytest.approx(expected, rel=1e-5)


def test_tf_loop_of_targets(targets):
    keras.utils.set_random_seed(0)
    losses = example("own_tf_loop")["main"](str(targets), 4)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["own_jax", "own_torch"])
def test_numpy_batches_of_targets(targets, name):
    (images, y), *_ = example(name)["numpy_batches"](str(targets), "train", 8)
    assert images.shape == ((8, 1, 8, 8) if name == "own_torch" else (8, 8, 8, 1))
    known = {tasks.target(contracts.load(targets).task.kind, tasks.picture(n, (8, 8, 1))[1]) for n in range(48)}
    assert y.dtype == np.float32
    assert {tuple(row) for row in y} <= {tuple(np.float32(numbers)) for numbers in known}


def test_tf_loop(data):
    keras.utils.set_random_seed(0)
    losses = example("own_tf_loop")["main"](str(data), 4)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("name", "sizes"), [("own_jax", [32, 32]), ("own_torch", [32, 32, 6])])
def test_numpy_batches(data, name, sizes):
    contract = contracts.load(data)
    seen = []
    for images, labels in example(name)["numpy_batches"](str(data), "train", 32):
        assert (images.dtype, labels.dtype) == (np.float32, np.int64)
        images = images.transpose(0, 2, 3, 1) if name == "own_torch" else images
        for image, label in zip(images, labels, strict=True):
            index = int(np.rint((image[0, 0, 0] + 2) * 64))
            expected = contracts.normalize(contract, tf.constant(picture(index, int(label))))
            np.testing.assert_allclose(image, expected, atol=1e-6)
            seen.append(index)
    assert len(seen) == sum(sizes)
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_with_the_library_where_it_is_installed(data, name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed; it is no dependency")
    losses = example(f"own_{name}")["main"](str(data), 2)
    assert losses[1] < losses[0]


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_targets_with_the_library_where_it_is_installed(targets, name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed; it is no dependency")
    losses = example(f"own_{name}")["main"](str(targets), 4)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
@pytest.mark.parametrize(("arguments", "why"), [(["nowhere"], "nowhere"), ([], "python examples/own_")])
def test_wrong_use_is_said_without_a_traceback(path, arguments, why, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    with pytest.raises(SystemExit, match=why):
        runpy.run_path(str(path), run_name="__main__")


def snippets():
    """The programs of docs/api.md that read a dataset without code of ours: plain tf.data, and TFDS."""
    text = (EXAMPLES.parent / "docs" / "api.md").read_text(encoding="utf-8").split("## Without code of ours")[1]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("kind", ["classes", "multi-label", "regression"])
def test_without_code_of_ours(kind, tmp_path, monkeypatch):
    data = tmp_path / "data"
    if kind == "classes":
        contract = write_dataset(data, encoding="float16")
    else:
        contract = tasks.write(data, kind, encoding="float16", channels=1)
    for name, text in sidecars.tfds_files(dataclasses.replace(contract, name="tiny")).items():  # as the shards' names
        (data / name).write_text(text)
    expected = sorted(rows(dataset.load(data, "train", 64)))
    assert len(expected) == contract.split("train").records
    monkeypatch.chdir(tmp_path)
    plain, tfds = snippets()

    assert sorted(rows(run(plain)["batches"])) == expected
    pytest.importorskip("tensorflow_datasets")
    assert sorted(rows(run(tfds)["train"].batch(64))) == expected


def run(program):
    names = {}
    exec(program, names)
    return names


def rows(batches):
    """For each record the bytes of its image as float32, and its y."""
    return [
        (image.astype(np.float32).tobytes(), np.atleast_1d(answer).tolist())
        for images, y in batches.as_numpy_iterator()
        for image, answer in zip(images, y, strict=True)
    ]
