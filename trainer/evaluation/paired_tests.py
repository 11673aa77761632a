"""Whether one classifier is better than another on the same records, or only lucky. Pure functions.

Two models are asked about the same photographs, and mostly agree; what tells them apart are the records of which one is
right and the other wrong. Intervals of the two alone overlap long before the difference is in doubt.
"""

from __future__ import annotations

import math

import numpy as np

from trainer.evaluation import intervals
from trainer.evaluation.intervals import Interval


def mcnemar(only_first: int, only_second: int) -> float:
    """The p-value of McNemar's test, two-sided and exact, that two classifiers are right equally often.

    McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages"; as
    Dietterich 1998 recommends for two classifiers trained once. It asks how often a fair coin would part the records
    that one of them alone has right as unevenly, or more so.

    Args:
      only_first, only_second: records that this one has right and the other one wrong.

    Returns:
      1 where there are none.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    if only_first == only_second:
        return 1.0
    # In logarithms: 2**-n underflows beyond a thousand records.
    terms = [_log_choose(total, k) - total * math.log(2) for k in range(fewer + 1)]
    top = max(terms)
    return min(1.0, 2 * math.exp(top) * sum(math.exp(term - top) for term in terms))


def accuracy_difference(difference: np.ndarray, resamples: int = intervals.RESAMPLES) -> Interval:
    """95 % interval of the mean of differences, float (N,), over records drawn again with replacement."""
    rng = np.random.default_rng(intervals.SEED)
    return intervals.percentiles(_means(rng, difference, resamples))


def balanced_difference(
    difference: np.ndarray, labels: np.ndarray, resamples: int = intervals.RESAMPLES
) -> tuple[float, Interval]:
    """The difference of two balanced accuracies, and its 95 % interval over records drawn again class by class.

    Args:
      difference: float (N,), for each record whether the second is right less whether the first is; with several seeds
        of each the difference of the shares that are right.
      labels: (N,), true classes.
    """
    rng = np.random.default_rng(intervals.SEED)
    by_class = [difference[labels == label] for label in np.unique(labels)]
    if not by_class:
        return math.nan, Interval(math.nan, math.nan)
    drawn = np.mean([_means(rng, values, resamples) for values in by_class], axis=0)
    return float(np.mean([values.mean() for values in by_class])), intervals.percentiles(drawn)


def holm(p_values: list[float]) -> list[float]:
    """Adjusted for testing several times (Holm 1979, "A simple sequentially rejective multiple test procedure")."""
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted


def _means(rng: np.random.Generator, values: np.ndarray, resamples: int) -> np.ndarray:
    """Means of resamples, float64 (R,). Equal values are drawn together, which is the same and costs nothing."""
    if not len(values):
        return np.full(resamples, np.nan)
    distinct, counts = np.unique(values, return_counts=True)
    drawn = rng.multinomial(len(values), counts / len(values), resamples)
    return np.asarray(drawn @ distinct / len(values))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
