"""Tests whether the difference between two classifiers is more than chance.

Two models that answer the same photographs mostly agree. Only the records that one has right and the other one wrong
show a difference. The separate intervals of two models may overlap although their paired difference is significant.
All functions are pure functions.
"""

from __future__ import annotations

import math

import numpy as np

from trainer.evaluation.scores import intervals
from trainer.evaluation.scores.intervals import Interval


def mcnemar(only_first: int, only_second: int) -> float:
    """Returns the two-sided p-value of McNemar's exact test.

    The null hypothesis is that two classifiers are right equally often. McNemar 1947, "Note on the sampling error of
    the difference between correlated proportions or percentages"; Dietterich 1998 recommends the test for two
    classifiers that are trained once. The p-value is the probability that a fair coin divides the records that only
    one classifier has right at least as unevenly.

    Args:
      only_first, only_second: number of records that this classifier has right and the other one wrong.

    Returns:
      The p-value; 1 without such records.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    if only_first == only_second:
        return 1.0
    # The sum is computed with logarithms, because 2**-n underflows for more than a thousand records.
    terms = [_log_choose(total, k) - total * math.log(2) for k in range(fewer + 1)]
    top = max(terms)
    return min(1.0, 2 * math.exp(top) * sum(math.exp(term - top) for term in terms))


def accuracy_difference(difference: np.ndarray, resamples: int = intervals.RESAMPLES) -> Interval:
    """Computes the 95 % bootstrap interval of a mean difference over records.

    Args:
      difference: float (N,), one for each record.
    """
    rng = np.random.default_rng(intervals.SEED)
    return intervals.percentiles(_means(rng, difference, resamples))


def balanced_difference(
    difference: np.ndarray, labels: np.ndarray, resamples: int = intervals.RESAMPLES
) -> tuple[float, Interval]:
    """Computes the difference of two balanced accuracies and its 95 % interval.

    The bootstrap draws records class by class. Without records all numbers are NaN.

    Args:
      difference: float (N,), for each record 1 if only the second is right, -1 if only the first is, else 0; with
        several seeds the share of the second's runs that are right minus the share of the first's.
      labels: (N,), true classes.
    """
    rng = np.random.default_rng(intervals.SEED)
    by_class = [difference[labels == label] for label in np.unique(labels)]
    if not by_class:
        return math.nan, Interval(math.nan, math.nan)
    drawn = np.mean([_means(rng, values, resamples) for values in by_class], axis=0)
    return float(np.mean([values.mean() for values in by_class])), intervals.percentiles(drawn)


def holm(p_values: list[float]) -> list[float]:
    """Adjusts p-values for multiple tests with Holm's method.

    Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted


def _means(rng: np.random.Generator, values: np.ndarray, resamples: int) -> np.ndarray:
    """Draws resamples of the values and returns their means, float64 (R,).

    It draws how often each distinct value occurs, which gives the same distribution at a lower cost. NaN without
    values.
    """
    if not len(values):
        return np.full(resamples, np.nan)
    distinct, counts = np.unique(values, return_counts=True)
    drawn = rng.multinomial(len(values), counts / len(values), resamples)
    return np.asarray(drawn @ distinct / len(values))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
