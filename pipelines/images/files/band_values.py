"""Reads the values of chosen bands of a TIFF, as `SourcePolicy.bands` names them."""

from __future__ import annotations

import numpy as np

from pipelines.core.elements import Header
from pipelines.images.files import bounded_header, tiff_bands
from pipelines.images.files.deep_pixels import STRIP, deep_rows, divided, stretched
from pipelines.images.files.image_error import ImageError
from pipelines.images.files.opening import check_frames, open_with_pillow, opened
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy

MOST_SAMPLES = Limits.max_pixels  # values of interleaved bands, which are decoded together


def band_pixels(data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy) -> np.ndarray:
    """Returns the bands of a TIFF that the policy names, upright: uint8 (h, w, C).

    Raises:
      ImageError: as `canonical`, or the file is no TIFF or has not these bands.
    """
    header, values = band_values(data, max_pixels, max_frames, policy)
    if values.dtype != np.uint8:
        rows, ends = max(1, STRIP // (values.shape[1] * values.shape[2])), policy.value_range
        parts = [values[top : top + rows] for top in range(0, len(values), rows)]
        values = np.concatenate([divided(p) if ends is None else stretched(p, *ends) for p in parts])
    if header.orientation >= 5:
        values = values.transpose(1, 0, 2)
    values = values[::-1] if header.orientation in (3, 4, 7, 8) else values
    values = values[:, ::-1] if header.orientation in (2, 3, 6, 7) else values
    return np.ascontiguousarray(values)


def bands_header(
    data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy
) -> tuple[Header, tiff_bands.Bands]:
    """Returns the header of a TIFF of bands, and how its values are stored.

    Raises:
      ImageError: as `band_pixels`.
    """
    if not tiff_bands.is_tiff(data):
        other = opened(data, max_pixels, max_frames)[0].format.upper()  # what is no image is named as ever
        raise ImageError("unsupported-pixels", f"--bands reads TIFF files, and this is a file of the format {other}.")
    try:
        _, frames = bounded_header.slim(data, max_pixels, max_frames)
        bands = tiff_bands.describe(data, policy.bands)
    except bounded_header.TooMuchError as e:
        raise ImageError(e.reason, str(e)) from e
    except tiff_bands.BandsError as e:
        raise ImageError("unsupported-pixels", str(e)) from e
    width, height = bands.width, bands.height
    decoded = width * height * (1 if bands.planar else bands.samples)
    if width * height > max_pixels or decoded > max(max_pixels, MOST_SAMPLES):
        raise ImageError(
            "too-many-pixels",
            f"{width}x{height} with {bands.samples} bands is more than the allowed {max_pixels} pixels. Of interleaved "
            "bands each counts, if these are more than 64M.",
        )
    check_frames(frames, max_frames)
    found = {
        "exif-orientation": bands.orientation != 1, "first-frame": frames > 1, "bands": True, "16-bit": bands.bits > 8,
    }  # fmt: skip
    if bands.orientation >= 5:
        width, height = height, width
    conversions = tuple(name for name, applies in found.items() if applies)
    return Header("tiff", width, height, bands.orientation, conversions, False), bands


def band_values(data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy) -> tuple[Header, np.ndarray]:
    """Returns the header and the stored values (h, w, C) of the chosen bands."""
    header, bands = bands_header(data, max_pixels, max_frames, policy)
    chosen = policy.bands
    try:
        image = open_with_pillow(tiff_bands.single(data, bands, chosen), max_pixels)
        pages = []
        for page in range(len(chosen) if bands.planar else 1):
            image.seek(page)
            pages.append(np.concatenate(list(deep_rows(image))))
        image.close()
    except tiff_bands.BandsError as e:
        raise ImageError("unsupported-pixels", str(e)) from e
    except (ImageError, MemoryError):
        raise
    except Exception as e:  # decoders raise almost any exception on damaged data
        raise ImageError("undecodable", f"tiff: {type(e).__name__}: {e}") from e
    if bands.planar:
        return header, np.stack(pages, -1)
    values = pages[0].reshape(bands.height, bands.width, bands.samples)
    if bands.differences:
        values = _summed(values, bands)
    return header, values[..., [band - 1 for band in chosen]]


def _summed(values: np.ndarray, bands: tiff_bands.Bands) -> np.ndarray:
    """Undoes the differences of TIFF 6.0, section 14; each row of a tile begins anew."""
    whole = values.astype({8: np.uint8, 16: np.uint16, 32: np.uint32}[bands.bits])
    for left in range(0, bands.width, bands.tile_width):
        part = whole[:, left : left + bands.tile_width]
        np.cumsum(part, axis=1, dtype=whole.dtype, out=part)
    signed = bands.bits > 8 and tiff_bands.is_signed(bands)
    return whole.view({16: np.int16, 32: np.int32}[bands.bits]) if signed else whole
