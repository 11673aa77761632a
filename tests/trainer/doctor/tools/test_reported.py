"""Accuracies that a program reported, beside those that were measured."""

import numpy as np
import pytest

from tests.support.doctor import subject
from tests.trainer.doctor.tools.test_scores import pictures, reader
from trainer.doctor import run_probes
from trainer.doctor.probes.base import Probe
from trainer.doctor.tools import reported


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", True), ("acc", True), ("sparse_categorical_accuracy", True), ("sign_accuracy", True),
        ("CategoricalAccuracy", True), ("sparse_top_k_categorical_accuracy", False), ("balanced_accuracy", False),
        ("positive_accuracy", False), ("auc", False), ("loss", False), ("vaccine", False),
    ],
)  # fmt: skip
def test_accuracies_are_known_by_their_names(name, expected):
    assert reported.is_accuracy(name) is expected


def judged(train, validation, **more):
    return subject(pictures(train), pictures(validation), model=reader(), **more)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ({"val_acc": (0.05, 0.1)}, ["fit reported val_acc 10.0% at best, and the model is right on 90.0% of 100 "
                                    "validation images"]),
        ({"val_acc": (0.05, 0.7)}, []),  # within 30 points of the interval
        ({"accuracy": (0.4, 0.5, 0.53)}, ["fit reported accuracy 53.0% at best, and the model is right on 95.0% of 100 "
                                     "train images"]),
        ({"accuracy": (0.4, 0.5, 0.62)}, []),  # what is hard in training may be easy without augmentation and dropout
        ({"accuracy": (0.5, 0.53)}, []),  # a mean over an epoch in which it learned
        ({"val_top_k_accuracy": (0.1,), "loss": (0.2,)}, []),
    ],
)  # fmt: skip
def test_a_history_that_the_model_contradicts(history, expected):
    made = judged(0.95, 0.9, history=history)
    assert list(reported.doubts_of_history(made)) == expected
    told = run_probes.run(made, [Probe("sound", lambda s, c: [])])
    assert told.verdict == (f"Could not tell: {expected[0]}." if expected else "Healthy: 1 check, nothing found.")


def test_the_first_rows_of_sorted_data_tell_nothing():
    x, y = pictures(0.9)
    order = np.argsort(y, kind="stable")
    images, labels = (np.concatenate([*[part[order][:50]] * 6, *[part[order][50:]] * 6]) for part in (x, y))
    made = subject(pictures(0.9), (images, labels), model=reader(), history={"val_accuracy": (0.2,)})
    assert list(reported.doubts_of_history(made)) == []


@pytest.mark.parametrize(
    ("right", "values", "expected"),
    [
        (0.5, {"loss": 0.7, "accuracy": 0.5}, "evaluate reported accuracy 50.0%, which is no better than guessing"),
        (0.9, {"accuracy": 0.2}, "evaluate reported accuracy 20.0%, and the model is right on 90.0% of 100 validation "
                                 "images"),
        (0.9, {"accuracy": 0.9}, ""),
        (0.5, {"loss": 0.7}, ""),
        (0.9, {"acc": 90.0}, ""),  # in percent
    ],
)  # fmt: skip
def test_what_evaluate_reported(right, values, expected):
    assert reported.doubt_of_evaluation("evaluate", values, judged(0.9, right)) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.51, True), (0.6, False)])
def test_what_evaluate_reported_on_data_that_are_used_up(value, expected):
    made = subject(pictures(0.9), model=reader())
    told = reported.doubt_of_evaluation("evaluate", {"accuracy": value}, made)
    assert told == ("evaluate reported accuracy 51.0%, and guessing gives 50.0%" if expected else "")
