"""Computes confidence intervals of scores with pure functions.

There are several kinds of 95 % interval:

Scores over all records of a split have percentile intervals of the bootstrap (Efron and Tibshirani 1993, "An
introduction to the bootstrap"); those of labels and of numbers are corrected for their bias.
Shares of one class have Wilson's interval (Wilson 1927; recommended by Brown, Cai and DasGupta 2001, "Interval
estimation for a binomial proportion"). A class may have three records: if all three are right, a bootstrap draws no
wrong answer and gives the interval from 1 to 1. Where that is so of all classes, the balanced accuracy has the interval
that Wilson's of the classes give (Zou and Donner 2008, "Construction of confidence limits about effect measures").
Means over seeds have Student's t interval, because there are few seeds; so have those over folds, with a greater
variance, because folds are not independent.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000
AT_ONCE = 100  # resamples whose scores are computed together
MOST_CELLS, FEWEST = 2_000_000_000, 200  # of resamples that draw record by record: about a minute
SEED = 0  # the same matrix has the same intervals everywhere
# Quantiles 0.975 of Student's t with 1, 2, ... degrees of freedom (any table, such as Abramowitz and Stegun 26.10).
T_975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


class Interval(NamedTuple):
    """Holds the ends of an interval; both are NaN if the score is undefined."""

    low: float
    high: float


class Bootstrap(NamedTuple):
    """Holds the scores of R resamples, float64 (R,), in random order."""

    accuracy: np.ndarray
    balanced_accuracy: np.ndarray
    macro_f1: np.ndarray


def bootstrap(matrix: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED) -> Bootstrap:
    """Computes the scores of bootstrap resamples of the records.

    A resample draws N of the N records with replacement. Drawing records and counting them is exactly the same as
    drawing the counts from a multinomial distribution, so the cost of a resample depends on the cells of the matrix
    and not on the records. Accuracy is resampled over all records. The other two scores are resampled class by class:
    the split decided the number of records of each class, not chance, and a rare class keeps its records.

    Args:
      matrix: int (C, C), see `metrics.confusion_matrix`.

    Returns:
      The scores; all are NaN without records.
    """
    rng = np.random.default_rng(seed)
    support = matrix.sum(axis=1)
    records, right = int(support.sum()), int(np.trace(matrix))
    if not records:
        return Bootstrap(*(np.full(resamples, np.nan) for _ in range(3)))
    accuracy = rng.binomial(records, right / records, resamples) / records
    hits, given = _by_class(rng, matrix, resamples)
    parts = [
        _means(hits[first : first + AT_ONCE], given[first : first + AT_ONCE], support)
        for first in range(0, resamples, AT_ONCE)
    ]
    balanced, f1 = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Bootstrap(accuracy, balanced, f1)


def of_matrix(matrix: np.ndarray) -> dict[str, Interval]:
    """Computes the intervals of accuracy, balanced_accuracy and macro_f1.

    They are percentiles of the bootstrap. Where all resamples are alike these have no width, and the intervals are made
    of Wilson's: without a mistake also that of macro_f1, which then is 1 as the balanced accuracy is.
    """
    found = {name: percentiles(values) for name, values in bootstrap(matrix)._asdict().items()}
    support, hits = matrix.sum(axis=1), np.diagonal(matrix)
    records, right = int(support.sum()), int(hits.sum())
    if records and right in (0, records):
        found["accuracy"] = wilson(right, records)
    if records and all((hits == 0) | (hits == support)):
        found["balanced_accuracy"] = _of_recalls(hits[support > 0], support[support > 0])
        if right == records:
            found["macro_f1"] = found["balanced_accuracy"]
    return found


def _of_recalls(hits: np.ndarray, support: np.ndarray) -> Interval:
    """Returns the interval of the mean of recalls, of those of the recalls."""
    recalls, ends = hits / support, np.array([wilson(int(h), int(n)) for h, n in zip(hits, support, strict=True)])
    below, above = (float(np.sqrt(((ends[:, i] - recalls) ** 2).sum()) / len(recalls)) for i in range(2))
    middle = float(recalls.mean())
    return Interval(middle - below, middle + above)


def _means(hits: np.ndarray, given: np.ndarray, support: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the balanced accuracy and the macro F1 of some resamples."""
    present, used = support > 0, support + given > 0  # used: (R, C), the class has records or was an answer
    f1 = np.divide(2 * hits, support + given, out=np.zeros(hits.shape), where=used)
    return (hits[:, present] / support[present]).mean(axis=1), f1.sum(axis=1) / used.sum(axis=1)


def _by_class(rng: np.random.Generator, matrix: np.ndarray, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws resamples of each row; returns (right answers, answers) of each class.

    Both are int64 (R, C).
    """
    classes = len(matrix)
    hits, given = (np.zeros((resamples, classes), np.int64) for _ in range(2))
    for true, row in enumerate(matrix):
        cells = np.flatnonzero(row)  # empty cells stay empty; with many classes nearly all cells are
        if not len(cells):
            continue
        drawn = rng.multinomial(int(row.sum()), row[cells] / row.sum(), resamples)
        given[:, cells] += drawn
        if row[true]:
            hits[:, true] = drawn[:, np.searchsorted(cells, true)]
    return hits, given


def draws(records: int, cells: int = 1, seed: int = SEED) -> Iterator[np.ndarray]:
    """Yields bootstrap resamples as numbers of times that each record is drawn.

    There are RESAMPLES of them, or as many as MOST_CELLS allow, but at least FEWEST.

    Args:
      records: N. cells: numbers that are computed for each drawn record, such as labels.

    Yields:
      float64 (up to AT_ONCE, N). Nothing without records.
    """
    rng = np.random.default_rng(seed)
    left = resamples_of(records, cells) if records else 0
    while left:
        count = min(left, AT_ONCE)
        yield np.stack([np.bincount(rng.integers(0, records, records), minlength=records) for _ in range(count)]) * 1.0
        left -= count


def resamples_of(records: int, cells: int = 1) -> int:
    """Returns how many resamples `draws` yields."""
    return max(FEWEST, min(RESAMPLES, MOST_CELLS // max(1, records * cells)))


def percentiles(values: np.ndarray, level: float = LEVEL) -> Interval:
    """Returns the interval between the quantiles (1 - level) / 2 and (1 + level) / 2.

    Both ends are NaN if a value is NaN.
    """
    if np.isnan(values).any():
        return Interval(np.nan, np.nan)
    tail = (1 - level) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return Interval(float(low), float(high))


def corrected(values: np.ndarray, found: float, level: float = LEVEL) -> Interval:
    """Returns the bias-corrected percentile interval of a score (Efron 1987).

    Some scores come out higher in resamples than they are: the average precision does, because a record that is drawn
    twice is two right answers in a row. The percentiles are moved by the share of resamples below the score.
    Resamples in which the score has no value are left out.

    Args:
      values: float (R,), of the resamples. found: the score of all records.
    """
    known = values[~np.isnan(values)]
    if not len(known) or math.isnan(found):
        return Interval(np.nan, np.nan)
    below = float((known < found).mean() + (known == found).mean() / 2)
    normal, end = statistics.NormalDist(), 0.5 / len(known)
    shift = 2 * normal.inv_cdf(min(max(below, end), 1 - end))
    reach = -normal.inv_cdf((1 - level) / 2)
    low, high = np.quantile(known, (normal.cdf(shift - reach), normal.cdf(shift + reach)))
    return Interval(float(low), float(high))


def wilson(part: int, whole: int, level: float = LEVEL) -> Interval:
    """Computes Wilson's interval of the share part / whole.

    It holds every true share p for which the observed share is at most z standard deviations of p away. Both ends are
    NaN if `whole` is 0.
    """
    if not whole:
        return Interval(np.nan, np.nan)
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)
    share = part / whole
    middle = share + z**2 / (2 * whole)
    reach = z * (share * (1 - share) / whole + z**2 / (4 * whole**2)) ** 0.5
    low, high = ((middle + sign * reach) / (1 + z**2 / whole) for sign in (-1, 1))
    return Interval(max(0.0, low) if part else 0.0, min(1.0, high) if part < whole else 1.0)


def student(values: Sequence[float]) -> Interval:
    """Computes Student's 95 % interval of the mean of a normal distribution.

    Args:
      values: two or more samples, such as differences between runs of equal seeds.
    """
    mean = statistics.fmean(values)
    half = t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean - half, mean + half)


def over_folds(values: Sequence[float], folds: int) -> Interval:
    """Computes the 95 % interval of a mean difference over the folds.

    Folds share most of the images that they train on, so their differences are not independent. The variance is that of
    Nadeau and Bengio 2003, "Inference for the Generalization Error": (1 / n + test / train) times the sample variance
    of n differences, where the images of a fold are 1 / (folds - 1) of those that are trained on.

    Args:
      values: the difference on each fold, of all repeats; two or more.
      folds: of a repeat.
    """
    n, mean = len(values), statistics.fmean(values)
    half = t_quantile(n - 1) * statistics.stdev(values) * math.sqrt(1 / n + 1 / (folds - 1))
    return Interval(mean - half, mean + half)


def t_quantile(freedom: int) -> float:
    """Returns the 0.975 quantile of Student's t for `freedom` degrees of freedom.

    From 11 degrees on it uses the expansion 26.7.5 of Abramowitz and Stegun (1964), "Handbook of Mathematical
    Functions", which is right to four digits there.
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
