"""Whether a model is to predict classes or numbers, and whether its loss looks at the labels."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.support.doctor import probe_of, subject
from trainer.doctor import run_probes
from trainer.doctor.probes.data import class_balance
from trainer.doctor.tools import first_weights, scores, task

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


SOFT = np.random.default_rng(1).dirichlet((1, 1, 1, 1), 40)
CORNERS = np.random.default_rng(2).random((40, 4))


@pytest.mark.parametrize(
    ("loss", "labels", "expected"),
    [
        ("mse", CORNERS, True),
        ("huber", CORNERS, True),
        ("mse", SOFT, False),  # each row sums to 1
        ("mse", np.eye(4)[np.arange(40) % 4], False),
        ("mse", np.where(CORNERS > 0.5, 0.95, 0.05), False),  # smoothed labels
        ("mse", 2 * CORNERS, True),
        ("binary_crossentropy", CORNERS, False),
    ],
    ids=["corners", "huber", "soft", "one-hot", "smoothed", "above 1", "cross-entropy"],
)
def test_several_columns_of_labels(loss, labels, expected):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4)])
    model.compile("sgd", loss)
    assert task.is_regression(subject((ROWS, labels.astype("float32")), model=model)) is expected


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


ZEROS, CLASSES = np.zeros(40, np.float32), np.arange(40) % 2


def hinge_of_gap(y_true, gap):
    return keras.ops.mean(keras.ops.relu(gap + 0.5))


def weighted(y_true, y_pred):
    return keras.ops.mean((1 + y_true) * keras.ops.binary_crossentropy(y_true, keras.ops.sigmoid(y_pred)))


@pytest.mark.parametrize(
    ("loss", "labels", "expected"),
    [
        (hinge_of_gap, ZEROS, True),  # triplets
        (hinge_of_gap, CLASSES, True),
        (weighted, ZEROS, False),  # the first images of a set that is sorted by class
        (weighted, CLASSES, False),
        ("mse", ZEROS, True),  # a model whose output is the loss
        ("mse", CLASSES, False),
        ("binary_crossentropy", ZEROS, False),
        (keras.losses.BinaryCrossentropy(), np.ones((40, 1)), False),
        (keras.losses.Hinge(), ZEROS, False),
    ],
)
def test_labels_that_the_loss_does_not_look_at(loss, labels, expected):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile("sgd", loss)
    assert task.ignores_labels(subject((ROWS, labels), model=model)) is expected


class AddsLoss(keras.Model):
    """An autoencoder that adds the loss itself."""

    def __init__(self):
        super().__init__()
        self.code = layers.Dense(3)

    def call(self, x):
        made = self.code(x)
        self.add_loss(keras.ops.mean((made - x) ** 2))
        return made


class Steps(AddsLoss):
    """The same with a train_step, which may look at the labels."""

    def train_step(self, data):
        return super().train_step(data)


@pytest.mark.parametrize(
    ("kind", "labels", "expected"), [(AddsLoss, CLASSES, True), (Steps, CLASSES, False), (Steps, ZEROS, True)]
)
def test_labels_of_a_model_without_a_loss_to_compile(kind, labels, expected):
    model = kind()
    model.compile("sgd")
    model(ROWS)
    assert task.ignores_labels(subject((ROWS, labels), model=model)) is expected


@pytest.mark.parametrize(("loss", "told"), [(hinge_of_gap, 0), (weighted, 1)])
def test_a_model_whose_loss_ignores_the_labels_has_no_accuracy(loss, told):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile("sgd", loss)
    model.fit(ROWS, CLASSES, verbose=0)
    made = subject((ROWS, CLASSES), model=model)
    assert len(scores.of_any_task(made)) == told
    report = run_probes.run(made, [probe_of(class_balance, class_balance.imbalance)])
    assert report.not_checked == ((), (("balance of the classes", "the loss does not look at the labels"),))[not told]
