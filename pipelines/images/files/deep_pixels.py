"""Brings pixels of more than 8 bits a channel to 8 bits.

16 bits become value / 257, rounded (65535 -> 255): the full range is kept, and nothing saturates. Or the values of
`SourcePolicy.value_range` become 0..255.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, TiffImagePlugin

from pipelines.images.files.image_error import ImageError

DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
OWN_RANGE = ("PPM", "JPEG2000")  # they state their depth, and Pillow brings it to 16 bits
STRIP = 1 << 18  # pixels divided at a time
_GIVE_RANGE = ": give --bit-depth LOW..HIGH, or --bit-depth data."


def eight_bit(image: Image.Image, value_range: tuple[float, float] | None = None) -> Image.Image:
    """Converts any Pillow image to L, LA, RGB or RGBA with 8 bits per channel.

    These are the kinds of PNG that `_rgb` of `decode.py` then converts to RGB in the graph.

    Args:
      value_range: the values of deep pixels that become 0 and 255; what lies beyond is clipped. None is 0 and 65535.

    Raises:
      ImageError: without a range, pixels are floating-point numbers, or 32-bit integers beyond 0..65535; or a pixel is
        no number.

    Example:
      >>> from PIL import Image
      >>> image = eight_bit(Image.new("I;16", (2, 1), 65535))
      >>> image.mode, image.getpixel((0, 0))
      ('L', 255)
    """
    if image.mode == "F" and value_range is None:
        raise ImageError("unsupported-pixels", f"Floating-point pixels have no stated range{_GIVE_RANGE}")
    if image.mode in DEEP_MODES:
        bands = deep_rows(image)
        reduced = map(divided, bands) if value_range is None else (stretched(b, *value_range) for b in bands)
        return Image.fromarray(np.concatenate(list(reduced)))
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return image if "transparency" not in image.info else image.convert("RGBA")
    return image.convert("RGBA" if "transparency" in image.info or image.mode in ("PA", "La", "RGBa") else "RGB")


def loses_depth(image: Image.Image) -> bool:
    """Tells whether Pillow reads only the upper 8 of 16 bits of an image."""
    if image.mode in DEEP_MODES:
        return False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return bool(max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))) > 8)
    return image.format == "PNG" and png_depth(image) == 16


def png_depth(image: Image.Image) -> int:
    """Returns the bits a channel of an opened PNG; 8 if they cannot be read."""
    stream = getattr(image, "fp", None)
    if stream is None:
        return 8
    position = stream.tell()
    stream.seek(24)
    depth = stream.read(1)
    stream.seek(position)
    return depth[0] if depth else 8


def deep_rows(image: Image.Image) -> Iterator[np.ndarray]:
    """Yields the values of a deep gray image in bands of rows.

    The complete image in 64 bits would be large.
    """
    if _is_swapped_twice(image):
        raise ImageError(
            "unsupported-pixels",
            "Signed or floating-point values of a compressed big-endian TIFF cannot be read. Save it little-endian, or "
            "without compression.",
        )
    image.load()
    width, height = image.size
    rows = max(1, STRIP // width)
    # Pillow reads 32 bits without a sign as numbers with one.
    unsigned = isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode == "I" and _is_unsigned(image)
    for top in range(0, height, rows):
        values = np.asarray(image.crop((0, top, width, min(top + rows, height))))
        yield values.astype(np.uint32) if unsigned else values


def _is_swapped_twice(image: Image.Image) -> bool:
    """Tells whether Pillow 12 would give the bytes of each value in reverse.

    libtiff gives values of a compressed file in the order of the machine, and Pillow swaps them once more.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.mode not in ("I", "F"):
        return False
    return bool(image.tag_v2.prefix == b"MM" and image.tag_v2.get(TiffImagePlugin.COMPRESSION, 1) != 1)


def _is_unsigned(image: TiffImagePlugin.TiffImageFile) -> bool:
    return bool(image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, (1,)) == (1,))


def divided(values: np.ndarray) -> np.ndarray:
    """Divides values by 257 and rounds; returns uint8."""
    whole = values.astype(np.int64)
    low, high = int(whole.min()), int(whole.max())
    if low < 0 or high > 65535:
        raise ImageError(
            "unsupported-pixels", f"Pixels of {low}..{high}, beyond 0..65535, have no stated range{_GIVE_RANGE}"
        )
    divided: np.ndarray = ((whole + 128) // 257).astype(np.uint8)
    return divided


def stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Brings low..high to 0..255, clips the rest and rounds; returns uint8.

    `decode.py` has the same arithmetic for PNG.
    """
    if np.isnan(values).any():
        raise ImageError("unsupported-pixels", "Some of its pixels are no number (NaN).")
    scaled = (values.astype(np.float64) - low) / ((high - low) / 255)
    reduced: np.ndarray = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return reduced


def finite(values: np.ndarray) -> np.ndarray:
    """Returns the values that are neither infinite nor NaN, in one row."""
    kept: np.ndarray = values[np.isfinite(values)]
    return kept
