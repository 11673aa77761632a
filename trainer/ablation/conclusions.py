"""Decides which differences between variants the scores support, and words them.

Two things make a difference uncertain: the seed, and which images the test split holds. Trainings with the same seed
are paired (they have the same initial weights and random draws). The interval over seeds is Student's t interval for
the mean of the paired differences. The interval over images is the middle 95 % of resampled differences (scoring.py).
The report claims that a change raised or lowered a score only if both intervals exclude 0. It claims nothing from a
single seed.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from trainer.ablation.scoring import METRICS
from trainer.evaluation.scores import intervals

CHIEF, RARE = "balanced_accuracy", "rare_recall"
RULE = (
    "Rule: a change is reported to raise or lower a score only if two 95 % intervals of the difference exclude 0: one "
    "over seeds (Student's t, trainings of one seed paired) and one over test images (bootstrap within classes). The "
    "numbers in brackets are the outer ends of both. A single seed supports no claim."
)


@dataclasses.dataclass(frozen=True)
class Effect:
    """Holds the mean of paired differences and its uncertainty.

    low, high: the outer ends of the two 95 % intervals; NaN for a single seed.
    """

    mean: float
    low: float
    high: float

    @property
    def supported(self) -> bool:
        """Tells whether both intervals exclude 0, on the same side."""
        return self.low > 0 or self.high < 0


def effect(differences: Sequence[float], resampled: np.ndarray) -> Effect:
    """Computes the effect of a change from its paired differences.

    Args:
      differences: one per seed, at least one.
      resampled: float (R,), differences of the means over the seeds, one per resampling of the test images.
    """
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return Effect(mean, math.nan, math.nan)
    seeds = intervals.student(differences)
    low, high = np.quantile(resampled, (0.025, 0.975)).tolist()
    return Effect(mean, min(seeds.low, low), max(seeds.high, high))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Holds the effect of one change on each of METRICS."""

    variant: str
    against: str
    change: str
    effects: Mapping[str, Effect]

    def sentence(self) -> str:
        """Returns the comparison as one sentence.

        Example: dividing by 255 (unit against resized) raised balanced accuracy +0.120 (+0.050 to +0.190)
        """
        head = f"{self.change} ({self.variant} against {self.against})"
        parts = []
        for verb, sign in (("raised", 1), ("lowered", -1)):
            found = [f"{METRICS[n]} {_told(e)}" for n, e in self.effects.items() if e.supported and e.mean * sign > 0]
            if found:
                parts.append(f"{verb} {_list(found)}")
        if parts:
            return f"{head} {', and '.join(parts)}"
        chief = self.effects[CHIEF]
        if math.isnan(chief.low):
            return f"{head}: {METRICS[CHIEF]} {chief.mean:+.3f} in one seed, which supports no claim"
        return f"{head}: no difference that the spread supports; {METRICS[CHIEF]} {_told(chief)}"


def summary(comparisons: Sequence[Comparison]) -> str:
    """Returns one sentence that sums up all comparisons.

    It names the changes that raised or lowered balanced accuracy or recall of the rare class, and those that support no
    claim.
    """
    parts = []
    for metric in (CHIEF, RARE):
        found = [(c.change, c.effects[metric]) for c in comparisons if c.effects[metric].supported]
        for verb, sign in (("raised", 1), ("lowered", -1)):
            named = [f"{change} ({e.mean:+.3f})" for change, e in found if e.mean * sign > 0]
            if named:
                parts.append(f"{METRICS[metric]} was {verb} by {_list(named)}")
    silent = [c.change for c in comparisons if not (c.effects[CHIEF].supported or c.effects[RARE].supported)]
    if silent and not parts:
        parts.append("the spread supports no claim for any of these changes")
    elif silent:
        parts.append(f"for {_list(silent)} the spread supports no claim on either")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""


def _told(e: Effect) -> str:
    return f"{e.mean:+.3f} ({e.low:+.3f} to {e.high:+.3f})"


def _list(items: Sequence[str]) -> str:
    return ", ".join(items[:-1]) + " and " + items[-1] if len(items) > 1 else "".join(items)
