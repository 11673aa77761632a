"""Holds an ablation's results: predictions of all trainings, scores, comparisons."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.contract import Contract
from trainer.ablation import conclusions, learning_curve, scoring
from trainer.ablation.conclusions import Comparison
from trainer.ablation.learning_curve import Curve
from trainer.ablation.scoring import METRICS
from trainer.ablation.trainings import Outcome
from trainer.ablation.variants import CURVE, Variant
from trainer.config import TRAIN_SPLIT


@dataclasses.dataclass(frozen=True)
class Setting:
    """Describes what the variants have in common.

    data: a name for the images.
    contract: the contract of one of the datasets; all datasets have the same splits.
    truth: int (N,), true class ids of the test images.
    options: the options that change the result, by name.
    """

    data: str
    contract: Contract
    truth: np.ndarray
    options: Mapping[str, Any]

    @property
    def labels(self) -> tuple[str, ...]:
        return self.contract.labels

    @property
    def rare(self) -> str:
        """Returns the class with the fewest train images before balancing.

        Classes without train images are left out. Of several smallest classes it is the first.
        """
        natural = self.contract.split(TRAIN_SPLIT).natural
        return min((label for label in self.labels if natural.get(label, 0)), key=lambda label: natural[label])

    @property
    def majority(self) -> str:
        """Returns the class with the most train images before balancing."""
        natural = self.contract.split(TRAIN_SPLIT).natural
        return max(self.labels, key=lambda label: natural.get(label, 0))

    @functools.cached_property
    def baseline(self) -> dict[str, float]:
        """Returns the scores of a model that always predicts the majority class."""
        return self.scores(np.full(len(self.truth), self.labels.index(self.majority)))

    def scores(self, answers: np.ndarray) -> dict[str, float]:
        return scoring.scores(self.truth, answers, len(self.labels), self.labels.index(self.rare))

    def sentence(self) -> str:
        """Returns a sentence on what all variants have in common."""
        o = self.options
        images = sum(self.contract.split(TRAIN_SPLIT).natural.values())
        rare = int((self.truth == self.labels.index(self.rare)).sum())
        way = "a fitted head" if o.get("fit_head") else f"{o['epochs']} epochs' worth of steps"
        return (
            f"{o['model']} at {o['size']}, {way} over {images:,} train images; all are "
            f"scored on the same {len(self.truth):,} test images in their natural distribution, {rare:,} of them of "
            f"the rare class {self.rare!r}."
        )


@dataclasses.dataclass(frozen=True)
class Study:
    """Holds the finished trainings. outcomes: variant -> seed -> outcome."""

    setting: Setting
    variants: tuple[Variant, ...]
    outcomes: Mapping[str, Mapping[int, Outcome]]

    @classmethod
    def of(cls, setting: Setting, variants: Sequence[Variant], outcomes: Sequence[Outcome]) -> Study:
        """Builds a study from outcomes, without the variants that have none."""
        found: dict[str, dict[int, Outcome]] = {}
        for outcome in sorted(outcomes, key=lambda o: o.seed):
            found.setdefault(outcome.variant, {})[outcome.seed] = outcome
        return cls(setting, tuple(v for v in variants if v.name in found), found)

    @functools.cached_property
    def scores(self) -> dict[str, dict[int, dict[str, float]]]:
        """Returns variant -> seed -> score of each of METRICS."""
        return {
            name: {seed: self.setting.scores(outcome.answers) for seed, outcome in seeds.items()}
            for name, seeds in self.outcomes.items()
        }

    def values(self, variant: str, metric: str) -> list[float]:
        """Returns a variant's score for each of its seeds, in their order."""
        return [scores[metric] for scores in self.scores[variant].values()]

    def mean(self, variant: str, metric: str) -> float:
        return statistics.fmean(self.values(variant, metric))

    def spread(self, variant: str, metric: str) -> float:
        """Returns the standard deviation over the seeds (n - 1 degrees of freedom).

        It is NaN for one seed.
        """
        values = self.values(variant, metric)
        return statistics.stdev(values) if len(values) > 1 else math.nan

    @functools.cached_property
    def comparisons(self) -> list[Comparison]:
        """Compares each variant with its reference variant over the seeds that both have.

        A variant whose reference has no common seed is left out.
        """
        pairs = [(v, sorted(set(self.outcomes[v.name]) & set(self.outcomes.get(v.against, {})))) for v in self.variants]
        return [self._compare(variant, seeds) for variant, seeds in pairs if seeds]

    def _compare(self, variant: Variant, seeds: Sequence[int]) -> Comparison:
        ours, theirs = (
            np.stack([self.outcomes[name][seed].answers for seed in seeds]) for name in (variant.name, variant.against)
        )
        classes, rare = len(self.setting.labels), self.setting.labels.index(self.setting.rare)
        resampled = scoring.differences(self.setting.truth, ours, theirs, classes, rare)
        one, two = self.scores[variant.name], self.scores[variant.against]
        effects = {m: conclusions.effect([one[s][m] - two[s][m] for s in seeds], resampled[m]) for m in METRICS}
        return Comparison(variant.name, variant.against, variant.change, effects)

    @functools.cached_property
    def curve(self) -> Curve | None:
        """Returns what twice as many images are worth, or None if no amounts were trained."""
        setting, own = self.setting, [v for v in self.variants if v in CURVE]
        natural = setting.contract.split(TRAIN_SPLIT).natural
        shares = [v.training.get("train_share", 1.0) for v in own]
        images = [sum(math.ceil(share * count) for count in natural.values()) for share in shares]
        answers = {v.name: {seed: o.answers for seed, o in self.outcomes[v.name].items()} for v in own}
        rare = setting.labels.index(setting.rare)
        return learning_curve.fit(own, images, self.scores, answers, setting.truth, len(setting.labels), rare)

    @property
    def summary(self) -> str:
        """Returns what was found, in one or two sentences."""
        told = conclusions.summary(self.comparisons)
        return told if self.curve is None else f"{self.curve.sentence()} {told}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of ablation.json; undefined numbers are null."""
        setting = self.setting
        return {
            "setting": {
                "data": setting.data,
                "options": dict(setting.options),
                "source_digest": setting.contract.source_digest,
                "images": {name: dict(split.natural) for name, split in setting.contract.splits.items()},
                "test_records": len(setting.truth),
                "rare": setting.rare,
                "majority": setting.majority,
                "baseline": _plain(setting.baseline),
            },
            "variants": {variant.name: self._variant(variant) for variant in self.variants},
            "comparisons": [
                {"variant": c.variant, "against": c.against, "sentence": c.sentence(), "effects": {
                    m: _plain(dataclasses.asdict(e)) | {"supported": e.supported} for m, e in c.effects.items()}}
                for c in self.comparisons
            ],
            "summary": self.summary,
            **({"doubling": self._doubling(self.curve)} if self.curve else {}),
            "rule": conclusions.RULE,
        }  # fmt: skip

    def _doubling(self, curve: Curve) -> dict[str, Any]:
        effects = {m: _plain(dataclasses.asdict(e)) | {"supported": e.supported} for m, e in curve.doubling.items()}
        return {"images": list(curve.images), "effects": effects}

    def _variant(self, variant: Variant) -> dict[str, Any]:
        network = {"model": variant.network} if variant.network else {}
        seeds = self.outcomes[variant.name]
        return {
            "title": variant.title,
            "against": variant.against,
            "prepare": list(variant.preparation.flags),
            "training": dict(variant.training) | network,
            "seeds": {
                str(seed): _plain(scores) | {"kept_epoch": seeds[seed].kept_epoch}
                for seed, scores in self.scores[variant.name].items()
            },
            "mean": _plain({m: self.mean(variant.name, m) for m in METRICS}),
            "spread": _plain({m: self.spread(variant.name, m) for m in METRICS}),
        }


def _plain(values: Mapping[str, float]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
