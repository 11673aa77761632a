"""Defines the stages that form units and give them their splits.

A unit is the images that stay in one split: those of equal content or of one group. Units travel in buckets, many in
one element.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from apache_beam.pvalue import TaggedOutput

from pipelines.core import hashing
from pipelines.core.elements import Ref, pack, unpack
from pipelines.job import counters
from pipelines.plan import duplicates, rank_histogram, splits

# Approximate number of references in one element after the shuffle.
BUCKET = 1024


def in_buckets(refs: Iterable[tuple[str, Ref]], total: int) -> Iterator[tuple[int, bytes]]:
    """Packs (unit, Ref) pairs into buckets; yields (bucket, packed pairs).

    All references of a unit are in one bucket. A bucket holds about BUCKET of the `total` references. Results for a
    unit do not depend on its bucket: buckets only keep the number of elements small.
    """
    buckets: dict[int, list[tuple[str, Ref]]] = collections.defaultdict(list)
    count = max(1, total // BUCKET)
    for unit, ref in refs:
        buckets[hashing.position(0, "bucket", unit) % count].append((unit, ref))
    for bucket, pairs in buckets.items():
        yield bucket, pack(pairs)


def units_of(bucket: tuple[int, Iterable[bytes]]) -> Iterator[tuple[str, list[Ref]]]:
    """Yields (unit, its references in sorted order) of each unit in a bucket."""
    for unit, pairs in itertools.groupby(sorted(unpack(bucket[1])), key=lambda pair: pair[0]):
        yield unit, [ref for _, ref in pairs]


def bridges(bucket: tuple[int, Iterable[bytes]]) -> Iterator[list[str]]:
    """Yields the groups that equal content connects, if there are two or more."""
    for digest, refs in units_of(bucket):
        groups = sorted({ref.group or digest for ref in refs})
        if len(groups) > 1:
            yield groups


def by_group(bucket: tuple[int, Iterable[bytes]], merged: Mapping[str, str], total: int) -> Iterator[tuple[int, bytes]]:
    """Packs references by group; yields (bucket, packed (unit, Ref)).

    The unit is the group of the image, or the group that it was merged into. An image without a group is in the unit
    of its content digest.
    """
    pairs = ((ref.group or digest, ref) for digest, refs in units_of(bucket) for ref in refs)
    yield from in_buckets(((merged.get(group, group), ref) for group, ref in pairs), total)


def unit_ranks(
    bucket: tuple[int, Iterable[bytes]], mode: str, seed: int
) -> Iterator[tuple[str, rank_histogram.RankHistogram]]:
    """Collects the hash positions of units; yields (label, RankHistogram).

    Each unit has its number of images as weight. Units with a given split are left out.

    Args:
      mode: the value of --duplicates.
    """
    ranks: dict[str, rank_histogram.RankHistogram] = collections.defaultdict(rank_histogram.RankHistogram)
    for unit, everything in units_of(bucket):
        refs = duplicates.separate(everything, mode)[0]
        if refs and not any(ref.split for ref in refs):
            ranks[unit_label(refs)].add(hashing.position(seed, "split", unit), len(refs))
    yield from ranks.items()


def unit_label(refs: list[Ref]) -> str:
    """Returns the label that a unit counts for in stratified splitting.

    It is the most frequent label of the unit. Of equally frequent labels it is the first by name.
    """
    counts = collections.Counter(ref.label for ref in refs)
    return min(counts, key=lambda label: (-counts[label], label))


def assign_split(
    bucket: tuple[int, Iterable[bytes]], mode: str, seed: int, cuts: Mapping[str, list[tuple[int, str]]]
) -> Iterator[Any]:
    """Assigns a split to each unit; yields packed references with their split.

    A split that the input gives stays. Other images of the unit get the first given split. With --duplicates drop,
    dropped images go to the output "rejected" and do not influence the split of the others. Groups of equal images go
    to the output "duplicates".

    Args:
      mode: the value of --duplicates.
    """
    assigned: list[Ref] = []
    for unit, everything in units_of(bucket):
        refs, rejected = duplicates.separate(everything, mode)
        given = [ref.split for ref in refs if ref.split]
        split = ""  # the value for a unit whose images were all dropped
        if given:
            split = given[0]
        elif refs:
            split = splits.split_of(hashing.position(seed, "split", unit), cuts[unit_label(refs)])
        assigned += [ref if ref.split else ref._replace(split=split) for ref in refs]
        for reject in rejected:
            counters.count_reject(reject)
            yield TaggedOutput("rejected", reject)
        if len(everything) > 1:
            for equal in duplicates.groups(ref._replace(split=ref.split or split) for ref in everything):
                yield TaggedOutput("duplicates", duplicates.told(equal))
    for start in range(0, len(assigned), BUCKET):  # a unit may be large, and would make a large element
        yield pack(assigned[start : start + BUCKET])
