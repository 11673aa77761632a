"""Adds up targets in whole numbers, for the job of TensorFlow Transform.

So their statistics do not depend on the order of additions. A target becomes its place between the least and the
greatest one, in steps of 2**-bits of the range. `bits` is 40, or fewer if there are so many images that sums would not
fit int64. A square has twice the bits and is stored in two parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

MOST_BITS, SUM_BITS = 40, 62
Targets = Mapping[tuple[float, ...], int]  # the numbers of images -> how many images have them


class Scale(NamedTuple):
    """Says how targets become whole numbers.

    least, greatest: of each target. bits: see above.
    """

    least: tuple[float, ...]
    greatest: tuple[float, ...]
    bits: int


def scale_of(parts: Iterable[Targets], width: int) -> Scale:
    """Returns the scale of all targets, of so many numbers each."""
    least: tuple[float, ...] = ()
    greatest: tuple[float, ...] = ()
    count = 0
    for targets in parts:
        for values, images in (item for item in targets.items() if item[1]):
            least = tuple(map(min, least or values, values))
            greatest = tuple(map(max, greatest or values, values))
            count += images
    zeros = (0.0,) * width
    return Scale(least or zeros, greatest or zeros, min(MOST_BITS, SUM_BITS - count.bit_length()))


def columns(targets: Targets, scale: Scale) -> dict[str, list[Any]]:
    """Returns the columns of `TARGET_COLUMNS` for one part of the targets."""
    width, step = len(scale.least), 1 << scale.bits
    sums, high, low = [0] * width, [0] * width, [0] * width
    for values, images in targets.items():
        for i, value in enumerate(values):
            whole = _place(value, scale.least[i], scale.greatest[i], step)
            sums[i] += whole * images
            high[i] += (whole * whole >> scale.bits) * images
            low[i] += (whole * whole & step - 1) * images
    return {
        "target_least": list(scale.least),
        "target_greatest": list(scale.greatest),
        "target_bits": [scale.bits] * width,
        "target_count": [sum(targets.values())] * width,
        "target_sum": sums,
        "target_square_high": high,
        "target_square_low": low,
    }


def _place(value: float, least: float, greatest: float, step: int) -> int:
    if greatest == least:
        return 0
    return round((Fraction(value) - Fraction(least)) / (Fraction(greatest) - Fraction(least)) * step)
