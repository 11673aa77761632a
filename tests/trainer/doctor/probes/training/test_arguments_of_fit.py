"""How long a program trains: each fault, and its healthy twin."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from tests.support.doctor import ids, only, probe_of, subject
from trainer.doctor import run_probes
from trainer.doctor.probes.training import arguments_of_fit, overfit_one_batch
from trainer.doctor.subject.training import Training

X = np.random.default_rng(0).normal(size=(96, 4)).astype(np.float32)
Y = np.arange(96) % 2
STEPS, SETTLED = (probe_of(arguments_of_fit, f) for f in (arguments_of_fit.steps, arguments_of_fit.settled))
WATCHED = probe_of(arguments_of_fit, arguments_of_fit.watched)


def given(training, history=None, y=Y, model=None):
    made = subject((X, y), (X, y), model=model, history=history)
    return dataclasses.replace(made, training=Training("fit", **({"whole": True, "judged": True} | training)))


def of(probe, *args, **more):
    return run_probes.run(given(*args, **more), [probe])


@pytest.mark.parametrize(
    ("steps", "epochs", "history", "expected"),
    [
        (5, 2, None, ["few-steps"]),
        (50, 4, {"accuracy": (0.5, 0.52)}, ["few-steps"]),
        (50, 4, {"accuracy": (0.6, 0.8)}, []),
        (50, 4, {"loss": (0.7, 0.69)}, ["few-steps"]),
        (50, 4, {"loss": (0.7, 0.4)}, []),
        (500, 4, {"accuracy": (0.5, 0.52)}, []),  # of so many steps, something else is the reason
        (50, 4, None, []),
    ],
)
def test_few_steps(steps, epochs, history, expected):
    assert ids(of(STEPS, {"steps": steps, "epochs": epochs}, history)) == expected


def test_the_accuracy_stands_beside_the_commonest_class():
    found = only(of(STEPS, {"steps": 50, "epochs": 4}, {"accuracy": (0.5, 0.52)}), "few-steps")
    assert "52.0%" in found.evidence
    assert "commonest class 50.0%" in found.evidence


FALLS = tuple(2 * 0.9**i for i in range(8))


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ({"loss": FALLS, "val_loss": FALLS}, ["loss-not-settled"]),
        ({"loss": FALLS}, ["loss-not-settled"]),
        ({"loss": (1.0, 0.8), "val_loss": (0.9, 0.7)}, ["loss-not-settled"]),
        ({"loss": FALLS, "val_loss": (2, 1.5, 1.2, 1.1, 1.05, 1.04, 1.03, 1.03)}, []),
        ({"loss": FALLS, "val_loss": (2, 1.5, 1.2, 1.1, 1.05, 1.1, 1.2, 1.1)}, []),
        ({"loss": tuple(2 * 0.99**i for i in range(8))}, []),
        ({"loss": (1.0, 0.02, 0.012, 0.009)}, []),  # there is nothing more to gain
        ({"loss": FALLS, "val_loss": FALLS, "val_accuracy": (0.9,) * 7 + (0.97,)}, ["loss-not-settled"]),
        ({"loss": FALLS, "val_loss": FALLS, "val_accuracy": (0.9,) * 7 + (0.98,)}, []),  # nearly all is right
        ({"loss": tuple(2 * 0.9**i for i in range(40))}, []),  # so many epochs were planned
    ],
)
def test_a_loss_that_still_falls(history, expected):
    assert ids(of(SETTLED, {"steps": 100, "epochs": len(history["loss"])}, history)) == expected


@pytest.mark.parametrize(("right", "expected"), [(True, []), (False, ["loss-not-settled"])])
def test_a_loss_that_still_falls_of_several_labels(right, expected):
    """The outputs are the rows, of which two columns are the labels or are not."""
    rng = np.random.default_rng(0)
    labels = (rng.random((64, 2)) < 0.5).astype(np.float32)
    rows = np.where(labels > 0, 0.9, 0.1).astype(np.float32) if right else rng.random((64, 2)).astype(np.float32)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="sigmoid")])
    model.layers[0].set_weights([np.float32([[8, 0], [0, 8]]), np.float32([-4, -4])])
    model.compile("adam", "binary_crossentropy")
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(100)
    training = Training("fit", steps=100, epochs=8, whole=True)
    history = {"loss": FALLS, "val_loss": FALLS}
    given = subject((rows, labels), model=model, training=training, history=history)
    assert ids(run_probes.run(given, [SETTLED])) == expected


def test_a_training_that_was_cut_short_shows_nothing():
    report = of(SETTLED, {"steps": 100, "epochs": 8, "whole": False}, {"loss": FALLS})
    assert ids(report) == []
    assert report.not_checked


@pytest.mark.parametrize(
    ("rate", "epochs", "expected"),
    [(1e-4, 100, ["learning-rate-low"]), (1e-4, 100_000, []), (0.1, 100, [])],
)
def test_a_rate_that_is_too_low_for_the_steps_of_a_regression(rate, epochs, expected):
    y = (2 * X[:, :1] + 0.5).astype(np.float32)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse")
    report = of(overfit_one_batch.PROBES[0], {"steps": 6, "epochs": epochs}, y=y, model=model)
    assert ids(report) == expected
    if expected:
        assert "600 steps" in report.findings[0].what


@pytest.mark.parametrize(
    ("rate", "epochs", "expected"),
    [(1e-3, 5000, []), (1e-3, 15, ["learning-rate-low"]), (1e-5, 500, ["learning-rate-low"])],
)
def test_a_rate_that_comes_down_from_weights_far_above_guessing(rate, epochs, expected):
    """The first loss is 4 times ln(2): 80 steps do not reach guessing, some thousand pass far below it."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
    model.layers[0].set_weights([np.float32([[0, 0], [0, 0], [0, 0], [0, 0]]), np.float32([5.5, 0])])
    model.compile(keras.optimizers.SGD(8 * rate), "sparse_categorical_crossentropy")
    y = (X[:, 0] > 0).astype(np.int64)
    report = of(overfit_one_batch.PROBES[0], {"steps": 6, "epochs": epochs}, y=y, model=model)
    assert ids(report) == expected


HISTORY = {"loss": (1.0, 0.5), "val_loss": (1.0, 0.9), "accuracy": (0.5, 0.6), "val_accuracy": (0.5, 0.6)}


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        (keras.callbacks.EarlyStopping("val_accuracy", mode="min"), ["callback-mode"]),
        (keras.callbacks.EarlyStopping("val_loss", mode="max"), ["callback-mode"]),
        (keras.callbacks.ReduceLROnPlateau("val_auc", mode="min"), ["callback-mode"]),
        (keras.callbacks.ModelCheckpoint("a.keras", "val_loss", save_best_only=True, mode="max"), ["callback-mode"]),
        (keras.callbacks.ModelCheckpoint("a.keras", "val_loss", mode="max"), []),  # it keeps every epoch
        (keras.callbacks.EarlyStopping("val_accuracy", mode="max"), []),
        (keras.callbacks.EarlyStopping("val_accuracy"), []),
        (keras.callbacks.EarlyStopping("val_loss"), []),
        (keras.callbacks.EarlyStopping("val_error", mode="min"), ["callback-blind"]),
        (keras.callbacks.EarlyStopping("val_acc"), ["callback-blind"]),
        (keras.callbacks.LearningRateScheduler(lambda epoch: 0.1), []),
    ],
    ids=lambda value: getattr(value, "monitor", None) if not isinstance(value, list) else "",
)
def test_what_callbacks_watch(callback, expected):
    report = of(WATCHED, {"epochs": 2, "epochs_run": 2, "history": HISTORY, "callbacks": (callback,)}, HISTORY)
    assert ids(report) == expected


def test_the_fix_of_a_mode_names_the_other_one():
    callback = keras.callbacks.EarlyStopping("val_accuracy", mode="min")
    found = only(of(WATCHED, {"callbacks": (callback,)}), "callback-mode")
    assert (found.what, found.fix.split(",")[0]) == (
        "EarlyStopping takes the least val_accuracy for the best", 'Write mode="max"',
    )  # fmt: skip
