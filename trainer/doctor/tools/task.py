"""Tells what a model is to predict: classes, or numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.doctor.subject.subject import Subject

FEW_NUMBERS = 20  # distinct integers; more of them under a regression loss are counts or ages, and no classes
REGRESSION = (
    "mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_logarithmic_error",
    "huber", "log_cosh", "mse", "mae", "mape", "msle",
)  # fmt: skip


def is_regression(subject: Subject) -> bool:
    """Tells whether the targets of training are numbers and not classes.

    They are if they are fractions, or many different integers, under a loss that is no cross-entropy. Rows of several
    columns are classes if all their values are within 0..1.
    """
    return bool(subject.once("regression", lambda: _is_regression(subject)))


def _is_regression(subject: Subject) -> bool:
    if subject.train is None or not len(subject.train.sample):
        return False
    labels = subject.train.sample.labels
    if not np.isfinite(labels).all() or "crossentropy" in loss_name(subject.model).replace("_", ""):
        return False
    if labels.ndim > 1 and labels.shape[-1] > 1:
        return bool((labels < 0).any() or (labels > 1).any())
    if labels.dtype.kind == "f" and bool((labels != np.rint(labels)).any()):
        return subject.has("loss")
    return loss_name(subject.model) in REGRESSION and len(np.unique(labels)) > FEW_NUMBERS


def loss_name(model: Any) -> str:
    """Returns the name of a model's loss, as "mean_squared_error"; "" without one.

    Several losses give the name of the first.
    """
    given = getattr(model, "loss", None)
    while isinstance(given, dict | list | tuple) and len(given):
        given = next(iter(given.values())) if isinstance(given, dict) else given[0]
    if given is None or isinstance(given, dict | list | tuple):
        return ""
    if isinstance(given, str):
        return given.lower()
    function = getattr(given, "fn", given)
    return str(getattr(function, "__name__", None) or getattr(given, "name", "")).lower()
