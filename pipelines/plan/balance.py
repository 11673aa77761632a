"""Decides the split and the copies of each image, by its rank in hash order.

Memory is bounded. Both questions have one form: of the items of a class, in the order of their hashes, where are the
cuts? A `RankHistogram` answers it exactly for up to MAX_BINS distinct items per class. Beyond that it answers to within
1/MAX_BINS of the class, by merging neighbouring hash values. The result depends only on the set of items, and not on
how Beam bundles or merges them.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

from pipelines.config import PrepareConfig
from pipelines.core.errors import BalanceError
from pipelines.core.hashing import POSITIONS

MAX_BINS = 1 << 15


@dataclasses.dataclass
class RankHistogram:
    """Holds weights by hash position, in at most MAX_BINS bins.

    The bins have the finest resolution that keeps this limit. `level` is the least number of low bits to drop so that
    the distinct values fit. A subset never needs a higher level than the full set, and dropping bits composes, so any
    order of adds and merges ends in the same histogram.
    """

    level: int = 0
    bins: dict[int, int] = dataclasses.field(default_factory=dict)

    def add(self, position: int, weight: int = 1) -> None:
        key = position >> self.level
        self.bins[key] = self.bins.get(key, 0) + weight
        self._coarsen()

    def merge(self, other: RankHistogram) -> None:
        self._drop_to(max(self.level, other.level))
        for key, weight in other.bins.items():
            key >>= self.level - other.level
            self.bins[key] = self.bins.get(key, 0) + weight
        self._coarsen()

    def _coarsen(self) -> None:
        while len(self.bins) > MAX_BINS:
            self._drop_to(self.level + 1)

    def _drop_to(self, level: int) -> None:
        if level == self.level:  # merging one image into many thousands must not rewrite all bins
            return
        drop, old, self.level, self.bins = level - self.level, self.bins, level, {}
        for key, weight in old.items():
            self.bins[key >> drop] = self.bins.get(key >> drop, 0) + weight

    @property
    def total(self) -> int:
        return sum(self.bins.values())

    def ordered(self) -> list[tuple[int, int]]:
        """Returns (first position of the bin, weight) of every bin, in order."""
        return [(key << self.level, self.bins[key]) for key in sorted(self.bins)]

    def threshold(self, count: int) -> int:
        """Returns the position below which `count` items lie.

        It is exact, or the edge of the nearest bin where bins are merged.
        """
        below = 0
        for key in sorted(self.bins):
            weight = self.bins[key]
            if below + weight > count:
                after = below + weight - count < count - below
                return (key + 1 if after else key) << self.level
            below += weight
        return POSITIONS


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
            end = min(max(end, i + 1), len(bins) - (len(names) - 1 - i))
            end = max(end, (ends[-1] if ends else 0) + 1)
        ends.append(max(end, ends[-1] if ends else 0))
    edges = [bins[end][0] if end < len(bins) else POSITIONS for end in ends]
    return list(zip([*edges, POSITIONS], names, strict=True))


def split_of(position: int, cuts: Sequence[tuple[int, str]]) -> str:
    """Returns the split that a position falls into."""
    return cuts[bisect.bisect_right(cuts, position, key=lambda cut: cut[0])][1]


@dataclasses.dataclass(frozen=True)
class Copies:
    """Describes how many records each image of a class becomes.

    It becomes `base` records, and one more if its position in hash order is below `threshold`.
    """

    base: int
    threshold: int

    def of(self, position: int) -> int:
        return self.base + (position < self.threshold)


def targets(counts: Mapping[str, int], config: PrepareConfig) -> dict[str, int]:
    """Returns the records per class that the balance asks for, before --max-copies.

    With temperature T they are proportional to count ** (1 / T), with the largest class unchanged (sqrt: T = 2; none: T
    = 1; uniform: T -> infinity), and at least 1, as in Arivazhagan et al. 2019, "Massively Multilingual Neural Machine
    Translation in the Wild".

    Args:
      counts: images per class.

    Raises:
      BalanceError: `config.counts` names a class without images.
    """
    largest = max(counts.values(), default=0)
    if config.balance == "none":
        return dict(counts)
    if config.balance == "uniform":
        return dict.fromkeys(counts, config.target or largest)
    if config.balance == "counts":
        unknown = set(config.counts) - set(counts)
        if unknown:
            raise BalanceError(
                f"--balance counts names classes without images in train: {', '.join(sorted(unknown))}. "
                f"There are: {', '.join(sorted(counts))}."
            )
        return {label: config.counts.get(label, count) for label, count in counts.items()}
    exponent = 0.5 if config.balance == "sqrt" else 1 / config.temperature
    return {label: max(1, round(largest * (count / largest) ** exponent)) for label, count in counts.items()}


def copies_for(target: int, histogram: RankHistogram, config: PrepareConfig) -> Copies:
    """Returns the copies that make `target` records of a class.

    They make as many records as --max-copies allows where `target` is larger.

    Args:
      histogram: the positions of the class's images.
    """
    images = histogram.total
    base, extra = divmod(min(target, config.max_copies * images), images) if images else (0, 0)
    return Copies(base, histogram.threshold(extra) if extra else 0)


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
