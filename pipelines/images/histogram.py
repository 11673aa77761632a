"""Computes histograms of gray levels and statistics from them.

The statistics of a dataset are exact sums over these histograms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

_LEVELS = np.arange(256, dtype=np.int64)


def histogram(pixels: np.ndarray) -> np.ndarray:
    """Returns how often each gray level occurs in each channel.

    Args:
      pixels: uint8 (H, W, C).

    Returns:
      uint32 (C, 256).
    """
    if pixels.shape[2] not in (1, 3):
        return np.stack([np.bincount(band.ravel(), minlength=256) for band in np.moveaxis(pixels, 2, 0)]).astype(
            np.uint32
        )
    # Pillow counts twice as fast as numpy.bincount.
    mode = "L" if pixels.shape[2] == 1 else "RGB"
    counts = Image.frombuffer(mode, pixels.shape[1::-1], np.ascontiguousarray(pixels), "raw", mode, 0, 1).histogram()
    return np.array(counts, np.uint32).reshape(-1, 256)


def add_up(histograms: Sequence[bytes], channels: int) -> np.ndarray:
    """Adds up histograms, given as the bytes of `histogram`: int64 (channels, 256)."""
    rows = np.frombuffer(b"".join(histograms), np.uint32).reshape(-1, channels, 256)
    total: np.ndarray = rows.sum(axis=0, dtype=np.int64)
    return total


def as_levels(histogram_lists: list[list[int]]) -> np.ndarray:
    """Converts a histogram from the lists that JSON holds to int64 (C, 256)."""
    return np.asarray(histogram_lists, np.int64)


def moments(levels: np.ndarray) -> dict[str, list[int]]:
    """Computes exact integer sums from a (C, 256) histogram.

    The names are the columns that TensorFlow Transform analyzes. The sums fit 64 bits for 8.6e9 images of 128 x 128
    (2**63 / (128 * 128 * 255 ** 2)).
    """
    return {
        "pixel_count": [int(levels[0].sum())],
        "pixel_sum": [int(v) for v in levels @ _LEVELS],
        "pixel_square_sum": [int(v) for v in levels @ (_LEVELS * _LEVELS)],
    }


def statistics(count: int, sums: Sequence[int], square_sums: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """Computes the mean and the biased standard deviation per channel, in gray levels.

    They come from exact integer sums, and are 0 where count is 0.
    """
    n = max(count, 1)
    mean = tuple(s / n for s in sums)
    return mean, tuple(max(q / n - m * m, 0.0) ** 0.5 for q, m in zip(square_sums, mean, strict=True))


def file_size_bin(size: int) -> int:
    """Returns the size rounded down to a power of two, at least 1."""
    return 1 << (max(size, 1).bit_length() - 1)
