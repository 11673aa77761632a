"""Computes a hash of an image that its resized or recompressed copies share."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipelines.images import preview
from pipelines.images.files.image_error import ImageError
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy

BITS = 128
SIDE = 64  # pixels of the small picture that is hashed
CELLS = 8  # differences in each row and each column
PLAIN = 2.0  # gray levels; a picture whose cells deviate less has no structure that noise does not change


def perceptual_hash(data: bytes, limits: Limits, policy: SourcePolicy) -> bytes:
    """Returns the difference hash of an image, 16 bytes.

    The image becomes 9 x 8 and 8 x 9 gray cells, upright. Each bit says whether a cell is brighter than the one to its
    left, or above it (dHash, N. Krawetz 2013, "Kind of Like That", in both directions). An image of one color, and one
    that cannot be decoded, has no hash: the result is empty, and it is like no other image.

    Args:
      data: the bytes of the file.
      policy: how the pixels are understood.
    """
    try:
        _, small = preview.draw(data, SIDE, limits, stretch=True, policy=policy)
    except ImageError:
        return b""  # the stage that decodes it says why
    gray = small.convert("L")
    across, down = _cells(gray, CELLS + 1, CELLS), _cells(gray, CELLS, CELLS + 1)
    if across.std() < PLAIN:
        return b""
    return np.packbits([across[:, 1:] > across[:, :-1], down[1:] > down[:-1]]).tobytes()


def _cells(gray: Image.Image, width: int, height: int) -> np.ndarray:
    return np.asarray(gray.resize((width, height), Image.Resampling.LANCZOS), np.int16)
