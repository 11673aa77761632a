"""Tells which flip or turn of an image was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

ALIKE = 0.9  # correlation of an image with what a flip made of another, up to brightness and contrast
CLEARLY = 0.05  # by which a flip must fit better than the image as it is; symmetric images tell nothing

# Each takes images (..., H, W, C) and returns views.
FLIPS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored": lambda image: image[..., :, ::-1, :],
    "upside down": lambda image: image[..., ::-1, :, :],
    "turned by 180 degrees": lambda image: image[..., ::-1, ::-1, :],
    "turned by 90 degrees": lambda image: np.rot90(image, 1, (-3, -2)),
    "turned by 270 degrees": lambda image: np.rot90(image, 3, (-3, -2)),
}


def which(before: np.ndarray, after: np.ndarray) -> str:
    """Returns the flip that made an image (H, W, C) of another one.

    It is "" where the image is as it was, or was changed in another way. Brightness and contrast do not matter.
    """
    if before.shape != after.shape or before.ndim != 3:
        return ""
    least = max(ALIKE, correlation(before, after) + CLEARLY)
    fits = {name: correlation(flip(before), after) for name, flip in FLIPS.items()}
    best = max(fits, key=lambda name: fits[name])
    return best if fits[best] >= least else ""


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the correlation of all values.

    It is 0 for unlike shapes, and 1 for two constant images.
    """
    if a.shape != b.shape:
        return 0.0
    x, y = (part.astype(np.float64).ravel() - part.mean(dtype=np.float64) for part in (a, b))
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float(not x.any() and not y.any())
