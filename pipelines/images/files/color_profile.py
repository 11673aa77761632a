"""Converts images with an embedded ICC profile to sRGB.

LittleCMS does it (Pillow's ImageCms). A profile counts as sRGB by what it does and not by its name: many profiles of
sRGB differ in their bytes, and names are no proof. The intent is relative colorimetric, with black point compensation.
"""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageCms

# Levels of 0..255. LittleCMS makes differences of 1 with the profile of sRGB itself.
_SAME = 2
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # signature of the colour space -> mode of Pillow
_GRAY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")


class ProfileError(ValueError):
    """Says that a profile is broken, or is of another colour space than the image."""


def is_other(image: Image.Image) -> bool:
    """Tells whether an image has a profile whose colours are not those of sRGB.

    Raises:
      ProfileError: the profile cannot be used.
    """
    icc = image.info.get("icc_profile")
    if not icc:
        return False
    if not isinstance(icc, bytes):
        raise ProfileError("The profile is no sequence of bytes.")
    space, differs = _read(icc)
    gray, cmyk = image.mode in _GRAY_MODES, image.mode == "CMYK"
    # Gray pixels with the profile of an RGB space are pixels of equal red, green and blue.
    if (space == "CMYK") != cmyk or (space == "L" and not gray):
        raise ProfileError(f"The profile is for {space} pixels, and the image has {image.mode} pixels.")
    return differs


def to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """Returns an image in sRGB, as RGB or RGBA. It may change the given one.

    Args:
      image: L, LA, RGB, RGBA or CMYK, of the profile's colour space, or gray with a profile of an RGB space.
      icc: the profile, for which `is_other` holds.
    """
    space, _ = _read(icc)
    if space == "RGB":
        mode = "RGBA" if "A" in image.mode else "RGB"
        pixels = image if image.mode == mode else image.convert(mode)
        return _transform(icc, mode).apply_in_place(pixels)  # LittleCMS leaves alpha as it is
    if image.mode != "LA":
        return _transform(icc, space).apply(image)
    gray, alpha = image.split()
    converted = _transform(icc, space).apply(gray)
    converted.putalpha(alpha)
    return converted


@functools.lru_cache(maxsize=16)
def _read(icc: bytes) -> tuple[str, bool]:
    """Returns the mode of a profile's pixels, and whether it differs from sRGB.

    Raises:
      ProfileError: the profile cannot be used.
    """
    try:
        signature = str(ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile.xcolor_space).strip()
    except (OSError, ValueError, ImageCms.PyCMSError) as e:
        raise ProfileError(f"The profile cannot be read: {e}") from e
    if signature not in _SPACES:
        raise ProfileError(f"The profile is for the colour space {signature!r}.")
    space = _SPACES[signature]
    transform = _transform(icc, space)
    if space == "CMYK":
        return space, True
    levels = np.arange(256, dtype=np.uint8) if space == "L" else np.arange(0, 256, 15, dtype=np.uint8)
    grid = levels[None] if space == "L" else np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    converted = np.asarray(transform.apply(Image.fromarray(grid))).astype(int)
    return space, bool(np.abs(converted - grid.reshape(1, -1, grid.shape[-1] if space == "RGB" else 1)).max() > _SAME)


@functools.lru_cache(maxsize=8)  # that of a CMYK profile takes megabytes
def _transform(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    """Returns the transform to sRGB of pixels of a mode; those of RGBA stay RGBA.

    Raises:
      ProfileError: the profile lacks what it takes.
    """
    try:
        return ImageCms.ImageCmsTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(icc)),
            _srgb(),
            mode,
            "RGBA" if mode == "RGBA" else "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, ValueError, ImageCms.PyCMSError) as e:
        raise ProfileError(f"The profile cannot be used: {e}") from e


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
