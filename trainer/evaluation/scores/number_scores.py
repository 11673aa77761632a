"""Scores answers that are numbers, with pure functions.

As in `label_scores`, scores are computed for R weightings of the records at once. A score without a value is NaN.
"""

from __future__ import annotations

import numpy as np


def scores(truth: np.ndarray, answers: np.ndarray, draws: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the scores of one number, each float64 (R,).

    mae: mean absolute error. rmse: root of the mean squared error. r2: the share of the variance that the answers
    explain, 1 - squared error / squared distance from the mean of these records; NaN if all records have one value.
    spearman: the correlation of the ranks (Spearman 1904), equal values with their mean rank; NaN if all records or all
    answers have one value.

    Args:
      truth, answers: float (N,), in the units of the table. draws: float (R, N), how often each record counts.
    """
    error = np.asarray(answers, np.float64) - truth
    records = draws.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        squared = draws @ error**2
        middle = (draws @ truth) / records
        # Around the mean of all records, so that a large common value costs no digits.
        centre = truth.mean() if len(truth) else 0.0
        spread = draws @ (truth - centre) ** 2 - records * (middle - centre) ** 2
        constant = spread <= 1e-12 * (draws @ (truth - centre) ** 2)
        return {
            "mae": (draws @ np.abs(error)) / records,
            "rmse": np.sqrt(squared / records),
            "r2": np.where(constant, np.nan, 1 - squared / np.where(constant, 1.0, spread)),
            "spearman": _correlation(ranks(truth, draws), ranks(answers, draws), draws),
        }


def ranks(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Returns the rank of each record in each resample, float64 (R, N).

    A record that is drawn twice is two equal values. Equal values have the mean of their ranks.
    """
    if not len(values):
        return np.zeros(draws.shape)
    order = np.argsort(values, kind="stable")
    first = np.flatnonzero(np.diff(values[order], prepend=np.nan) != 0)  # where a new value begins
    together = np.add.reduceat(draws[:, order], first, axis=1)
    rank = np.cumsum(together, axis=1) - together + (together + 1) / 2
    of_record = np.empty(len(values), np.int64)
    of_record[order] = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(values))))
    found: np.ndarray = rank[:, of_record]
    return found


def _correlation(a: np.ndarray, b: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Returns the correlations of rows (R, N) with weights, float64 (R,)."""
    records = draws.sum(axis=1, keepdims=True)
    a, b = (values - (draws * values).sum(axis=1, keepdims=True) / records for values in (a, b))
    below = np.sqrt((draws * a**2).sum(axis=1) * (draws * b**2).sum(axis=1))
    together = (draws * a * b).sum(axis=1)
    return np.asarray(np.divide(together, below, out=np.full(len(draws), np.nan), where=below > 0))
