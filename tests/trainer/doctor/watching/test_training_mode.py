"""Models that are asked with training=True."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from trainer.doctor.subject.training import Place
from trainer.doctor.watching.training_mode import TrainingMode, may_ask

PLACE = Place("train.py", 30, "p = model(image[None], training=True)")
IMAGES = np.random.default_rng(0).random((8, 4), np.float32)


def network(*stack):
    return keras.Sequential([keras.Input((4,)), layers.Dense(3), *stack, layers.Dense(2)])


NORMED = network(layers.BatchNormalization())


def line(number):
    return Place("train.py", number, "")


def found(model, calls, code="", models=None):
    mode = TrainingMode()
    for x in calls:
        mode.note(model, x, PLACE)
    return mode.find(code, [model] if models is None else models, line)


def test_single_images_that_are_predicted_in_training_mode():
    (told,) = found(NORMED, [image[None] for image in IMAGES])
    assert (told.id, told.level) == ("training-mode-at-inference", "error")
    assert told.evidence == "It was called 8 times, with 1 image or more. The model has layers of BatchNormalization."
    assert told.place == "train.py:30: p = model(image[None], training=True)"


@pytest.mark.parametrize("model", [network(layers.Dropout(0.5)), NORMED])
def test_one_batch_is_enough(model):
    assert found(model, [IMAGES])[0].evidence.startswith("It was called once, with 8 images or more.")


def test_what_is_left_alone():
    assert found(network(), [IMAGES]) == []  # no layer has two modes
    assert found(network(layers.Dropout(0.5)), [IMAGES] * 20) == []  # an average over dropout
    assert found(NORMED, [IMAGES], models=[network()]) == []  # a part of another model
    assert found(NORMED, []) == []
    makes_images = keras.Sequential([keras.Input((8, 8, 3)), layers.BatchNormalization(), layers.Conv2D(3, 3)])
    assert found(makes_images, [np.zeros((2, 8, 8, 3))]) == []


def test_what_a_tape_follows_and_the_batch_of_it():
    mode = TrainingMode()
    with tf.GradientTape():
        mode.note(NORMED, IMAGES, PLACE)
    mode.note(NORMED, IMAGES, PLACE)  # scored as it was trained on
    assert mode.asked == []


ASKED = (
    "class M(keras.Model):\n    def test_step(self, data):\n        x, y = data\n        p = self(x, training=True)\n"
)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ASKED, "train.py:4"),
        ("def evaluate(ds):\n    return [model(x, training=True) for x, y in ds]\n", "train.py:2"),
        ("def predict_one(x):\n    return net(x[None], training=True)\n", "train.py:2"),
        (ASKED.replace("True", "False"), ""),
        (ASKED.replace("test_step", "call"), ""),
        ("def train_step(x):\n    return model(x, training=True)\n", ""),
        ("def contest(x):\n    return model(x, training=True)\n", ""),
        ("def predict_mc(x):\n    return model(x, training=True)\n", ""),
        ("def predict(x):\n    return np.mean([model(x, training=True) for _ in range(50)], 0)\n", ""),
        ("def test(x):\n    with tf.GradientTape() as t:\n        return model(x, training=True)\n", ""),
        ("def test(:\n", ""),
    ],
)
def test_functions_that_ask_a_model(code, expected):
    assert [told.place for told in found(NORMED, [], code)] == ([expected] if expected else [])


class Block(layers.Layer):
    def __init__(self):
        super().__init__()
        self.norm = layers.BatchNormalization()

    def call(self, x, training=None):
        return self.norm(x, training=training)


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Block(), Block()]

    def call(self, x, training=None):
        for block in self.blocks:
            x = block(x, training=training)
        return x


def test_layers_inside_of_layers_of_ones_own():
    model = Net()
    model(IMAGES)
    (told,) = found(model, [image[None] for image in IMAGES])
    assert told.evidence == "It was called 8 times, with 1 image or more. The model has layers of BatchNormalization."


@pytest.mark.parametrize(("every", "expected"), [(1, 0), (2, 0), (0, 1), (20, 1)])
def test_calls_that_belong_to_steps(every, expected):
    """A GAN makes new rows in each step; a test after an epoch is called after many."""
    mode = TrainingMode()
    for number, image in enumerate(IMAGES):
        mode.note(NORMED, image[None], PLACE, steps=100 + every * number)
    assert len(mode.find("", [NORMED], line)) == expected


def test_outputs_that_are_images():
    mode = TrainingMode()
    mode.note(NORMED, IMAGES, PLACE, np.zeros((8, 4, 4, 3)))
    assert mode.asked == []


TAPED = "with tf.GradientTape() as tape:\n    p = model(x, training=True)\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (TAPED, False),
        (TAPED + "q = model(z, training=False)\n", False),
        (TAPED + "def forward(x):\n    return model(x, training=True)\n", True),
        ("if x:\n    with a, tf.GradientTape() as tape:\n        f(g(x, training=True))\n", False),
        ("if True\n", False),
    ],
)
def test_programs_that_may_ask_in_training_mode(code, expected):
    assert may_ask(code) is expected
