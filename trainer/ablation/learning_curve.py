"""Fits scores over the amount of train images: what twice as many are worth.

The line is fitted to the scores over the logarithm of the number of images, seed by seed. Its slope is the gain of a
doubling. Scores often follow such a line while there are few images, and gain less and less near their limit (Hestness
et al. 2017, "Deep learning scaling is predictable, empirically").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from trainer.ablation import conclusions, scoring
from trainer.ablation.conclusions import CHIEF, Effect
from trainer.ablation.scoring import METRICS
from trainer.ablation.variants import Variant


class Curve(NamedTuple):
    """Holds the gain of a doubling for each of METRICS.

    images: the fewest and the most train images of the curve.
    """

    doubling: Mapping[str, Effect]
    images: tuple[int, int]

    def sentence(self) -> str:
        """Returns what twice as many images are worth."""
        low, high = self.images
        gain = self.doubling[CHIEF]
        head = f"Between {low:,} and {high:,} train images, twice as many"
        if gain.low != gain.low:
            return f"{head} changed {METRICS[CHIEF]} by {gain.mean:+.3f} in one seed, which supports no claim."
        told = f"{METRICS[CHIEF]} by {gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        if not gain.supported:
            return f"{head} changed {told}, which the spread does not tell from no change."
        return f"{head} {'raised' if gain.mean > 0 else 'lowered'} {told}, on average over the doublings."


def fit(
    variants: Sequence[Variant],
    images: Sequence[int],
    scores: Mapping[str, Mapping[int, Mapping[str, float]]],
    answers: Mapping[str, Mapping[int, np.ndarray]],
    truth: np.ndarray,
    classes: int,
    rare: int,
) -> Curve | None:
    """Fits the curve; None if no seed has all of at least two amounts.

    Args:
      variants: one for each amount. images: the train images of each, int.
      scores: variant -> seed -> score of each of METRICS. answers: variant -> seed -> predicted ids, int (N,).
      truth, classes, rare: as of `scoring.differences`.
    """
    names = [variant.name for variant in variants]
    seeds = sorted(set.intersection(*(set(scores.get(name, {})) for name in names))) if names else []
    if len(names) < 2 or not seeds:
        return None
    weights = slope_weights(images)
    stacked = {name: np.stack([answers[name][seed] for seed in seeds]) for name in names}
    gained = {
        name: scoring.differences(truth, stacked[name], stacked[names[0]], classes, rare) for name in names[1:]
    }  # differences to the first: the weights sum to 0
    doubling = {}
    for metric in METRICS:
        of_seeds = [
            float(sum(w * scores[name][seed][metric] for w, name in zip(weights, names, strict=True))) for seed in seeds
        ]
        resampled = sum(w * gained[name][metric] for w, name in zip(weights[1:], names[1:], strict=True))
        doubling[metric] = conclusions.effect(of_seeds, np.asarray(resampled))
    return Curve(doubling, (min(images), max(images)))


def slope_weights(images: Sequence[int]) -> np.ndarray:
    """Returns what scores are multiplied by to get the slope over log2(images).

    It is the slope of least squares; the weights sum to 0.

    >>> slope_weights([100, 200, 400]).tolist()
    [-0.5, 0.0, 0.5]
    """
    x = np.log2(np.asarray(images, np.float64))
    centred = x - x.mean()
    return np.asarray(np.round(centred / (centred**2).sum(), 12))
