"""Defines the form that every image of a dataset is brought into.

It imports nothing heavy, so that the configuration can hand it out.
"""

from __future__ import annotations

import dataclasses

from pipelines.images.source_policy import DEFAULT, SourcePolicy

# Weights of ITU-R BT.601 luma in parts of 65536. Their sum is 65536, so a gray pixel keeps its value.
LUMA = (19595, 38470, 7471)
GRAY = "(19595 R + 38470 G + 7471 B + 32768) / 65536, rounded down; gray pixels as they are"  # for contracts


def luma(red: int, green: int, blue: int) -> int:
    """Returns the gray level of a colour, as Pillow's `convert("L")` does.

    Example:
      >>> luma(255, 0, 0), luma(7, 7, 7)
      (76, 7)
    """
    return (red * LUMA[0] + green * LUMA[1] + blue * LUMA[2] + 32768) >> 16


LONGEST_SIDE = 8192  # pixels of an image with a size of its own


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """Describes the form of every image, and how it is made.

    It is uint8 (height, width, channels), if not `is_uneven`.

    resize: "stretch" to the size, "crop" the centre to its aspect first, or "pad" with the background; "none" changes
      no pixel: the centre is cut out where the image is larger, and padded where it is smaller. "shorter" keeps the
      aspect and brings the shorter side to `height`, which `width` is equal to.
    filter: "area" (exact average over each target pixel's box) or "bilinear" (triangle, widened when shrinking).
    background: RGB 0..255, under alpha and around padding.
    quality: "exact", or "fast": the sides of a JPEG at least twice the size are divided by 2, 4 or 8 while it is
    decoded
      (in the DCT domain, as libjpeg does), never below the target's size, and the filter does the rest.
    source: how the pixels of a file are understood.
    channels: 3 for RGB, 1 for gray; as many as there are bands if `source` names some.
    """

    height: int
    width: int
    resize: str = "stretch"
    filter: str = "area"
    background: tuple[int, int, int] = (255, 255, 255)
    quality: str = "exact"
    source: SourcePolicy = DEFAULT
    channels: int = 3

    @property
    def is_uneven(self) -> bool:
        """Tells whether images have sizes of their own, of which a model sees the centre."""
        return self.resize == "shorter"

    def longer_side(self, height: int, width: int) -> int:
        """Returns the longer side that an image has after "shorter", rounded half up.

        Example:
          >>> ImageSpec(256, 256, "shorter").longer_side(480, 640)
          341
        """
        shorter, longer = sorted((height, width))
        return (2 * longer * self.height + shorter) // (2 * shorter)

    @property
    def padding(self) -> tuple[int, ...]:
        """Returns the background as pixels of the form have it, a number for each channel."""
        if self.source.bands:  # the background is gray then
            return self.background[:1] * self.channels
        return self.background if self.channels == 3 else (luma(*self.background),)

    def ratios(self) -> tuple[int, ...]:
        """Returns the numbers that a JPEG's sides may be divided by during decoding.

        They are in descending order.
        """
        return (8, 4, 2, 1) if self.quality == "fast" and self.resize != "none" else (1,)
