"""Defines the stages that divide the units of train into folds.

They follow the stages of `units` that divide all units into splits, and use the same functions: ranks of units by what
they count for, shares of each fold, cuts. A unit is never divided, so neither are groups and equal images.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping

from pipelines.job import split_units
from pipelines.job.split_units import Cuts, Key
from pipelines.plan import folds, splits, stratify
from pipelines.plan.folds import Division
from pipelines.plan.rank_histogram import RankHistogram
from pipelines.tasks.kind import Edges, Kind
from pipelines.tasks.kinds import ONE_CLASS


def fold_ranks(
    bucket: tuple[int, Iterable[bytes]],
    mode: str,
    seed: int,
    cut: Cuts,
    repeats: int,
    kind: Kind = ONE_CLASS,
    edges: Edges = (),
) -> Iterator[tuple[Key, RankHistogram]]:
    """Collects the hash positions of the units of train.

    It yields (`folds.key`, RankHistogram). Each unit has its number of images in train as weight.

    Args:
      mode: the value of --duplicates.
      cut: the cuts of the splits.
      repeats: how often train is divided.
    """
    ranks: dict[Key, RankHistogram] = collections.defaultdict(RankHistogram)
    for unit, everything in split_units.units_of(bucket):
        pool = split_units.pool_of(split_units.placed(unit, everything, mode, seed, cut, kind, edges).in_split)
        if pool:
            label = split_units.unit_label(pool, kind, edges)
            for repeat in range(repeats):
                ranks[folds.key(repeat, label)].add(folds.position(seed, repeat, unit), len(pool))
    yield from ranks.items()


def fold_shares(
    profiles: Mapping[Key, splits.Profile], division: Division, one_class: bool
) -> dict[Key, splits.Carry | Mapping[str, int]]:
    """Returns how the units of each class, or those that count for the same, are cut.

    Args:
      profiles: of the units of train.
      one_class: whether each image has one class.
    """
    made: dict[Key, splits.Carry | Mapping[str, int]] = {}
    for repeat in range(division.repeats):
        given = folds.key(repeat, "")[0]
        own = {label: profile for (of, label), profile in profiles.items() if of == given}
        if one_class:
            made |= {(given, label): carry for label, carry in splits.carried(own, division.shares).items()}
            continue
        counted = {signature: profile.units for signature, profile in own.items()}
        for signature, counts in stratify.distribute(counted, division.shares).items():
            made[given, signature] = dict(zip(division.shares, counts, strict=True))
    return made
