"""What the numbers support: pure functions on the scores of trainings that differ in one thing and in their seeds.

The rule: training with seed s of one variant is paired with seed s of the other, which has the same initial weights and
draws. A change is said to have bought or cost something if the two-sided 95 % interval of Student's t for the mean of
these differences leaves out 0. Nothing is claimed of a single seed. All is said of one test split: it does not tell
how the scores would differ on other images.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "rare_recall": "recall of the rare class",
}
CHIEF = "balanced_accuracy"
RULE = (
    "Rule: trainings of one seed are paired; a change is said to have bought or cost something where the 95 % interval "
    "(Student's t) of the mean difference leaves out 0. It speaks of seeds on this test split, not of other images."
)
# Quantiles 0.975 of Student's t with 1, 2, ... degrees of freedom (any table, such as Abramowitz and Stegun 26.10).
T_975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


@dataclasses.dataclass(frozen=True)
class Effect:
    """The mean of paired differences and its 95 % interval; NaN ends where there is one pair only."""

    mean: float
    low: float
    high: float

    @property
    def supported(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def effect(differences: Sequence[float]) -> Effect:
    """At least one difference. Equal ones have an interval of no width."""
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return Effect(mean, math.nan, math.nan)
    half = t_quantile(len(differences) - 1) * statistics.stdev(differences) / math.sqrt(len(differences))
    return Effect(mean, mean - half, mean + half)


def t_quantile(freedom: int) -> float:
    """The 0.975 quantile of Student's t. From 11 degrees on by the expansion 26.7.5 of Abramowitz and Stegun (1964),
    "Handbook of Mathematical Functions": there it is right to four digits.
    """
    if freedom <= len(T_975):
        return T_975[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What one change did to each of METRICS."""

    variant: str
    against: str
    change: str
    effects: Mapping[str, Effect]

    def sentence(self) -> str:
        """Such as: resizing ... (resized against raw) bought balanced accuracy +0.12 (+0.05 to +0.19)."""
        head = f"{self.change} ({self.variant} against {self.against})"
        told = {name: e for name, e in self.effects.items() if e.supported}
        parts = []
        for verb, found in (
            ("bought", {n: e for n, e in told.items() if e.mean > 0}),
            ("cost", {n: e for n, e in told.items() if e.mean < 0}),
        ):
            if found:
                parts.append(f"{verb} " + ", ".join(f"{METRICS[n]} {_interval(e)}" for n, e in found.items()))
        if parts:
            return f"{head} " + " and ".join(parts)
        chief = self.effects[CHIEF]
        if math.isnan(chief.low):
            return f"{head}: {METRICS[CHIEF]} {chief.mean:+.3f} in one seed, of which nothing can be claimed"
        return f"{head}: no difference that the spread supports; {METRICS[CHIEF]} {_interval(chief)}"


def compare(
    variant: str, against: str, change: str, ours: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]
) -> Comparison:
    """Args: the scores by METRICS of the seeds that both have, in one order."""
    effects = {
        name: effect([a[name] - b[name] for a, b in zip(ours, theirs, strict=True)]) for name in METRICS
    }  # fmt: skip
    return Comparison(variant, against, change, effects)


def summary(comparisons: Sequence[Comparison]) -> str:
    """One sentence: which change bought balanced accuracy, which cost some, and of which nothing can be said."""
    chief = [(c, c.effects[CHIEF]) for c in comparisons]
    bought = [f"{c.change} ({e.mean:+.3f})" for c, e in chief if e.supported and e.mean > 0]
    cost = [f"{c.change} ({e.mean:+.3f})" for c, e in chief if e.supported and e.mean < 0]
    open_ = [c.change for c, e in chief if not e.supported]
    parts = []
    if bought:
        parts.append(f"{_list(bought)} bought {METRICS[CHIEF]}")
    if cost:
        parts.append(f"{_list(cost)} cost it" if bought else f"{_list(cost)} cost {METRICS[CHIEF]}")
    if open_:
        parts.append(f"of {_list(open_)} the spread supports no claim")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""


def _interval(e: Effect) -> str:
    return f"{e.mean:+.3f} ({e.low:+.3f} to {e.high:+.3f})"


def _list(items: Sequence[str]) -> str:
    return ", ".join(items[:-1]) + " and " + items[-1] if len(items) > 1 else "".join(items)
