"""Finds the labels that predictions contradict most surely.

It also estimates how many labels are wrong. The predictions have to be those of a model that has not seen the labels:
out-of-fold ones, or those of a split that was not trained on.

Classes are judged by confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty
in Dataset Labels", JAIR 70). The threshold of a class is the mean probability that its own records get for it. A record
counts for the most probable class whose threshold it reaches; where that is another one than its label, the label is
doubted. The counts, scaled to the number of records of each label, estimate how many labels are wrong. Doubts are in
the order of the normalized margin: the probability of the label minus that of the most probable other class.

Each of several labels is judged like two classes. A number is judged by its residual, in robust standard deviations of
all residuals (Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers").
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MOST_DEVIATIONS = 3.5  # of a residual that is not doubted, as Iglewicz and Hoaglin recommend
_TO_SIGMA = 1.4826  # times the median absolute deviation is the standard deviation of a normal distribution


class Doubts(NamedTuple):
    """Holds the records whose label is doubted, the surest first.

    positions: int64 (M,), of the records. margins: float64 (M,), ascending: the smaller, the surer. suggested: what is
    suggested in place of the label of each: ids int64 (M,), labels bool (M, K) or numbers float64 (M, K).
    estimated: how many labels are estimated to be wrong.
    """

    positions: np.ndarray
    margins: np.ndarray
    suggested: np.ndarray
    estimated: float


def of_classes(labels: np.ndarray, probabilities: np.ndarray) -> Doubts:
    """Doubts classes.

    Args:
      labels: int64 (N,). probabilities: float64 (N, C).
    """
    counted, joint = _confident(labels, probabilities)
    others = np.where(np.arange(probabilities.shape[1]) == labels[:, None], -np.inf, probabilities)
    margins = probabilities[np.arange(len(labels)), labels] - others.max(axis=1, initial=-np.inf)
    doubted = np.flatnonzero((counted >= 0) & (counted != labels))
    order = doubted[np.argsort(margins[doubted], kind="stable")]
    return Doubts(order, margins[order], counted[order], _wrong(joint, labels))


def of_labels(truth: np.ndarray, probabilities: np.ndarray) -> Doubts:
    """Doubts each of several labels; a record counts by the surest of its doubts.

    Args:
      truth: bool (N, K). probabilities: float64 (N, K).
    """
    flips = np.zeros(truth.shape, bool)
    margins = np.full(truth.shape, np.inf)
    estimated = 0.0
    for k in range(truth.shape[1]):
        both = np.stack([1 - probabilities[:, k], probabilities[:, k]], axis=1)
        found = of_classes(truth[:, k].astype(np.int64), both)
        flips[found.positions, k], margins[found.positions, k] = True, found.margins
        estimated += found.estimated
    surest = margins.min(axis=1, initial=np.inf)
    doubted = np.flatnonzero(flips.any(axis=1))
    order = doubted[np.argsort(surest[doubted], kind="stable")]
    return Doubts(order, surest[order], truth[order] ^ flips[order], estimated)


def of_numbers(truth: np.ndarray, answers: np.ndarray) -> Doubts:
    """Doubts numbers; a record counts by the largest of its residuals.

    The margin is minus the size of that residual in robust standard deviations.

    Args:
      truth, answers: float64 (N, K).
    """
    if not len(truth):
        return Doubts(np.zeros(0, np.int64), np.zeros(0), answers, 0.0)
    residuals = truth - answers
    middle = np.median(residuals, axis=0)
    spread = _TO_SIGMA * np.median(np.abs(residuals - middle), axis=0)
    spread = np.where(spread > 0, spread, residuals.std(axis=0))
    sizes = (np.abs(residuals - middle) / np.where(spread > 0, spread, np.inf)).max(axis=1)
    doubted = np.flatnonzero(sizes > MOST_DEVIATIONS)
    order = doubted[np.argsort(-sizes[doubted], kind="stable")]
    return Doubts(order, -sizes[order], answers[order], float(len(doubted)))


def _confident(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the class that each record counts for, and the confident joint.

    Returns:
      int64 (N,), -1 for a record that reaches no threshold; and the counts int64 (C, C) by label and that class.
    """
    classes = probabilities.shape[1]
    thresholds = np.array([
        probabilities[labels == c, c].mean() if (labels == c).any() else np.inf for c in range(classes)
    ])  # fmt: skip
    reached = probabilities >= thresholds
    counted = np.where(reached.any(axis=1), np.where(reached, probabilities, -1.0).argmax(axis=1), -1)
    joint = np.zeros((classes, classes), np.int64)
    np.add.at(joint, (labels[counted >= 0], counted[counted >= 0]), 1)
    return counted, joint


def _wrong(joint: np.ndarray, labels: np.ndarray) -> float:
    """Returns the estimated number of wrong labels.

    The row of each label is scaled to the number of its records. A label of which no record reaches a threshold counts
    as right.
    """
    right = 0.0
    for c, row in enumerate(joint):
        count = int((labels == c).sum())
        right += count * row[c] / row.sum() if row.sum() else count
    return float(len(labels) - right)
