"""Draws curves as SVG paths for the page.

The box has 100 x 100 units and its origin at the top left. The module makes no HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trainer.evaluation.assessment import Assessment
from trainer.evaluation.scores import class_scores
from trainer.evaluation.scores.calibration import Bin
from trainer.evaluation.scores.roc_pr import Curves

NEAR = 0.4  # units of the box; a point that is nearer than this to the last kept point is left out
STEPS = 100  # thresholds of a chart


class Line(NamedTuple):
    """Holds a path with its name and a number for the legend."""

    name: str
    path: str
    value: float


class Bar(NamedTuple):
    """Describes a bar of the reliability plot.

    left, width, top, height: in units of the box; the height is the accuracy. records, confidence, accuracy: those of
    the bin. In a perfect plot the accuracy equals the confidence.
    """

    left: float
    width: float
    top: float
    height: float
    records: int
    confidence: float
    accuracy: float


def polyline(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> str:
    """Joins points of the unit square to a path.

    Points that are nearer than NEAR to the last kept point are left out. The first and the last point are always kept.
    """
    points = np.stack([np.asarray(x, np.float64) * 100, 100 - np.asarray(y, np.float64) * 100], axis=1)
    kept = [points[0]]
    for point in points[1:-1]:
        if np.abs(point - kept[-1]).max() >= NEAR:
            kept.append(point)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in [*kept, *points[1:][-1:]])


def roc(name: str, curves: Curves) -> Line:
    """Draws the true positive rate over the false positive rate."""
    return Line(name, polyline(curves.false_positive_rate, curves.true_positive_rate), curves.auc)


def precision_recall(name: str, curves: Curves) -> Line:
    """Draws precision over recall in steps.

    The area under the steps is the average precision.
    """
    x = np.repeat(np.concatenate([[0.0], curves.recall]), 2)[1:-1]
    return Line(name, polyline(x, np.repeat(curves.precision, 2)), curves.average_precision)


def reliability(bins: Sequence[Bin]) -> list[Bar]:
    """Draws a bar for each bin that holds records."""
    return [
        Bar(
            100 * b.low, 100 * (b.high - b.low), 100 - 100 * b.accuracy, 100 * b.accuracy, b.records, b.confidence,
            b.accuracy,
        )
        for b in bins
        if b.records
    ]  # fmt: skip


def risk_coverage(found: Assessment) -> str:
    """Draws the error among the answered over the share that is answered.

    The result is "" without records.
    """
    answered = found.risk_coverage.answered
    return polyline(answered / found.records, found.risk_coverage.wrong / answered) if found.records else ""


def thresholds(found: Assessment) -> list[Line]:
    """Draws the recalls of a binary classifier over the threshold.

    The lines are the mean of both recalls, the recall of the class to find, and the recall of the other class. There
    are none without a threshold, or if a recall is undefined.
    """
    chosen = found.fitted.threshold
    if chosen is None:
        return []
    at = np.arange(STEPS + 1) / STEPS
    scores = [found.answered_from(float(t)) for t in at]
    recalls = np.array([class_scores.recall(s.matrix) for s in scores if s is not None])
    if np.isnan(recalls).any():
        return []
    other = 1 - chosen.label_id
    return [
        Line("balanced accuracy", polyline(at, recalls.mean(axis=1)), 0.0),
        Line(f"recall of {chosen.label}", polyline(at, recalls[:, chosen.label_id]), 0.0),
        Line(f"recall of {found.labels[other]}", polyline(at, recalls[:, other]), 0.0),
    ]
