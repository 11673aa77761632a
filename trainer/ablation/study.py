"""What an ablation found: the scores of all trainings, their mean and spread, and what they support."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.ablation import verdict
from trainer.ablation.runs import Outcome
from trainer.ablation.variants import Variant
from trainer.ablation.verdict import METRICS, Comparison


@dataclasses.dataclass(frozen=True)
class Setting:
    """On what was compared.

    train_images, test_images: by class, before balancing. rare: the class with the fewest train images.
    majority: the class with the most; baseline: what always answering it scores on the test split.
    """

    data: str
    labels: tuple[str, ...]
    train_images: Mapping[str, int]
    test_images: Mapping[str, int]
    rare: str
    majority: str
    baseline: Mapping[str, float]
    options: Mapping[str, Any]

    def sentence(self) -> str:
        """What every variant had in common."""
        images, tested = sum(self.train_images.values()), sum(self.test_images.values())
        o = self.options
        return (
            f"{o['model']} at {o['size']}, {o['epochs']} epochs' worth of steps over {images:,} train images; all are "
            f"scored on the same {tested:,} test images in their natural distribution, {self.test_images[self.rare]:,} "
            f"of them of the rare class {self.rare!r}."
        )


@dataclasses.dataclass(frozen=True)
class Study:
    """The trainings that are finished: `scores` of each variant, by seed."""

    setting: Setting
    variants: tuple[Variant, ...]
    scores: Mapping[str, Mapping[int, Mapping[str, float]]]

    @classmethod
    def of(cls, setting: Setting, variants: Sequence[Variant], outcomes: Sequence[Outcome]) -> Study:
        scores: dict[str, dict[int, Mapping[str, float]]] = {}
        for outcome in outcomes:
            scores.setdefault(outcome.variant, {})[outcome.seed] = outcome.scores
        return cls(setting, tuple(v for v in variants if v.name in scores), scores)

    def values(self, variant: str, metric: str) -> list[float]:
        """Of all its seeds, in their order."""
        found = self.scores[variant]
        return [found[seed][metric] for seed in sorted(found)]

    def mean(self, variant: str, metric: str) -> float:
        return statistics.fmean(self.values(variant, metric))

    def spread(self, variant: str, metric: str) -> float:
        """Standard deviation over the seeds, n - 1 degrees of freedom; NaN of one seed."""
        values = self.values(variant, metric)
        return statistics.stdev(values) if len(values) > 1 else math.nan

    def comparisons(self) -> list[Comparison]:
        """Each variant with the one it is compared with, where both are there, over the seeds that both have."""
        found = []
        for variant in self.variants:
            if variant.against not in self.scores:
                continue
            seeds = sorted(set(self.scores[variant.name]) & set(self.scores[variant.against]))
            ours, theirs = ([self.scores[name][s] for s in seeds] for name in (variant.name, variant.against))
            if seeds:
                found.append(verdict.compare(variant.name, variant.against, variant.change, ours, theirs))
        return found

    def to_dict(self) -> dict[str, Any]:
        """For ablation.json: plain values, null where undefined."""
        comparisons = self.comparisons()
        return {
            "setting": dataclasses.asdict(self.setting),
            "variants": {
                v.name: {
                    "title": v.title,
                    "against": v.against,
                    "prepare": list(v.preparation.flags),
                    "training": dict(v.training) | ({"model": v.network} if v.network else {}),
                    "seeds": {str(seed): _plain(scores) for seed, scores in sorted(self.scores[v.name].items())},
                    "mean": _plain({m: self.mean(v.name, m) for m in METRICS}),
                    "spread": _plain({m: self.spread(v.name, m) for m in METRICS}),
                }
                for v in self.variants
            },
            "comparisons": [
                {
                    "variant": c.variant,
                    "against": c.against,
                    "effects": {
                        m: _plain(dataclasses.asdict(e)) | {"supported": e.supported} for m, e in c.effects.items()
                    },
                    "sentence": c.sentence(),
                }
                for c in comparisons
            ],
            "summary": verdict.summary(comparisons),
            "rule": verdict.RULE,
        }


def _plain(values: Mapping[str, float]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
