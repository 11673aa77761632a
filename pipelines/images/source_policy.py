"""Defines how the pixels of a source are understood.

It imports nothing heavy, so that the configuration can hand it out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

COLOR_PROFILES = ("srgb", "ignore")


@dataclasses.dataclass(frozen=True)
class SourcePolicy:
    """States how the pixels of a source are understood.

    color_profile: "srgb" converts an image with the colour profile of another space to sRGB; "ignore" takes its numbers
      as they are.
    """

    color_profile: str = "srgb"

    def noted(self) -> dict[str, Any]:
        """Returns the fields as the contract's `decode` has them."""
        return dataclasses.asdict(self)


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
    return SourcePolicy(color_profile)
