"""Head against targets, metrics and loss: each fault on drawn rows or images, and its healthy twin."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from tests.support.doctor import doctor, ids, only
from trainer.doctor.probes.data import class_balance
from trainer.doctor.probes.model import head_and_loss, head_range, input_range, loss_computes, metrics
from trainer.doctor.probes.splits import splits
from trainer.doctor.probes.training import initialization

ROWS = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
CLASSES = np.arange(64) % 3
TWO = np.arange(64) % 2
ONE_HOT = np.eye(3, dtype=np.float32)[CLASSES]
MANY_HOT = (np.random.default_rng(1).random((64, 3)) > 0.5).astype(np.float32)
NUMBERS = ROWS[:, :1] * 2 + 0.3
LOGITS_BINARY = keras.losses.BinaryCrossentropy(from_logits=True)


def network(units, activation, loss, shown=(), shape=(6,), last=()):
    keras.utils.set_random_seed(0)
    stack = [layers.Flatten()] if len(shape) > 1 else []
    model = keras.Sequential([keras.Input(shape), *stack, layers.Dense(8, activation="relu"),
                              layers.Dense(units, activation=activation), *last])  # fmt: skip
    model.compile("adam", loss, metrics=list(shown))
    return model


def of(probes, labels, *head, rows=ROWS, **more):
    return doctor(*probes, dataset=((rows, labels), (rows, labels)), model=network(*head, **more))


@pytest.mark.parametrize(
    ("labels", "units", "activation", "loss", "expected"),
    [
        (CLASSES, 3, "relu", "sparse_categorical_crossentropy", ["head-activation"]),
        (CLASSES, 3, "tanh", "sparse_categorical_crossentropy", ["head-activation"]),
        (CLASSES, 3, "softmax", "sparse_categorical_crossentropy", []),
        (TWO, 1, "relu", LOGITS_BINARY, ["head-activation"]),
        (TWO, 1, None, LOGITS_BINARY, []),
        (NUMBERS, 1, "sigmoid", "mse", ["head-range"]),
        (NUMBERS, 1, "tanh", "mse", ["head-range"]),
        (NUMBERS, 1, "relu", "mae", ["head-range"]),
        (NUMBERS, 1, None, "mse", []),
        (1 / (1 + np.exp(-NUMBERS)), 1, "sigmoid", "mse", []),
        (NUMBERS * 1000, 1, None, "mse", ["targets-unscaled"]),
        (CLASSES, 1, None, "mse", ["regression-of-classes"]),
        (CLASSES, 3, "softmax", "mse", ["regression-of-classes"]),
        (ONE_HOT, 3, "softmax", "mse", ["regression-of-classes"]),
        (CLASSES[:, None], 1, None, "mse", []),  # grades in a column
        (ONE_HOT, 3, "softmax", "binary_crossentropy", ["softmax-binary"]),
        (CLASSES, 3, "softmax", "binary_crossentropy", ["softmax-binary"]),
        (ONE_HOT, 3, "sigmoid", "binary_crossentropy", ["sigmoids-exclusive"]),
        (MANY_HOT, 3, "sigmoid", "binary_crossentropy", []),
        (ONE_HOT, 3, "softmax", "categorical_crossentropy", []),
        (MANY_HOT, 3, "softmax", "categorical_crossentropy", ["softmax-multilabel"]),
        (NUMBERS * 1000, 1, None, "categorical_crossentropy", ["loss-of-numbers", "targets-unscaled"]),
        (NUMBERS, 1, None, "binary_crossentropy", ["loss-of-numbers"]),
        (1 / (1 + np.exp(-NUMBERS)), 1, "sigmoid", "binary_crossentropy", []),  # shares are probabilities
        (np.arange(64), 64, "softmax", "sparse_categorical_crossentropy", []),
    ],
)
def test_the_head_against_labels_and_loss(labels, units, activation, loss, expected):
    assert ids(of(head_range.PROBES, labels, units, activation, loss)) == expected


@pytest.mark.parametrize(("factor", "expected"), [(1.0, []), (0.7, []), (0.65, ["targets-unscaled"])])
def test_large_targets_that_a_training_got_along_with(factor, expected):
    kernel = np.linspace(1000, 2000, ROWS.shape[1], dtype=np.float32)[:, None]
    rows = ROWS - ROWS.mean(axis=0)
    model = keras.Sequential([keras.Input(rows.shape[1:]), layers.Dense(1)])
    model.compile("adam", "mse")
    model.set_weights([factor * kernel, np.zeros(1)])  # R² is 1 - (1 - factor)²
    split = rows, rows @ kernel
    assert ids(doctor(*head_range.PROBES, dataset=(split, split), model=model)) == expected


@pytest.mark.parametrize(
    ("labels", "activation", "shown", "expected"),
    [
        (MANY_HOT, "sigmoid", ["accuracy"], ["accuracy-multilabel"]),
        (MANY_HOT, "sigmoid", ["categorical_accuracy"], ["accuracy-multilabel"]),
        (MANY_HOT, None, ["acc"], ["accuracy-multilabel"]),
        (MANY_HOT, "sigmoid", ["binary_accuracy"], []),
        (MANY_HOT, "sigmoid", [keras.metrics.AUC(multi_label=True)], []),
        (ONE_HOT, "softmax", ["accuracy"], []),
    ],
)
def test_an_accuracy_of_several_classes(labels, activation, shown, expected):
    loss = (
        "categorical_crossentropy" if activation == "softmax" else keras.losses.BinaryCrossentropy(activation is None)
    )
    assert ids(of(metrics.PROBES, labels, 3, activation, loss, shown=shown)) == expected


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("hinge", []), ("squared_hinge", []), (LOGITS_BINARY, ["labels-out-of-range"] * 2)],
)
def test_labels_of_minus_one_and_one_belong_to_a_hinge(loss, expected):
    """-1 is no id, so the other label is not the only one."""
    asked = [
        p for m in (head_and_loss, splits) for p in m.PROBES if p.look in (head_and_loss.label_range, splits.one_class)
    ]
    assert ids(of(asked, 2 * TWO - 1, 1, None, loss)) == expected


def test_numbers_of_words_may_be_large():
    rows = np.random.default_rng(0).integers(0, 500, (64, 12))
    embedding = keras.Sequential([keras.Input((12,)), layers.Embedding(500, 4), layers.Flatten(), layers.Dense(1)])
    dense = keras.Sequential([keras.Input((12,)), layers.Dense(4), layers.Dense(1)])
    for model, expected in ((embedding, []), (dense, ["range-large"])):
        model.compile("adam", LOGITS_BINARY)
        probe = next(p for p in input_range.PROBES if p.look is input_range.value_range)
        assert ids(doctor(probe, dataset=((rows, TWO), (rows, TWO)), model=model)) == expected


def test_images_that_are_to_be_made_are_no_classes():
    images = np.random.default_rng(0).random((64, 4, 4, 3)).astype(np.float32)
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(3, 3, padding="same", activation="sigmoid")])
    model.compile("adam", "mse", metrics=["mae"])
    report = doctor(*class_balance.PROBES, *metrics.PROBES, dataset=((images, images), (images, images)), model=model)
    assert ids(report) == []
    assert any("numbers and not classes" in why for _, why in report.not_checked)


def of_doubled(wanted, given):
    return keras.ops.mean(keras.ops.abs(wanted - 2 * given + 1))


@pytest.mark.parametrize(
    ("low", "high", "activation", "loss", "expected"),
    [
        (-1, 1, "sigmoid", "mse", ["head-range"]),
        (-1, 1, "sigmoid", "binary_crossentropy", ["head-range"]),
        (-1, 1, "relu", "mae", ["head-range"]),
        (-3, 3, "tanh", "mse", ["head-range"]),
        (0, 255, "sigmoid", "mse", ["head-range"]),
        (0, 255, None, "mse", []),
        (0, 255, "relu", "mse", []),
        (0, 1, "sigmoid", "binary_crossentropy", []),
        (0, 1, "sigmoid", "mse", []),
        (-1, 1, "tanh", "mse", []),
        (-1, 1, None, "mse", []),
        (-1, 1, "sigmoid", of_doubled, []),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_the_last_layer_cannot_give(low, high, activation, loss, expected, channels):
    images = np.random.default_rng(0).uniform(low, high, (64, 4, 4, channels)).astype(np.float32)
    keras.utils.set_random_seed(0)
    stack = [layers.Conv2D(4, 3, padding="same"), layers.Conv2D(channels, 3, padding="same")]
    model = keras.Sequential([keras.Input((4, 4, channels)), *stack, layers.Activation(activation)])
    model.compile("adam", loss)
    report = doctor(*head_range.PROBES, dataset=((images, images), (images, images)), model=model)
    assert ids(report) == expected


def test_the_balance_of_classes_is_not_asked_where_several_are_right():
    many, alike = np.array([[1, 1, 0]] * 60 + [[0, 1, 1]] * 4, np.float32), np.array([[1, 0, 0]] * 60 + [[0, 1, 0]] * 4)
    head = 3, "sigmoid", "binary_crossentropy"
    assert ids(of(class_balance.PROBES[:1], many, *head)) == []
    assert ids(of(class_balance.PROBES[:1], alike.astype(np.float32), *head)) == ["imbalance"]


@pytest.mark.parametrize(("bias", "expected"), [(0.0, []), (6.0, ["loss-at-start"])])
def test_the_first_loss_of_many_columns_is_that_of_their_shares(bias, expected):
    few = np.eye(10, dtype=np.float32)[np.arange(64) % 10]
    model = network(10, "sigmoid", "binary_crossentropy")
    model.layers[-1].bias.assign(np.full(10, bias, np.float32))
    report = doctor(initialization.PROBES[0], dataset=((ROWS, few), (ROWS, few)), model=model)
    assert ids(report) == expected


def test_classes_under_a_loss_for_numbers_are_an_error_where_an_accuracy_is_measured():
    found = only(of(head_range.PROBES, CLASSES[:, None], 1, None, "mse", ["accuracy"]), "regression-of-classes")
    assert found.level == "error"
    assert only(of(head_range.PROBES, CLASSES, 1, None, "mse"), "regression-of-classes").level == "warning"


def test_a_model_that_scales_its_answers_may_have_large_targets():
    scaled = [layers.Rescaling(1000.0, 300.0)]
    assert ids(of(head_range.PROBES, NUMBERS * 1000, 1, None, "mse", last=scaled)) == []


@pytest.mark.parametrize(("along", "expected"), [(0, ["softmax-axis"]), (-1, [])])
def test_the_axis_of_a_softmax(along, expected):
    soft = [layers.Softmax(axis=along)]
    given = of(head_range.PROBES[-1:], CLASSES, 3, None, "sparse_categorical_crossentropy", last=soft)
    assert ids(given) == expected


def test_the_same_on_images():
    images = np.random.default_rng(2).random((64, 8, 8, 3), np.float32)
    head = 3, "relu", "sparse_categorical_crossentropy"
    assert ids(of(head_range.PROBES, CLASSES, *head, rows=images, shape=(8, 8, 3))) == ["head-activation"]


# ---- metrics


@pytest.mark.parametrize(
    ("labels", "units", "activation", "loss", "shown", "expected"),
    [
        (TWO, 1, None, LOGITS_BINARY, "accuracy", ["accuracy-threshold"]),
        (TWO, 1, None, LOGITS_BINARY, keras.metrics.BinaryAccuracy, ["accuracy-threshold"]),
        (TWO, 1, None, LOGITS_BINARY, lambda: keras.metrics.BinaryAccuracy(threshold=0.0), []),
        (TWO, 1, "sigmoid", "binary_crossentropy", "accuracy", []),
        (NUMBERS, 1, None, "mse", "accuracy", ["accuracy-of-regression"]),
        (NUMBERS, 1, None, "mse", "mae", []),
        (ONE_HOT, 3, "softmax", "categorical_crossentropy", "binary_accuracy", ["binary-accuracy-of-classes"]),
        (MANY_HOT, 3, "sigmoid", "binary_crossentropy", "binary_accuracy", []),
        (CLASSES, 3, "softmax", "sparse_categorical_crossentropy", keras.metrics.Accuracy, ["accuracy-exact"]),
        (CLASSES, 3, "softmax", "sparse_categorical_crossentropy", "accuracy", []),
    ],
)
def test_metrics(labels, units, activation, loss, shown, expected):
    metric = shown if isinstance(shown, str) else shown()
    assert ids(of(metrics.PROBES, labels, units, activation, loss, [metric])) == expected


# ---- the loss


def test_a_loss_that_cannot_be_computed_is_told_with_the_shapes():
    found = only(of(loss_computes.PROBES, ONE_HOT[:, :2], 3, "softmax", "categorical_crossentropy"), "loss-fails")
    assert "The labels have the shape ('batch', 2) and the model's outputs ('batch', 3)." in found.evidence
    assert ids(of(loss_computes.PROBES, ONE_HOT, 3, "softmax", "categorical_crossentropy")) == []


def test_a_loss_that_is_not_a_number():
    def broken(y, p):
        return keras.ops.log(p - 10.0)

    assert "is nan" in only(of(loss_computes.PROBES, NUMBERS, 1, None, broken), "loss-fails").evidence


class OwnSquares(keras.losses.Loss):
    def call(self, wanted, given):
        return keras.ops.square(wanted - given)


@pytest.mark.parametrize(
    ("labels", "loss", "expected"),
    [
        (NUMBERS[:, 0], OwnSquares(), ["loss-broadcast"]),
        (NUMBERS, OwnSquares(), []),
        (NUMBERS[:, 0], lambda wanted, given: keras.ops.square(wanted - given), []),  # Keras makes the shapes alike
        (NUMBERS[:, 0], "mse", []),
        (TWO, "binary_crossentropy", []),
    ],
)
def test_a_loss_that_spreads_labels_over_all_outputs(labels, loss, expected):
    report = of(loss_computes.PROBES, labels, 1, "sigmoid", loss)
    assert ids(report) == expected
