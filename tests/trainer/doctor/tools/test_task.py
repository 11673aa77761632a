"""Whether a model is to predict classes or numbers."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.support.doctor import subject
from trainer.doctor.tools import first_weights, task

ROWS = np.random.default_rng(0).random((40, 3), np.float32)


@pytest.mark.parametrize(
    ("activation", "loss", "labels", "expected"),
    [
        ("linear", "mse", np.arange(40) % 3.0, True),  # counts, as floats
        ("softplus", "mae", np.arange(40) % 3.0, True),
        ("linear", "mse", np.arange(40) % 3, False),  # integers may be ids of classes
        ("linear", "mse", np.arange(40), True),  # so many are none
        ("linear", "mse", np.arange(40) % 2.0, False),
        ("sigmoid", "mse", np.arange(40) % 3.0, False),
        ("softplus", "poisson", np.arange(40) % 2, True),
        ("sigmoid", "binary_crossentropy", np.arange(40) % 2.0, False),
    ],
)
def test_a_column_of_labels(activation, loss, labels, expected):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1, activation=activation)])
    model.compile("sgd", loss)
    assert task.is_regression(subject((ROWS, labels), model=model)) is expected


class Block(layers.Layer):
    """A layer of two others."""

    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(4), layers.BatchNormalization()

    def call(self, x):
        return self.second(self.first(x))


@pytest.mark.parametrize(("front", "normalizes"), [(Block, True), (lambda: layers.Dense(4), False)])
def test_layers_inside_of_a_layer_are_seen(front, normalizes):
    made = front()
    model = keras.Sequential([keras.Input((3,)), made, layers.Dense(1)])
    assert first_weights.look(model, ROWS).normalizes is normalizes
    assert first_weights.parts_of(made) == ([made.first, made.second] if normalizes else [made])
