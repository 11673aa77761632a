"""Tells what a model is to predict: classes, or numbers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from pipelines.contract.task import MULTI_LABEL, REGRESSION
from trainer.doctor.finding import NotApplicable
from trainer.doctor.subject.subject import Subject

FEW_NUMBERS = 20  # distinct integers; more of them under a regression loss are counts or ages, and no classes
SEVERAL = 0.02  # share of the rows without exactly one class; fewer may be mistakes
TWO = 2  # more distinct floats, such as 0.0, 1.0 and 2.0, under such a loss and an unbounded head are counts
BOUNDED = ("sigmoid", "hard_sigmoid", "softmax", "tanh", "softsign")
COUNTS = "poisson"  # a loss for how often something occurs, and never for classes
COMPARED = 32  # images of which the loss is computed with other labels
SPARSE_IDS = 0.5  # distinct integers for each label; classes repeat
REGRESSION_LOSSES = (
    "mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_logarithmic_error",
    "huber", "log_cosh", "mse", "mae", "mape", "msle",
)  # fmt: skip


def is_regression(subject: Subject) -> bool:
    """Tells whether the targets of training are numbers and not classes.

    The contract of a prepared dataset says it. Targets of other data are numbers if they have more than one axis beside
    that of the images, such as images that are to be made. They also are if they are fractions, or many different
    integers, under a loss that is no cross-entropy, and always under a Poisson loss. Rows of several columns are
    classes if all their values are within 0..1, unless they are many different fractions, as the corners of boxes are.
    Under a cross-entropy only fractions outside of 0..1, or integers that hardly repeat, are numbers.
    """
    return bool(subject.once("regression", lambda: _is_regression(subject)))


def _is_regression(subject: Subject) -> bool:
    if subject.kind:
        return subject.kind == REGRESSION
    if subject.train is None or not len(subject.train.sample):
        return False
    labels = subject.train.sample.labels
    if not np.isfinite(labels).all():
        return False
    if labels.ndim > 2:
        return True  # images to be made, as by an autoencoder, or a value for each place
    if loss_name(subject.model) == COUNTS:
        return True
    if "crossentropy" in loss_name(subject.model).replace("_", ""):
        return subject.has("loss") and _are_numbers(labels, _units(subject.model))
    if labels.ndim > 1 and labels.shape[-1] > 1:
        return bool((labels < 0).any() or (labels > 1).any()) or _are_places(labels)
    if labels.dtype.kind == "f" and bool((labels != np.rint(labels)).any()):
        return subject.has("loss")
    if loss_name(subject.model) not in REGRESSION_LOSSES:
        return False
    return len(np.unique(labels)) > (TWO if labels.dtype.kind == "f" and _is_unbounded(subject.model) else FEW_NUMBERS)


def _are_places(labels: np.ndarray) -> bool:
    """Tells whether rows of 0..1 are numbers, such as the corners of boxes.

    Soft labels are fractions, too, but a row of them sums to 1, or they have few different values.
    """
    sums = labels.reshape(-1, labels.shape[-1]).sum(axis=-1, dtype=np.float64)
    return len(np.unique(labels)) > FEW_NUMBERS and not bool(np.isclose(sums, sums[0], atol=1e-3).all())


def _is_unbounded(model: Any) -> bool:
    """Tells whether a model gives one number of any size for each image."""
    last = model.layers[-1] if getattr(model, "layers", None) else None
    return _units(model) == 1 and getattr(getattr(last, "activation", None), "__name__", "") not in BOUNDED


def ignores_labels(subject: Subject) -> bool:
    """Tells whether the labels are there only because fit asks for some.

    So it is with triplets, or where a layer adds the loss: the loss of the model's outputs is the same with other
    labels. Where that cannot be computed, or the loss is one for numbers, the labels are one constant. A cross-entropy
    of Keras is one for classes whatever the labels are.
    """
    return bool(subject.once("ignores labels", lambda: _ignores_labels(subject)))


def _ignores_labels(subject: Subject) -> bool:
    if subject.kind or subject.train is None or not len(subject.train.sample) or not subject.has("optimizer"):
        return False
    loss, sample = subject.model.loss, subject.train.sample
    if isinstance(loss, dict | list | tuple) or sample.targets is not sample.labels:
        return False  # there are several
    labels = sample.labels
    is_one = len(np.unique(sample.labels_seen)) == 1 and bool((labels == labels.ravel()[0]).all())
    if loss is None:
        return is_one if _is_own(subject.model) else True  # which may look at the labels
    if _is_of_keras(loss):
        return is_one and loss_name(subject.model) in REGRESSION_LOSSES
    try:
        outputs = subject.outputs[:COMPARED]
    except NotApplicable:
        return is_one
    labels = labels[: len(outputs)]
    given, other = (_loss_of(loss, values, outputs) for values in (labels, _other_labels(labels, is_one)))
    return is_one if given is None or other is None else bool(np.array_equal(given, other, equal_nan=True))


def _is_of_keras(loss: Any) -> bool:
    """Tells whether a loss is a name, a function or an object of Keras."""
    return isinstance(loss, str) or str(getattr(loss, "__module__", "")).startswith("keras.")


def _other_labels(labels: np.ndarray, is_one: bool) -> np.ndarray:
    """Returns labels that differ and that a loss for classes takes as well."""
    if labels.ndim > 1 and labels.shape[-1] > 1:
        return labels + 1 if is_one else np.roll(labels, 1, axis=-1)
    if is_one:
        return labels - 1 if labels.ravel()[0] >= 1 else labels + 1
    return labels.max() + labels.min() - labels


def _is_own(model: Any) -> bool:
    """Tells whether a model has its own train_step or compute_loss."""
    kind = type(model)
    return kind.train_step is not keras.Model.train_step or kind.compute_loss is not keras.Model.compute_loss


def _loss_of(loss: Any, labels: np.ndarray, outputs: np.ndarray) -> np.ndarray | None:
    """Returns what a loss of the program gives; None where it raises."""
    if labels.ndim == 1 and outputs.shape[1:] == (1,):
        labels = labels[:, None]  # as Keras does
    try:
        # in the type in which Keras gives both to a loss
        given = (keras.ops.convert_to_tensor(part.astype(np.float32)) for part in (labels, outputs))
        return np.asarray(loss(*given))
    except Exception:  # losses raise many types on shapes and types that do not fit
        return None


def is_multilabel(subject: Subject) -> bool:
    """Tells whether several classes may be right of one image.

    The contract of a prepared dataset says it. The labels of other data are rows of 0 and 1 then, and do not all have
    one 1.
    """
    return bool(subject.once("multilabel", lambda: _is_multilabel(subject)))


def _is_multilabel(subject: Subject) -> bool:
    if subject.kind:
        return subject.kind == MULTI_LABEL
    if subject.train is None or not len(subject.train.sample):
        return False
    labels = subject.train.sample.labels
    if labels.ndim != 2 or labels.shape[1] < 2 or not np.isin(labels, (0, 1)).all():
        return False
    return bool((labels.sum(axis=1) != 1).mean() > SEVERAL)


def _are_numbers(labels: np.ndarray, units: int) -> bool:
    """Tells whether a column of labels has values that are no classes.

    These are many fractions or, for a head of one unit, many different integers.
    """
    if labels.ndim > 1 and labels.shape[-1] > 1:
        return False
    values = np.unique(labels)
    if (values != np.rint(values)).any():
        return len(values) > FEW_NUMBERS and bool(values.max() > 1 or values.min() < 0)
    return units == 1 and len(values) > FEW_NUMBERS and len(values) > SPARSE_IDS * len(labels)


def _units(model: Any) -> int:
    """Returns the number of outputs for each image; 0 if it is not known."""
    shape = getattr(model, "output_shape", None)
    return int(shape[-1] or 0) if isinstance(shape, tuple) else 0


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
