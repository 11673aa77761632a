"""Summarizes the hash positions of the images of a class, in bounded memory.

Splits and copies ask the same question: of the items of a class, in the order of their hashes, where are the cuts? A
`RankHistogram` answers it exactly for up to MAX_BINS distinct items per class. Beyond that it answers to within
1/MAX_BINS of the class, by merging neighbouring hash values. The result depends only on the set of items, and not on
how Beam bundles or merges them.
"""

from __future__ import annotations

import dataclasses

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
