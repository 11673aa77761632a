"""Decides the split of each unit of images that stay together."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Mapping, Sequence

from pipelines.core.hashing import POSITIONS
from pipelines.plan.rank_histogram import RankHistogram


def split_cuts(histogram: RankHistogram, fractions: Mapping[str, float]) -> list[tuple[int, str]]:
    """Cuts the hash positions of one class into splits.

    Each split gets its share by cumulative rounding, so that sizes differ from the exact share by less than one item
    where items weigh 1. Each split gets at least one bin where there are enough bins, so that no class is missing from
    a split.

    Returns:
      [(first position beyond the split, name)], ascending; the last is POSITIONS.
    """
    names = [name for name, share in fractions.items() if share > 0]
    bins = histogram.ordered()
    total = histogram.total
    running = list(itertools.accumulate(weight for _, weight in bins))
    shares = list(itertools.accumulate(fractions[name] for name in names))
    ends: list[int] = []  # number of bins up to and including this split
    for i, share in enumerate(shares[:-1]):
        target = total * share
        end = bisect.bisect_left(running, target)
        if end < len(running) and running[end] - target <= target - (running[end - 1] if end else 0):
            end += 1
        if len(bins) >= len(names):
            end = min(end, len(bins) - (len(names) - 1 - i))
            end = max(end, (ends[-1] if ends else 0) + 1)
        ends.append(max(end, ends[-1] if ends else 0))
    edges = [bins[end][0] if end < len(bins) else POSITIONS for end in ends]
    return list(zip([*edges, POSITIONS], names, strict=True))


def split_of(position: int, cuts: Sequence[tuple[int, str]]) -> str:
    """Returns the split that a position falls into."""
    return cuts[bisect.bisect_right(cuts, position, key=lambda cut: cut[0])][1]


def components(groups: Iterable[Sequence[str]]) -> dict[str, str]:
    """Merges sets that share a member, by union-find.

    Returns:
      Every member -> the least member of its connected component.
    """
    parent: dict[str, str] = {}

    def find(x: str) -> str:
        while parent.setdefault(x, x) != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        return x

    for group in groups:
        for other in group:
            a, b = sorted((find(group[0]), find(other)))
            parent[b] = a
    return {member: find(member) for member in list(parent)}
