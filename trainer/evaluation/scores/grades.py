"""Scores classes that have an order by how far an answer is from the truth.

A confusion matrix `m` is int (..., C, C) as in `metrics`; the order is that of the ids. Undefined scores are NaN.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.evaluation.scores import class_scores, intervals
from trainer.evaluation.scores.intervals import Interval


@dataclasses.dataclass(frozen=True)
class Grades:
    """Holds the scores of a split, with 95 % intervals over all records.

    kappa: see `quadratic_kappa`. error: see `mean_error`. constant_error: the least `error` of one answer for all.
    """

    kappa: float
    error: float
    kappa_interval: Interval
    error_interval: Interval
    constant_error: float

    def to_dict(self) -> dict[str, object]:
        """Returns the numbers for metrics.json."""
        return {
            "quadratic_kappa": class_scores.plain(self.kappa),
            "quadratic_kappa_interval": [class_scores.plain(end) for end in self.kappa_interval],
            "mean_absolute_error": class_scores.plain(self.error),
            "mean_absolute_error_interval": [class_scores.plain(end) for end in self.error_interval],
            "constant_answer": {"quadratic_kappa": 0.0, "mean_absolute_error": class_scores.plain(self.constant_error)},
        }


def of(matrix: np.ndarray) -> Grades:
    """Returns the scores of a confusion matrix, int (C, C)."""
    drawn = _drawn(matrix)
    kappa, error = float(quadratic_kappa(matrix)), float(mean_error(matrix))
    reach = intervals.corrected(quadratic_kappa(drawn), kappa), intervals.corrected(mean_error(drawn), error)
    support = matrix.sum(axis=1)
    distances = np.abs(np.subtract.outer(np.arange(len(matrix)), np.arange(len(matrix))))
    least = float((support @ distances).min() / support.sum()) if support.sum() else float("nan")
    return Grades(kappa, error, *reach, least)


def quadratic_kappa(matrix: np.ndarray) -> np.ndarray:
    """Returns Cohen's kappa with quadratic weights, (...).

    It is 1 - sum w m / sum w e, with w = (t - p)^2 and e the matrix of independent answers with the same margins
    (Cohen 1968, "Weighted kappa"). 1 is right everywhere, and one answer for all gets 0. The definition is that of
    scikit-learn.
    """
    squares = np.subtract.outer(np.arange(matrix.shape[-1]), np.arange(matrix.shape[-1])) ** 2
    true, given = matrix.sum(axis=-1).astype(np.float64), matrix.sum(axis=-2).astype(np.float64)
    whole = true.sum(axis=-1)
    seen = (matrix * squares).sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        by_chance = np.einsum("...t,...p,tp->...", true, given, squares.astype(np.float64)) / whole
        return np.asarray(np.where(by_chance > 0, 1 - seen / by_chance, np.nan))


def mean_error(matrix: np.ndarray) -> np.ndarray:
    """Returns the mean number of grades between answer and truth, (...)."""
    distances = np.abs(np.subtract.outer(np.arange(matrix.shape[-1]), np.arange(matrix.shape[-1])))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((matrix * distances).sum(axis=(-2, -1)) / matrix.sum(axis=(-2, -1)))


def _drawn(matrix: np.ndarray) -> np.ndarray:
    """Returns the matrices of bootstrap resamples of the records, int64 (R, C, C).

    To draw records is to draw the cells from a multinomial distribution; see `intervals.bootstrap`.
    """
    records = int(matrix.sum())
    if not records:
        return matrix[None]
    rng = np.random.default_rng(intervals.SEED)
    cells = np.flatnonzero(matrix)
    drawn = np.zeros((intervals.RESAMPLES, matrix.size), np.int64)
    drawn[:, cells] = rng.multinomial(records, matrix.ravel()[cells] / records, intervals.RESAMPLES)
    return drawn.reshape(-1, *matrix.shape)
