"""Computes how much records of rare classes and labels count, from their shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_WEIGHT = 100.0  # of a record with the label: one that is rarer would decide every step that it is in


def class_weights(priors: Sequence[float]) -> list[float]:
    """Computes the weight of each class for the weighted loss.

    The weight is records / (classes * records of the class), over the classes that have records; it is 0 for classes
    without records. The mean weight of a record is 1, so that the learning rate keeps its meaning (King and Zeng 2001;
    scikit-learn's "balanced").
    """
    present = sum(1 for prior in priors if prior)
    return [1 / (present * prior) if prior else 0.0 for prior in priors]


def log_priors(priors: Sequence[float]) -> list[float]:
    """Returns the natural logarithms of the priors.

    A class without records gets the logarithm of the rarest class that has some. It is never a target, and minus
    infinity times its target 0 would be NaN.
    """
    least = min(prior for prior in priors if prior)
    return [float(np.log(prior or least)) for prior in priors]


def positive_weights(priors: Sequence[float]) -> list[float]:
    """Returns the weight of a record with the label for the weighted loss.

    It is records without the label / records with it, MOST_WEIGHT at most, and 1 for a label that no record carries.
    """
    return [min(MOST_WEIGHT, (1 - prior) / prior) if prior else 1.0 for prior in priors]
