"""Defines how the pixels of a source are understood.

It imports nothing heavy, so that the configuration can hand it out.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from pipelines.core.elements import MAX_CHANNELS

COLOR_PROFILES = ("srgb", "ignore")
TRUNCATED = ("reject", "fill")
MOST_BAND = 1024  # the highest number of a band
DATA = "data"  # the bit depth that is found out from all images
_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"


@dataclasses.dataclass(frozen=True)
class SourcePolicy:
    """States how the pixels of a source are understood.

    color_profile: "srgb" converts an image with the colour profile of another space to sRGB; "ignore" takes its numbers
      as they are.
    value_range: the values (low, high) of pixels with more than 8 bits that become black and white; what lies beyond
      is clipped. None is 0 and 65535, and what lies beyond is a reject.
    bands: the numbers, from 1, of the bands of a TIFF or a PNG that become the channels; () takes pictures as they are
      meant.
    truncated: "reject" rejects a JPEG that is cut off; "fill" reads it, with its missing part in one colour.
    """

    color_profile: str = "srgb"
    value_range: tuple[float, float] | None = None
    truncated: str = "reject"
    bands: tuple[int, ...] = ()

    def noted(self) -> dict[str, Any]:
        """Returns the fields as the contract's `decode` has them."""
        return {
            "color_profile": self.color_profile,
            "value_range": None if self.value_range is None else list(self.value_range),
            "truncated": self.truncated,
            **({"bands": list(self.bands)} if self.bands else {}),
        }


DEFAULT = SourcePolicy()


def from_notes(decode: Mapping[str, Any]) -> SourcePolicy:
    """Returns the policy that a contract's `decode` states.

    A contract that states none is of a version that took all pixels as they are.

    Raises:
      ValueError: a value is none that this version knows.
    """
    color_profile = str(decode.get("color_profile", "ignore"))
    if color_profile not in COLOR_PROFILES:
        raise ValueError(f"color_profile should be one of {', '.join(COLOR_PROFILES)}. Received: {color_profile!r}")
    truncated = str(decode.get("truncated", "reject"))
    if truncated not in TRUNCATED:
        raise ValueError(f"truncated should be one of {', '.join(TRUNCATED)}. Received: {truncated!r}")
    bands = check_bands(tuple(map(int, decode.get("bands", ()))))
    ends = decode.get("value_range")
    if ends is None:
        return SourcePolicy(color_profile, None, truncated, bands)
    low, high = map(float, ends)
    return SourcePolicy(color_profile, _checked_range(low, high), truncated, bands)


def check_bands(bands: tuple[int, ...]) -> tuple[int, ...]:
    """Returns numbers of bands, if they are such.

    Raises:
      ValueError: there are too many, one is below 1, or one occurs twice.
    """
    if len(bands) > MAX_CHANNELS or len(set(bands)) != len(bands) or not all(1 <= band <= MOST_BAND for band in bands):
        raise ValueError(
            f"should be up to {MAX_CHANNELS} different numbers of bands, from 1, such as 4,3,2. Received: "
            f"{','.join(map(str, bands))!r}."
        )
    return bands


def check_bit_depth(text: str) -> str:
    """Returns a bit depth in one form: LOW..HIGH, "data" or "".

    Raises:
      ValueError: the text states none.
    """
    if text == DATA:
        return text
    ends = value_range(text)
    return "" if ends is None else stated(*ends)


def value_range(bit_depth: str) -> tuple[float, float] | None:
    """Returns the range of values that a bit depth states.

    Args:
      bit_depth: a number of bits from 8 to 16, or LOW..HIGH; "" and "16" are None.

    Raises:
      ValueError: it is neither.
    """
    if bit_depth in ("", "16"):
        return None
    if re.fullmatch(r"8|9|1[0-5]", bit_depth):
        return 0.0, 2.0 ** int(bit_depth) - 1
    ends = re.fullmatch(rf"({_NUMBER})\.\.({_NUMBER})", bit_depth)
    if ends is None:
        raise ValueError(
            f"should be a number of bits from 8 to 16, a range such as -1024..3071, or data. Received: {bit_depth!r}."
        )
    return _checked_range(float(ends[1]), float(ends[2]))


def stated(low: float, high: float) -> str:
    """Returns the bit depth LOW..HIGH as text."""
    return f"{_plain(low)}..{_plain(high)}"


def _plain(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)


def _checked_range(low: float, high: float) -> tuple[float, float]:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"should be a range LOW..HIGH with LOW below HIGH. Received: {stated(low, high)}.")
    return low, high
