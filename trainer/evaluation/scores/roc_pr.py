"""Computes ROC and precision-recall (PR) curves.

The curves show for every threshold how well a probability separates the records of a class from all others. The
definitions are those of scikit-learn. A point of a curve stands for one threshold: records with equal probability are
either all above it or all below. All functions are pure functions on NumPy arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Curves(NamedTuple):
    """Holds the curves of one class against all others, for falling thresholds.

    All arrays are float64.

    false_positive_rate, true_positive_rate: (P + 1,), points from (0, 0) to (1, 1).
    recall, precision: (P,), one point per threshold, without an artificial point at recall 0.
    """

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    recall: np.ndarray
    precision: np.ndarray

    @property
    def auc(self) -> float:
        """Returns the area under the ROC curve.

        It is the probability that a random record of the class has a higher value than a random other record.

        Equal values count half (Hanley and McNeil 1982, "The meaning and use of the area under a receiver
        operating characteristic (ROC) curve").
        """
        width, height = np.diff(self.false_positive_rate), self.true_positive_rate
        return float((width * (height[1:] + height[:-1]) / 2).sum())

    @property
    def average_precision(self) -> float:
        """Returns the average precision.

        It is the sum of precision times increase in recall. Random answers give the share of the class.
        """
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())


def curves(is_class: np.ndarray, probability: np.ndarray) -> Curves | None:
    """Computes the curves of one class against all others.

    Args:
      is_class: bool (N,), whether a record is of the class. probability: float (N,), of the class.

    Returns:
      None if the class has no records or all records are of the class.
    """
    positives = int(is_class.sum())
    negatives = len(is_class) - positives
    if not positives or not negatives:
        return None
    order = np.argsort(-probability, kind="stable")
    sorted_probability = probability[order]
    last = np.append(np.flatnonzero(np.diff(sorted_probability)), len(order) - 1)  # the last one of equal values
    found = np.cumsum(is_class[order])[last]
    answered = last + 1
    true_rate, false_rate = found / positives, (answered - found) / negatives
    return Curves(np.insert(false_rate, 0, 0.0), np.insert(true_rate, 0, 0.0), true_rate, found / answered)
