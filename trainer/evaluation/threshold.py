"""From which probability on a binary classifier should answer the rare class. Pure functions on NumPy arrays."""

from __future__ import annotations

import numpy as np

from pipelines.contract import Contract

PLAIN = 0.5  # what the most probable class amounts to


def positive(contract: Contract) -> int:
    """The id of the class to find, of two: the rarer one of the train split before balancing, and 1 of equals."""
    counts = contract.split("train").natural
    first, second = (counts.get(label, 0) for label in contract.labels)
    return 0 if first < second else 1


def choose(is_positive: np.ndarray, probability: np.ndarray) -> float | None:
    """The threshold with the greatest Youden's J, true positive rate - false positive rate = 2 balanced accuracy - 1.

    Youden 1950, "Index for rating diagnostic tests". The answer is positive from the threshold on. Candidates are PLAIN
    and the middles between neighbouring probabilities; of equals the one nearest to PLAIN.

    Args:
      is_positive: bool (N,). probability: float (N,), of the positive class.

    Returns:
      Above 0, below 1; None where one of the classes has no records.
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
