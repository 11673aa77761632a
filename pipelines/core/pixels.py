"""Brings pixels of any number of channels into forms that pictures have.

It works on NumPy arrays (h, w, C), and imports nothing.
"""

from __future__ import annotations

from typing import Any


def shown(pixels: Any) -> Any:
    """Returns what of pixels can be shown: three channels (h, w, 3), or one (h, w).

    Of more than three the first three are shown, of two the first.
    """
    return pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., 0]


def stacked(pixels: Any) -> Any:
    """Returns the channels of pixels one below another: (C * h, w, 1).

    A gray PNG can hold them in this form, whatever their number.
    """
    height, width, channels = pixels.shape
    return pixels.transpose(2, 0, 1).reshape(channels * height, width, 1)


def unstacked(pixels: Any, channels: int) -> Any:
    """Returns the pixels (h, w, C) of which `stacked` made these."""
    height, width, _ = pixels.shape
    return pixels.reshape(channels, height // channels, width).transpose(1, 2, 0)
