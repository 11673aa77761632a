"""Defines the task in which each image has one or more numbers.

The text of an answer has the numbers with commas between them, each as the shortest text that is the same float32.
"""

from __future__ import annotations

import bisect
import collections
import functools
import itertools
import math
import re
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pipelines.contract.task import REGRESSION
from pipelines.tasks.kind import Answer, Edges, Kind

# Splits are stratified by tenths of one target, or by quarters of each of the first few of several.
BARS = 40  # of a histogram
BINS_OF_ONE, BINS_OF_SEVERAL, MOST_STRATIFIED = 10, 4, 8
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+(e[+-]?[0-9]+)?", re.IGNORECASE)


class Regression(Kind):
    """Takes the text of an answer as numbers."""

    name = REGRESSION
    is_balanced = False
    has_labels = False
    has_numbers = True

    def labels(self, text: str) -> tuple[str, ...]:
        del text
        return ()

    def answer(self, text: str, ids: Mapping[str, int]) -> tuple[float, ...]:
        del ids
        return parsed(text)

    def text(self, answer: Answer, labels: Sequence[str]) -> str:
        del labels
        return "" if isinstance(answer, int) else text_of(answer)

    def unknown(self, targets: int) -> str:
        return text_of([math.nan] * targets)

    def is_unknown(self, text: str) -> bool:
        return text.startswith("nan")

    def stratum(self, text: str, counts: Mapping[str, int]) -> str:
        del text, counts
        return ""

    def features(self, text: str, edges: Edges) -> tuple[str, ...]:
        """Returns for each target the number of the quantile that it is in."""
        return tuple(
            f"{number}:{bisect.bisect_right(cuts, position(value))}"
            for number, (value, cuts) in enumerate(zip(parsed(text), edges, strict=False))
        )

    def described(self, originals: Mapping[str, Mapping[str, int]], targets: Sequence[str]) -> dict[str, Any]:
        """Returns the distribution of each target.

        "targets" has for each its name, and for each split "images", "least", "lower" (quartile), "median", "upper"
        (quartile), "greatest" and "histogram", the images in BARS equal parts of the range of all splits.
        """
        found = []
        for number, name in enumerate(targets):
            values = {split: _counted(counts, number) for split, counts in originals.items()}
            known = [value for pairs in values.values() for value, _ in pairs]
            ends = (min(known, default=0.0), max(known, default=0.0))
            splits = {split: _distribution(pairs, ends) for split, pairs in values.items() if pairs}
            found.append({"name": name, "splits": splits})
        return {"targets": found}

    def values(self, text: str) -> tuple[float, ...]:
        return parsed(text)


def _counted(counts: Mapping[str, int], number: int) -> list[tuple[float, int]]:
    """Returns (value, images) of one target, sorted."""
    found: collections.Counter[float] = collections.Counter()
    for text, count in counts.items():
        found[parsed(text)[number]] += count
    return sorted((value, count) for value, count in found.items() if count)


def _distribution(pairs: Sequence[tuple[float, int]], ends: tuple[float, float]) -> dict[str, Any]:
    low, high = ends
    running = list(itertools.accumulate(count for _, count in pairs))
    images = running[-1]

    def at(rank: int) -> float:
        return pairs[bisect.bisect_right(running, rank)][0]

    bars = [0] * BARS
    for value, count in pairs:
        bars[min(BARS - 1, int((value - low) / (high - low) * BARS)) if high > low else 0] += count
    return {
        "images": images,
        "least": pairs[0][0],
        "lower": at((images - 1) // 4),
        "median": (at((images - 1) // 2) + at(images // 2)) / 2,
        "upper": at(images - 1 - (images - 1) // 4),
        "greatest": pairs[-1][0],
        "histogram": bars,
    }


def bins(targets: int) -> int:
    """Returns into how many quantiles each target is divided."""
    return BINS_OF_ONE if targets == 1 else BINS_OF_SEVERAL


def text_of(values: Iterable[float]) -> str:
    """Returns the text of numbers that float32 can hold."""
    return ",".join(map(_shortest, values))


@functools.lru_cache(maxsize=1 << 16)
def parsed(text: str) -> tuple[float, ...]:
    """Returns the numbers of a text of `text_of`, as float32 holds them."""
    return tuple(_float32(float(part)) for part in text.split(","))


def of_cells(cells: Iterable[Any], names: Iterable[str], commas: Collection[str] = ()) -> tuple[float, ...] | str:
    """Returns the numbers in cells of a table.

    Args:
      cells: The cells. names: Their headings.
      commas: The headings of columns in which a comma is the decimal sign.

    Returns:
      The numbers, or a part of a sentence that says what is wrong.
    """
    found = []
    for cell, name in zip(cells, names, strict=True):
        value = _number(cell.replace(",", ".", 1) if name in commas and isinstance(cell, str) else cell)
        if not math.isfinite(value):
            comma = isinstance(cell, str) and math.isfinite(_number(cell.replace(",", ".", 1)))
            how = ": write it with a point in place of the comma" if comma else ""
            return f"should have a number as its {name}. Received: {cell!r:.80}{how}"
        found.append(value)
    return tuple(found)


def with_point(text: str) -> str:
    """Returns a number that has a decimal comma with a point in its place.

    Another text is returned as it is.

    Example:
      >>> with_point("-3,5"), with_point("1,2,3")
      ('-3.5', '1,2,3')
    """
    return text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text


def has_decimal_commas(cells: Iterable[Any]) -> bool:
    """Tells whether numbers of a column have a comma as their decimal sign.

    A comma before three digits may also separate thousands. So one number has to show more or fewer digits behind it,
    and none may have a point.

    Example:
      >>> [has_decimal_commas(cells) for cells in (["3,5", "1,125", "7"], ["1,125", "7"], ["3,5", "1.2"])]
      [True, False, False]
    """
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    with_comma = [text for text in texts if _DECIMAL_COMMA.fullmatch(text)]
    return (
        any(len(text.partition(",")[2]) != 3 for text in with_comma)
        and not any("." in text for text in texts)
        and not any("," in text for text in texts if not _DECIMAL_COMMA.fullmatch(text))
    )


def position(value: float) -> int:
    """Returns a whole number 0..2**64 - 1 that orders float32 numbers as they are."""
    [bits] = struct.unpack("<I", struct.pack("<f", value))
    return int((~bits & 0xFFFFFFFF if bits >> 31 else bits | 1 << 31) << 32)


def _number(cell: Any) -> float:
    if isinstance(cell, bool) or not isinstance(cell, (str, int, float)):
        return math.nan
    try:
        value = float(cell.strip().replace("_", "x") if isinstance(cell, str) else cell)
        return _float32(value) + 0.0  # -0.0 is 0
    except (ValueError, OverflowError):
        return math.nan


def _float32(value: float) -> float:
    found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return found


def _shortest(value: float) -> str:
    for digits in range(6, 10):
        text = f"{value:.{digits}g}"
        if _float32(float(text)) == value:
            break
    return text
