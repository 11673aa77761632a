"""Computes classification metrics with pure functions on NumPy arrays.

A confusion matrix `m` is int64 (C, C): m[t, p] counts the records of true class t with predicted class p. An undefined
metric is NaN here and null in metrics.json; it never counts as 0 or 1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

SMALLEST = 1e-7  # the loss clips probabilities at this value, which is Keras's epsilon

MAX_MATRIX_CLASSES = 1000  # above this the confusion matrix has millions of cells, nearly all of them empty


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Builds the confusion matrix of true and predicted classes.

    int (N,) true ids and int (N,) predicted ids -> int64 (classes, classes). All counts are 0 without records.
    """
    flat = np.asarray(labels, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def recall(matrix: np.ndarray) -> np.ndarray:
    """Returns the recall of each class, float64 (C,).

    It is the number of right answers / records of the class, m[c, c] / sum_p m[c, p]. NaN for a class without records.
    """
    return _ratio(np.diag(matrix), matrix.sum(axis=1))


def precision(matrix: np.ndarray) -> np.ndarray:
    """Returns the precision of each class, float64 (C,).

    It is the number of right answers / predictions of the class, m[c, c] / sum_t m[t, c]. NaN for a class that was
    never predicted.
    """
    return _ratio(np.diag(matrix), matrix.sum(axis=0))


def f1(matrix: np.ndarray) -> np.ndarray:
    """Returns the F1 score of each class, float64 (C,).

    It is the harmonic mean of precision and recall, 2 m[c, c] / (records of c + predictions of c). NaN only for a
    class that has no records and was never predicted; 0 for a class that has records and was never predicted.
    """
    return _ratio(2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))


def accuracy(matrix: np.ndarray) -> float:
    """Returns the share of right answers. NaN without records."""
    return float(_ratio(np.trace(matrix), matrix.sum()))


def balanced_accuracy(matrix: np.ndarray) -> float:
    """Returns the mean recall over the classes that have records.

    Brodersen et al. 2010, "The balanced accuracy and its posterior distribution"; the definition is that of
    scikit-learn. A model that always answers one class gets 1/C. NaN without records.
    """
    return _mean(recall(matrix))


def macro_f1(matrix: np.ndarray) -> float:
    """Returns the mean F1 score over the classes that have records or were predicted.

    The definition is that of scikit-learn. NaN without records.
    """
    return _mean(f1(matrix))


def majority_baseline(matrix: np.ndarray) -> tuple[int, float]:
    """Returns the most common true class and the accuracy of always answering it.

    On a tie it is the class with the smallest id. The accuracy is NaN without records.
    """
    support = matrix.sum(axis=1)
    return int(support.argmax()), float(_ratio(support.max(), support.sum()))


def chance(matrix: np.ndarray) -> float:
    """Returns the balanced accuracy of always answering one class.

    It is 1 / (number of classes that have records). NaN without records.
    """
    present = int((matrix.sum(axis=1) > 0).sum())
    return 1 / present if present else math.nan


def cross_entropy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the unweighted mean of -ln(probability of the true class), in nats.

    NaN without records.

    Args:
      labels: int (N,). probabilities: float (N, C); the sum of each row is 1.
    """
    if not len(labels):
        return math.nan
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(given, SMALLEST, 1.0)).mean())


def plain(value: Any) -> float | int | None:
    """Converts a number to a Python type for JSON; one that is not finite to None."""
    number = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(number, float) and not math.isfinite(number) else number


@dataclasses.dataclass(frozen=True)
class Scores:
    """Holds the confusion matrix and the loss of one model on one split."""

    labels: tuple[str, ...]
    matrix: np.ndarray  # int64 (C, C)
    loss: float  # cross entropy, nats

    @property
    def records(self) -> int:
        return int(self.matrix.sum())

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of metrics.json: plain numbers, None for undefined ones.

        The confusion matrix of more than MAX_MATRIX_CLASSES classes is None. The predictions of the run tell it.
        """
        columns = {
            "precision": precision(self.matrix),
            "recall": recall(self.matrix),
            "f1": f1(self.matrix),
            "support": self.matrix.sum(axis=1),
            "predicted": self.matrix.sum(axis=0),
        }
        majority, rate = majority_baseline(self.matrix)
        return {
            "records": self.records,
            "loss": plain(self.loss),
            "accuracy": plain(accuracy(self.matrix)),
            "majority_baseline": {"label": self.labels[majority], "accuracy": plain(rate)},
            "balanced_accuracy": plain(balanced_accuracy(self.matrix)),
            "macro_f1": plain(macro_f1(self.matrix)),
            "per_class": {
                label: {name: plain(values[i]) for name, values in columns.items()}
                for i, label in enumerate(self.labels)
            },
            "confusion_matrix": self.matrix.tolist() if len(self.labels) <= MAX_MATRIX_CLASSES else None,
        }


def score(labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> Scores:
    """Scores the most probable classes against the true ones.

    Args:
      labels: int (N,), true ids. probabilities: float (N, C). names: of the C classes.
    """
    predicted = probabilities.argmax(axis=1) if len(labels) else np.zeros(0, np.int64)
    return Scores(
        labels=tuple(names),
        matrix=confusion_matrix(labels, predicted, len(names)),
        loss=cross_entropy(labels, probabilities),
    )


def _ratio(part: Any, whole: Any) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(np.asarray(whole) == 0, np.nan, np.asarray(part, np.float64) / whole))


def _mean(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan
