"""Turns numbers into the shapes of the report: bars, histograms and curves.

The functions are pure and make no HTML.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.contract import Contract
from pipelines.core.elements import TRAIN_SPLIT
from pipelines.core.summary import ClassCounts, reading_order, total
from pipelines.core.text import byte_size

MOST_CLASSES = 24  # most rows of a split's class table; of more classes, the largest and the smallest are shown
BARS = 40  # most bars of a size histogram
LEVELS = 64  # steps of a pixel histogram


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """Describes one class in one split.

    label: None for the row that sums up the rest.
    natural_width, originals_width, copies_width: in percent of the split's longest bar.
    """

    label: str | None
    classes: int  # number of classes in the row: 1, or that of the rest
    counts: ClassCounts
    natural_width: float
    originals_width: float
    copies_width: float


@dataclasses.dataclass(frozen=True)
class Bin:
    """Describes one bar of a histogram.

    `name` states what it counts, `height` is in percent of the tallest bar.
    """

    name: str
    count: int
    height: float


@dataclasses.dataclass(frozen=True)
class Channel:
    """Describes one channel: its curves, and the effect of normalization.

    The curves are SVG paths in a box of 256 x 100.
    """

    name: str
    paths: tuple[tuple[str, str], ...]  # (split, path), train first
    black: float  # share of train's pixels at 0
    white: float  # share of train's pixels at 255
    ticks: tuple[tuple[int, float], ...]  # (gray level, normalized value)
    mean: float
    std: float
    scale: float
    offset: float


def skew(counts: Mapping[str, ClassCounts], kind: str) -> float | None:
    """Returns the count of the largest class over that of the smallest.

    Classes that do not occur are left out. With fewer than two classes, it returns None.

    Args:
      kind: the field of ClassCounts to compare.
    """
    values = [getattr(c, kind) for c in counts.values() if getattr(c, kind)]
    return max(values) / min(values) if len(values) > 1 else None


def class_rows(labels: Sequence[str], counts: Mapping[str, ClassCounts]) -> list[ClassRow]:
    """Returns the rows of the classes by natural count, largest first.

    Of more than MOST_CLASSES classes, it returns the first ones, a row that sums up the middle, and the last ones.
    """
    pairs = [(label, counts.get(label, ClassCounts())) for label in labels]
    pairs.sort(key=lambda pair: -pair[1].natural)  # the sort is stable: equal counts stay in order of label id
    longest = max([1, *(max(c.natural, c.stored) for _, c in pairs)])

    def row(label: str | None, classes: int, c: ClassCounts, shown: bool = True) -> ClassRow:
        widths = (100 * n / longest if shown else 0.0 for n in (c.natural, c.stored - c.copies, c.copies))
        return ClassRow(label, classes, c, *widths)

    if len(pairs) <= MOST_CLASSES:
        return [row(label, 1, c) for label, c in pairs]
    half = MOST_CLASSES // 2
    between = [c for _, c in pairs[half:-half]]
    rest = row(None, len(between), total(between), shown=False)
    return [*(row(n, 1, c) for n, c in pairs[:half]), rest, *(row(n, 1, c) for n, c in pairs[-half:])]


def histogram(counts: Mapping[int, int], step: int, unit: str) -> list[Bin]:
    """Returns bars of equal width for counts by lower bound.

    Values far beyond the bulk share one last bar. Without it, one panorama among phone pictures would press all other
    pictures into a single bar.

    Args:
      step: the width of the bins that were counted.
      unit: the unit of the bounds, for the names of the bars.
    """
    if not counts:
        return []
    low, high = min(counts), max(counts)
    ordered, seen, bulk = sorted(counts), 0, sum(counts.values()) * 0.99
    for edge in ordered:
        seen += counts[edge]
        if seen >= bulk:
            break
    top = edge if high - low > max(BARS * step, 2 * (edge - low + step)) else high
    width = step * max(1, math.ceil((top - low + step) / step / BARS))
    totals = [0] * ((top - low) // width + 1)
    for value, count in counts.items():
        if value <= top:
            totals[(value - low) // width] += count
    bins = [(f"{low + i * width} to {low + (i + 1) * width - 1} {unit}", n) for i, n in enumerate(totals)]
    if top < high:
        bins.append((f"more, up to {high + step - 1} {unit}", sum(n for v, n in counts.items() if v > top)))
    return _scaled(bins)


@dataclasses.dataclass(frozen=True)
class Target:
    """Describes one number that is to be predicted.

    rows: (split, its distribution, as `Kind.described` of a regression has it). bins: the histogram of train.
    """

    name: str
    rows: tuple[tuple[str, Mapping[str, Any]], ...]
    bins: list[Bin]


def targets(described: Sequence[Mapping[str, Any]]) -> list[Target]:
    """Returns what is shown of each number that is to be predicted."""
    found = []
    for target in described:
        splits = target["splits"]
        rows = tuple((name, splits[name]) for name in reading_order(splits))
        low = min((row["least"] for _, row in rows), default=0.0)
        high = max((row["greatest"] for _, row in rows), default=0.0)
        bars = splits.get(TRAIN_SPLIT, {}).get("histogram", [])
        width = (high - low) / max(1, len(bars))
        edges = [(f"{low + i * width:.6g} to {low + (i + 1) * width:.6g}", n) for i, n in enumerate(bars)]
        found.append(Target(target["name"], rows, _scaled(edges)))
    return found


def size_bins(counts: Mapping[int, int]) -> list[Bin]:
    """Returns bars of file sizes, one for each power of two.

    They extend from the smallest size to the largest size that occurs.
    """
    if not counts:
        return []
    powers = range(max(0, min(counts)).bit_length(), max(counts).bit_length() + 1)
    edges = [1 << (p - 1) if p else 0 for p in powers]
    return _scaled([(f"{byte_size(e)} to {byte_size(max(1, 2 * e))}", counts.get(e, 0)) for e in edges])


def _scaled(bins: Sequence[tuple[str, int]]) -> list[Bin]:
    tallest = max([1, *(count for _, count in bins)])
    return [Bin(name, count, 100 * count / tallest) for name, count in bins]


def channels(contract: Contract, histograms: Mapping[str, Sequence[Sequence[int]]]) -> list[Channel]:
    """Returns the channels, each with one path for every split that has pixels.

    The paths show shares, so that splits can be compared.
    """
    n = contract.normalization
    ordered = [name for name in reading_order(contract.splits) if name in histograms]
    result = []
    for c, name in enumerate(map(str.capitalize, contract.channel_names)):
        shares = {s: _shares(histograms[s][c]) for s in ordered if sum(histograms[s][c])}
        # Clipped pixels accumulate at both ends. The report states them as text, and they must not flatten the rest.
        inner = [v for levels in shares.values() for v in levels[1:-1]]
        tallest = max(inner, default=0) or 1.0
        first = histograms[ordered[0]][c] if ordered else [0]
        pixels = sum(first) or 1
        ticks = tuple((level, level * n.scale[c] + n.offset[c]) for level in (0, 64, 128, 192, 255))
        paths = tuple((s, _steps(levels, tallest)) for s, levels in shares.items())
        result.append(
            Channel(
                name, paths, first[0] / pixels, first[-1] / pixels, ticks, n.mean[c], n.std[c], n.scale[c], n.offset[c]
            )
        )
    return result


def _shares(levels: Sequence[int]) -> list[float]:
    width = max(1, len(levels) // LEVELS)
    return [sum(levels[i : i + width]) / sum(levels) for i in range(0, len(levels), width)]


def _steps(shares: Sequence[float], tallest: float) -> str:
    """Returns an SVG path of steps in a box of 256 x 100, closed along the bottom."""
    width = 256 / len(shares)
    tops = [100 - min(1.0, share / tallest) * 96 for share in shares]
    steps = "".join(f"V{y:.1f}H{(i + 1) * width:.0f}" for i, y in enumerate(tops))
    return f"M0 100{steps}V100Z"
