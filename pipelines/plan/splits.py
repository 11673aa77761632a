"""Decides the split of each unit of images that stay together."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipelines.core.elements import TRAIN_SPLIT
from pipelines.core.errors import SourceError
from pipelines.core.hashing import POSITIONS
from pipelines.plan.rank_histogram import RankHistogram

VALIDATION = "validation"
SMALL = 64  # units of a class whose weights are gathered in one place, to carry its rounding on exactly
# A class of few images gets one into each split as long as a split is not enlarged by more than this in all.
MOST_EXTRA, MOST_EXTRA_SHARE = 10, 0.02  # images, or fraction of the images of the split


class Profile(NamedTuple):
    """Describes the units of one class in few bytes.

    total: number of images. weights: the images of each unit in the order of their hashes, if there are at most SMALL
    units; else (). units: number of units.
    """

    total: int
    weights: tuple[int, ...]
    units: int


class Carry(NamedTuple):
    """Says how the shares of one class are corrected.

    The rounding of the classes before it is made up for.

    fractions: split -> share. shift: the number of images, of either sign, that each split gets beyond its share.
    each_gets_one: whether each split gets at least one unit, if there are enough.
    """

    fractions: Mapping[str, float]
    shift: tuple[float, ...]
    each_gets_one: bool = True


def profile_of(histogram: RankHistogram) -> Profile:
    """Returns the profile of a class."""
    units = len(histogram.bins)
    weights = tuple(weight for _, weight in histogram.ordered()) if units <= SMALL else ()
    return Profile(histogram.total, weights, units)


def rounding_of(there: Mapping[str, int], fractions: Mapping[str, float]) -> tuple[float, ...]:
    """Returns the images that each split lacks of its share in a dataset that grows.

    They are 0 where the sizes differ from the shares by more than rounding: then the splits were stated.

    Args:
      there: split -> images that are in it already.
    """
    shares = {name: share for name, share in fractions.items() if share > 0}
    everything = sum(there.get(name, 0) for name in shares)
    lacking = tuple(everything * share - there.get(name, 0) for name, share in shares.items())
    limits = [max(MOST_EXTRA, MOST_EXTRA_SHARE * everything * share) for share in shares.values()]
    is_rounding = all(abs(lack) <= limit for lack, limit in zip(lacking, limits, strict=True))
    return lacking if is_rounding else (0.0,) * len(lacking)


def carried(
    profiles: Mapping[str, Profile], fractions: Mapping[str, float], begin: Sequence[float] = ()
) -> dict[str, Carry]:
    """Carries the rounding of each class on to the next one, in order of their names.

    So the shares hold for the splits as a whole: of 2,000 classes of two images, a tenth of the images is in a split
    of a tenth, though no class can give it a tenth. The sizes of a class still differ from its own shares by about
    one image.

    Example:
      >>> two = Profile(total=2, weights=(1, 1), units=2)
      >>> made = carried({"ant": two, "bee": two}, {"train": 0.5, "validation": 0.25, "test": 0.25})
      >>> made["bee"].shift
      (0.0, -0.5, 0.5)

    Args:
      begin: what each split lacks before the first class; (): nothing.

    Returns:
      label -> how `split_cuts` cuts it.
    """
    names = [name for name, share in fractions.items() if share > 0]
    everything = sum(profile.total for profile in profiles.values())
    limits = [max(MOST_EXTRA, MOST_EXTRA_SHARE * fractions[name] * everything) for name in names]
    shift = list(begin) or [0.0] * len(names)
    made: dict[str, Carry] = {}
    for label, profile in sorted(profiles.items()):
        each_gets_one = all(value > -limit for value, limit in zip(shift, limits, strict=True))
        made[label] = carry = Carry(fractions, tuple(shift), each_gets_one)
        if profile.weights:
            running: Sequence[int] = list(itertools.accumulate(profile.weights))
        elif profile.units == profile.total:
            running = range(1, profile.total + 1)
        else:
            shift = [0.0] * len(names)  # many groups: they are taken to come out at their targets
            continue
        ends = [0, *_ends(running, carry), len(running)]
        sizes = [_before(running, end) - _before(running, start) for start, end in itertools.pairwise(ends)]
        wanted = (profile.total * fractions[name] for name in names)
        shift = [s + w - n for s, w, n in zip(shift, wanted, sizes, strict=True)]
    return made


def split_cuts(histogram: RankHistogram, carry: Carry) -> list[tuple[int, str]]:
    """Cuts the hash positions of one class into splits.

    Each split gets its share by cumulative rounding, so that sizes differ from the exact share by less than one item
    where items weigh 1 and nothing is carried. Each split gets at least one bin where there are enough bins, so that
    no class is missing from a split, unless `carry` says otherwise.

    Returns:
      [(first position beyond the split, name)], ascending; the last is POSITIONS.
    """
    names = [name for name, share in carry.fractions.items() if share > 0]
    bins = histogram.ordered()
    ends = _ends(list(itertools.accumulate(weight for _, weight in bins)), carry)
    edges = [bins[end][0] if end < len(bins) else POSITIONS for end in ends]
    return list(zip([*edges, POSITIONS], names, strict=True))


def counted_cuts(histogram: RankHistogram, units: Mapping[str, int]) -> list[tuple[int, str]]:
    """Cuts the hash positions of units that count for the same.

    Args:
      units: split -> number of units that it gets; together they are those of the histogram.

    Returns:
      As `split_cuts`.
    """
    size = histogram.total // max(1, sum(units.values()))  # images of a unit: all have the same number
    ends = [histogram.threshold(size * count) for count in itertools.accumulate(units.values())]
    return list(zip([*ends[:-1], POSITIONS], units, strict=True))


def _ends(running: Sequence[int], carry: Carry) -> list[int]:
    """Returns the number of units up to and including each split but the last.

    Args:
      running: the number of images up to and including each unit.
    """
    shares = [share for share in carry.fractions.values() if share > 0]
    cumulative = list(itertools.accumulate(shares))
    shifts = list(itertools.accumulate(carry.shift))
    ends: list[int] = []
    for i, (share, shift) in enumerate(zip(cumulative[:-1], shifts[:-1], strict=True)):
        target = running[-1] * share + shift
        end = bisect.bisect_left(running, target)
        if end < len(running) and running[end] - target <= target - (running[end - 1] if end else 0):
            end += 1
        if carry.each_gets_one and len(running) >= len(shares):
            end = min(end, len(running) - (len(shares) - 1 - i))
            end = max(end, (ends[-1] if ends else 0) + 1)
        ends.append(max(end, ends[-1] if ends else 0))
    return ends


def _before(running: Sequence[int], end: int) -> int:
    return running[end - 1] if end else 0


def shares_by_given(
    given: Iterable[str], fractions: Mapping[str, float], validation_from: Mapping[str, float]
) -> dict[str, Mapping[str, float]]:
    """Returns the shares by which the images of each stated split are divided.

    Images without a stated split ("") are divided by --splits. Of these splits, those that the input states are left
    out, but for train: a given test set stays as it is. Images of the split that --validation-from names give up a part
    to validation. Other stated splits are not divided.

    Raises:
      SourceError: --validation-from names a split that the input does not state, or the input has a validation split.
    """
    stated = {split for split in given if split}
    made: dict[str, Mapping[str, float]] = {}
    for source, share in validation_from.items():
        if source not in stated:
            raise SourceError(
                f"--validation-from takes images from the split {source!r}, and the input states no such split. It "
                f"states: {', '.join(sorted(stated)) or 'none'}. Shares of drawn splits are those of --splits."
            )
        if VALIDATION in stated:
            raise SourceError(f"--validation-from {source}: the input has a split {VALIDATION} of its own.")
        made[source] = {source: 1 - share, VALIDATION: share}
        stated.add(VALIDATION)
    left = {name: share for name, share in fractions.items() if name == TRAIN_SPLIT or name not in stated}
    whole = sum(left.values())
    made[""] = {name: share / whole for name, share in left.items()} if stated & set(fractions) else fractions
    return made


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
