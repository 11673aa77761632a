"""The examples do what they say, on a tiny dataset; of JAX's and PyTorch's at least the part without them."""

from __future__ import annotations

import importlib.util
import pathlib
import runpy

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from tests.support.datasets import picture, write_dataset

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("examples") / "data"
    write_dataset(path, encoding="uint8", splits={"train": (40, 30), "validation": (6, 6)})
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
