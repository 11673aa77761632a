"""Makes the content of folds.json from the totals of all shards."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence

from pipelines.contract.folds import Fold, Folds
from pipelines.core.elements import TRAIN_SPLIT
from pipelines.core.text import listed
from pipelines.job.results.shard_totals import Totals
from pipelines.plan import plan as plans
from pipelines.plan.folds import Division
from pipelines.tasks.kinds import KINDS

NAMED = 20


def make(division: Division | None, dataset: str, plan: plans.Plan, totals: Totals) -> Folds | None:
    """Returns the folds of the records of train; None without --folds.

    Args:
      dataset: the dataset's name.
    """
    if division is None:
        return None
    files = plans.shard_names(plan, dataset)[TRAIN_SPLIT]
    none = ("",) * division.repeats  # of a shard without records
    return Folds(
        division.folds,
        division.repeats,
        {file: totals.folds.get(file, none) for file in files},
        {file: totals.is_copy.get(file, "") for file in files},
        tuple(
            _fold(plan, totals, repeat, fold) for repeat in range(division.repeats) for fold in range(division.folds)
        ),
    )


def _fold(plan: plans.Plan, totals: Totals, repeat: int, fold: int) -> Fold:
    none: collections.Counter[str] = collections.Counter()
    stored, copies = totals.in_folds.get((repeat, fold), (none, none))
    kind = KINDS[plan.task]
    return Fold(kind.by_label(stored), kind.by_label(copies), (stored.total(), copies.total()))


def warnings(folds: Folds | None, labels: Sequence[str]) -> Iterator[str]:
    """Yields a sentence if folds have no image, or none of some label."""
    if folds is None:
        return
    empty = [str(number) for number, fold in enumerate(folds.folds) if fold.records[0] == fold.records[1]]
    if empty:
        yield (
            f"These folds have no image: {listed(empty, NAMED)}. There are fewer groups of images than folds: use "
            "fewer --folds."
        )
    lacking = collections.Counter(
        label for fold in folds.folds for label in labels if fold.stored.get(label, 0) == fold.copies.get(label, 0)
    )
    present = [label for label in labels if any(fold.stored.get(label, 0) for fold in folds.folds)]
    named = [f"{label} ({lacking[label]} of {len(folds.folds)})" for label in present if lacking[label]]
    if named:
        yield f"Some folds have no image of: {listed(named, NAMED)}. Their scores leave that out."
