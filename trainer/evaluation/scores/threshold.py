"""Chooses the decision threshold of a binary classifier.

From this probability on the classifier answers the rare class. The functions are pure functions on NumPy arrays.
"""

from __future__ import annotations

import numpy as np

from pipelines.contract import Contract
from trainer.config import TRAIN_SPLIT

PLAIN = 0.5  # the threshold of the most probable class


def positive(contract: Contract) -> int:
    """Returns the id of the class to find, of two classes.

    It is the class with fewer images in the train split before balancing. If both have the same number it is 1.
    """
    counts = contract.split(TRAIN_SPLIT).natural
    first, second = (counts.get(label, 0) for label in contract.labels)
    return 0 if first < second else 1


def choose(is_positive: np.ndarray, probability: np.ndarray) -> float | None:
    """Returns the threshold that maximizes Youden's J.

    J = true positive rate - false positive rate = 2 * balanced accuracy - 1 (Youden 1950, "Index for rating diagnostic
    tests"). The answer is positive if the probability is at least the threshold. Candidates are PLAIN and the middles
    between neighbouring probabilities. Of candidates with equal J it is the one nearest to PLAIN.

    Args:
      is_positive: bool (N,). probability: float (N,), of the positive class.

    Returns:
      A number above 0 and below 1; None if one of the classes has no records.
    """
    positives, negatives = np.sort(probability[is_positive]), np.sort(probability[~is_positive])
    if not len(positives) or not len(negatives):
        return None
    values = np.unique(probability)
    candidates = np.concatenate([[PLAIN], (values[1:] + values[:-1]) / 2])
    found = (len(positives) - np.searchsorted(positives, candidates)) / len(positives)
    wrong = (len(negatives) - np.searchsorted(negatives, candidates)) / len(negatives)
    gain = np.round(found - wrong, 12)
    best = candidates[gain == gain.max()]
    return float(best[np.abs(best - PLAIN).argmin()])
