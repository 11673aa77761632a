"""How sure a score is, for the number of records that it comes from and for the seeds. Pure functions.

Three kinds of 95 % interval. Scores of the whole split: the bootstrap (Efron and Tibshirani 1993, "An introduction to
the bootstrap", percentile intervals). Shares of one class, which may have three records: Wilson's interval (Wilson
1927; recommended by Brown, Cai and DasGupta 2001, "Interval estimation for a binomial proportion"), because the
bootstrap of three right answers of three knows no wrong one and would give 1 to 1. Means over seeds, of which there are
few: Student's t.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000
SEED = 0  # the same matrix has the same intervals everywhere
# Quantiles 0.975 of Student's t with 1, 2, ... degrees of freedom (any table, such as Abramowitz and Stegun 26.10).
T_975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


class Interval(NamedTuple):
    """From low to high; NaN both where the score is undefined."""

    low: float
    high: float


class Bootstrap(NamedTuple):
    """The scores of resamples, float64 (R,), in no order."""

    accuracy: np.ndarray
    balanced_accuracy: np.ndarray
    macro_f1: np.ndarray


def bootstrap(matrix: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED) -> Bootstrap:
    """Scores of records drawn again with replacement, as often as there are records.

    Drawing records and counting them is drawing counts from a multinomial distribution, exactly, so a resample costs
    its cells and not its records. Accuracy is resampled over all records. The other two are resampled class by class:
    the numbers of records of the classes were given by the split and not by chance, and a rare class never vanishes.

    Args:
      matrix: int (C, C), see `metrics.confusion_matrix`.

    Returns:
      NaN throughout without records.
    """
    rng = np.random.default_rng(seed)
    support = matrix.sum(axis=1)
    records, right = int(support.sum()), int(np.trace(matrix))
    if not records:
        return Bootstrap(*(np.full(resamples, np.nan) for _ in range(3)))
    accuracy = rng.binomial(records, right / records, resamples) / records
    hits, given = _by_class(rng, matrix, resamples)
    present, used = support > 0, support + given > 0  # used: (R, C), the class has records or was given
    f1 = np.divide(2 * hits, support + given, out=np.zeros(hits.shape), where=used)
    return Bootstrap(
        accuracy,
        (hits[:, present] / support[present]).mean(axis=1),
        f1.sum(axis=1) / used.sum(axis=1),
    )


def _by_class(rng: np.random.Generator, matrix: np.ndarray, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Right answers, and answers, of each class in resamples of each row: int64 (R, C) both."""
    classes = len(matrix)
    hits, given = (np.zeros((resamples, classes), np.int64) for _ in range(2))
    for true, row in enumerate(matrix):
        cells = np.flatnonzero(row)  # empty cells stay empty: with many classes nearly all of them
        if not len(cells):
            continue
        drawn = rng.multinomial(int(row.sum()), row[cells] / row.sum(), resamples)
        given[:, cells] += drawn
        if row[true]:
            hits[:, true] = drawn[:, np.searchsorted(cells, true)]
    return hits, given


def percentiles(values: np.ndarray, level: float = LEVEL) -> Interval:
    """The middle `level` of the values."""
    if np.isnan(values).any():
        return Interval(np.nan, np.nan)
    tail = (1 - level) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return Interval(float(low), float(high))


def wilson(part: int, whole: int, level: float = LEVEL) -> Interval:
    """For the share part / whole: all shares from which it lies at most z of their own standard deviations away."""
    if not whole:
        return Interval(np.nan, np.nan)
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)
    share = part / whole
    middle = share + z**2 / (2 * whole)
    reach = z * (share * (1 - share) / whole + z**2 / (4 * whole**2)) ** 0.5
    low, high = ((middle + sign * reach) / (1 + z**2 / whole) for sign in (-1, 1))
    return Interval(max(0.0, low) if part else 0.0, min(1.0, high) if part < whole else 1.0)


def student(values: Sequence[float]) -> Interval:
    """95 % interval of the mean that two values or more, such as differences of equal seeds, are drawn around."""
    mean = statistics.fmean(values)
    half = t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean - half, mean + half)


def t_quantile(freedom: int) -> float:
    """The 0.975 quantile of Student's t. From 11 degrees on by the expansion 26.7.5 of Abramowitz and Stegun (1964),
    "Handbook of Mathematical Functions", there right to four digits.
    """
    if freedom <= len(T_975):
        return T_975[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, 1)))
