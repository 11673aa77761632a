"""Curves as SVG paths for the page, in a box of 100 x 100 with the origin at the top left. No HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trainer.evaluation import metrics
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.calibration import Bin
from trainer.evaluation.roc_pr import Curves

NEAR = 0.4  # of the box: points nearer than this to the one before are left out
STEPS = 100  # thresholds of a chart


class Line(NamedTuple):
    """A path with its name and a number for the legend."""

    name: str
    path: str
    value: float


class Bar(NamedTuple):
    """A bin of the reliability plot: its edges, the share of right answers, and where the perfect one would end."""

    left: float
    width: float
    top: float
    height: float
    records: int
    confidence: float
    accuracy: float


def polyline(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> str:
    """Points of the unit square, joined; the first and the last are always kept."""
    points = np.stack([np.asarray(x, np.float64) * 100, 100 - np.asarray(y, np.float64) * 100], axis=1)
    kept = [points[0]]
    for point in points[1:-1]:
        if np.abs(point - kept[-1]).max() >= NEAR:
            kept.append(point)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in [*kept, *points[1:][-1:]])


def roc(name: str, curves: Curves) -> Line:
    """True against false positive rate."""
    return Line(name, polyline(curves.false_positive_rate, curves.true_positive_rate), curves.auc)


def precision_recall(name: str, curves: Curves) -> Line:
    """Precision over recall in steps, under which the area is the average precision."""
    x = np.repeat(np.concatenate([[0.0], curves.recall]), 2)[1:-1]
    return Line(name, polyline(x, np.repeat(curves.precision, 2)), curves.average_precision)


def reliability(bins: Sequence[Bin]) -> list[Bar]:
    """The bins that hold records."""
    return [
        Bar(
            100 * b.low, 100 * (b.high - b.low), 100 - 100 * b.accuracy, 100 * b.accuracy, b.records, b.confidence,
            b.accuracy,
        )
        for b in bins
        if b.records
    ]  # fmt: skip


def thresholds(found: Assessment) -> list[Line]:
    """Of two classes: recall of the one to find and of the other, and the mean of both, over the threshold."""
    chosen = found.fitted.threshold
    if chosen is None:
        return []
    at = np.arange(STEPS + 1) / STEPS
    scores = [found.answered_from(float(t)) for t in at]
    recalls = np.array([metrics.recall(s.matrix) for s in scores if s is not None])
    if np.isnan(recalls).any():
        return []
    other = 1 - chosen.label_id
    return [
        Line("balanced accuracy", polyline(at, recalls.mean(axis=1)), 0.0),
        Line(f"recall of {chosen.label}", polyline(at, recalls[:, chosen.label_id]), 0.0),
        Line(f"recall of {found.labels[other]}", polyline(at, recalls[:, other]), 0.0),
    ]
