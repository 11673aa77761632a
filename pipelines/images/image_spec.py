"""Defines the form that every image of a dataset is brought into.

It imports nothing heavy, so that the configuration can hand it out.
"""

from __future__ import annotations

import dataclasses

from pipelines.images.source_policy import DEFAULT, SourcePolicy


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """Describes the form of every image: uint8 (height, width, 3), and how it is made.

    resize: "stretch" to the size, "crop" the centre to its aspect first, or "pad" with the background; "none" changes
      no pixel: the centre is cut out where the image is larger, and padded where it is smaller.
    filter: "area" (exact average over each target pixel's box) or "bilinear" (triangle, widened when shrinking).
    background: RGB 0..255, under alpha and around padding.
    quality: "exact", or "fast": the sides of a JPEG at least twice the size are divided by 2, 4 or 8 while it is
    decoded
      (in the DCT domain, as libjpeg does), never below the target's size, and the filter does the rest.
    source: how the pixels of a file are understood.
    """

    height: int
    width: int
    resize: str = "stretch"
    filter: str = "area"
    background: tuple[int, int, int] = (255, 255, 255)
    quality: str = "exact"
    source: SourcePolicy = DEFAULT

    def ratios(self) -> tuple[int, ...]:
        """Returns the numbers that a JPEG's sides may be divided by during decoding.

        They are in descending order.
        """
        return (8, 4, 2, 1) if self.quality == "fast" and self.resize != "none" else (1,)
