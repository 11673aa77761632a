"""Chooses the probability below which a classifier abstains.

A classifier that may abstain answers fewer images and errs less among them. The threshold is on the largest probability
of an image (Hendrycks and Gimpel 2017, "A baseline for detecting misclassified and out-of-distribution examples"), and
error over coverage is the risk-coverage curve (El-Yaniv and Wiener 2010, "On the foundations of noise-free selective
classification"). The functions are pure functions on NumPy arrays.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import NamedTuple

import numpy as np

from trainer.evaluation.scores import intervals


@dataclasses.dataclass(frozen=True)
class Abstention:
    """Holds the threshold of a classifier that may abstain.

    It answers if its largest probability is at least `probability`.

    wanted: the error that was asked for among the answered. split, records: what it was chosen on. answered, wrong:
    records of that. promised: whether even the upper end of the 95 % interval of the error was at most `wanted` there.
    """

    probability: float
    wanted: float
    answered: int
    wrong: int
    promised: bool
    split: str = ""
    records: int = 0


class Curve(NamedTuple):
    """Holds what every threshold gives, from the fewest answers to all.

    probability: float32 (P,), the threshold. answered, wrong: int (P,), records that are answered and wrong ones among
    them.
    """

    probability: np.ndarray
    answered: np.ndarray
    wrong: np.ndarray


def curve(largest: np.ndarray, right: np.ndarray) -> Curve:
    """Computes how many records each threshold answers, and how many wrongly.

    A threshold lies in the middle between two neighbouring probabilities; the last one is 0 and answers everything.
    All of them are numbers of float32, because served models compare these: probabilities that are equal there are
    equal here.

    Args:
      largest: float (N,), the largest probability of each record. right: bool (N,), whether the answer is right.
    """
    largest = largest.astype(np.float32)
    order = np.argsort(-largest, kind="stable")
    ordered = largest[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(order) - 1) if len(order) else np.zeros(0, np.int64)
    following = np.append(ordered[last[:-1] + 1], -ordered[last[-1:]])
    middle = np.maximum((ordered[last] + following) / 2, np.nextafter(following, np.float32(2)))
    middle[-1:] = 0
    return Curve(middle, last + 1, np.cumsum(~right[order])[last])


def answered(largest: np.ndarray, probability: float) -> np.ndarray:
    """Returns which records a threshold of `curve` answers, bool (N,).

    A served model decides the same.

    Args:
      largest: float (N,), the largest probability of each record.
    """
    return np.asarray(largest.astype(np.float32) >= np.float32(probability))


def choose(largest: np.ndarray, right: np.ndarray, wanted: float) -> Abstention | None:
    """Chooses the threshold that answers most with at most the wanted error.

    The upper end of the error's 95 % interval (Wilson) should be at most `wanted`. If no threshold has that, the error
    itself should be. The result is None if no threshold has that either.

    Args:
      largest, right: as of `curve`. wanted: the share of wrong answers among the answered, above 0 and below 1.
    """
    found = curve(largest, right)
    errors = found.wrong / np.maximum(1, found.answered)
    for promised in (True, False):
        for at in np.flatnonzero(errors <= wanted)[::-1].tolist():
            answered, wrong = int(found.answered[at]), int(found.wrong[at])
            if not promised or intervals.wilson(wrong, answered).high <= wanted:
                return Abstention(float(found.probability[at]), wanted, answered, wrong, promised)
    return None


def needed(wanted: float) -> int:
    """Returns how many answers without a mistake an error can be promised from.

    >>> needed(0.05)
    73
    """
    z = statistics.NormalDist().inv_cdf((1 + intervals.LEVEL) / 2)
    return math.ceil(z**2 * (1 - wanted) / wanted)


def refusal(wanted: float, split: str, records: int) -> str:
    """Says that no threshold could be chosen."""
    return (
        f"No threshold has an error of at most {wanted:g} among the answered of {split} ({records:,} records): none is "
        "chosen. Ask for a greater error, or train a better model."
    )


def sentence(found: Abstention) -> str:
    """Says what was chosen, and what it promises."""
    wanted, split = found.wanted, found.split
    told = (
        f"Abstaining below the probability {found.probability:.3g} leaves answers to {found.answered:,} of "
        f"{found.records:,} records of {split}, {found.wrong:,} of them wrong."
    )
    if found.promised:
        return f"{told} The 95 % interval of this error ends at {wanted:g} or below."
    return (
        f"{told} This does not promise an error of at most {wanted:g}: {split} has too few records that are surely "
        f"right. It would take at least {needed(wanted):,} answers without a mistake."
    )
