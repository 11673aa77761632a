"""How well a probability puts the records of a class before all others, whatever the threshold: ROC and PR curves.

Definitions are scikit-learn's. A point of a curve stands for one threshold: records with equal probability are either
all above it or all below. Pure functions on NumPy arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Curves(NamedTuple):
    """The curves of one class against the others, with the threshold falling. float64 arrays, (P,) and (P + 1,).

    false_positive_rate, true_positive_rate: P + 1 points, from (0, 0) to (1, 1).
    recall, precision: P points, one a threshold, without a made-up one at recall 0.
    """

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    recall: np.ndarray
    precision: np.ndarray

    @property
    def auc(self) -> float:
        """The area under the ROC curve: the chance that a record of the class has a higher probability than another.

        Equal probabilities count half (Hanley and McNeil 1982, "The meaning and use of the area under a receiver
        operating characteristic (ROC) curve").
        """
        width, height = np.diff(self.false_positive_rate), self.true_positive_rate
        return float((width * (height[1:] + height[:-1]) / 2).sum())

    @property
    def average_precision(self) -> float:
        """The sum of precision times gain in recall. Always answering at random gives the share of the class."""
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())


def curves(is_class: np.ndarray, probability: np.ndarray) -> Curves | None:
    """bool (N,), whether a record is of the class, and float (N,) -> Curves; None where one side has no records."""
    positives = int(is_class.sum())
    negatives = len(is_class) - positives
    if not positives or not negatives:
        return None
    order = np.argsort(-probability, kind="stable")
    sorted_probability = probability[order]
    last = np.append(np.flatnonzero(np.diff(sorted_probability)), len(order) - 1)  # of each run of equals
    found = np.cumsum(is_class[order])[last]
    answered = last + 1
    true_rate, false_rate = found / positives, (answered - found) / negatives
    return Curves(np.insert(false_rate, 0, 0.0), np.insert(true_rate, 0, 0.0), true_rate, found / answered)
