"""Reads the values of chosen bands of a TIFF or a PNG.

`SourcePolicy.bands` names them. Programs write near infrared as the alpha of either.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipelines.core.elements import Header
from pipelines.core.text import plural
from pipelines.images.files import bounded_header, tiff_bands
from pipelines.images.files.deep_pixels import DEEP_MODES, STRIP, deep_rows, divided, png_depth, stretched
from pipelines.images.files.image_error import ImageError
from pipelines.images.files.opening import check_frames, open_with_pillow, opened
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy

_PLAIN_MODES, _BITS = ("L", "LA", "RGB", "RGBA"), 8
MOST_SAMPLES = Limits.max_pixels  # values of interleaved bands, which are decoded together


def band_pixels(data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy) -> np.ndarray:
    """Returns the bands of a file that the policy names, upright: uint8 (h, w, C).

    Raises:
      ImageError: as `canonical`, or the file is no TIFF and no PNG, or has not these bands.
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


def bands_header(data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy) -> Header:
    """Returns the header of a file of bands.

    Raises:
      ImageError: as `band_pixels`.
    """
    if tiff_bands.is_tiff(data):
        return _of_tiff(data, max_pixels, max_frames, policy)[0]
    header, image = _of_png(data, max_pixels, max_frames, policy)
    image.close()
    return header


def _of_png(data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy) -> tuple[Header, Image.Image]:
    """Returns the header of a PNG of bands, and the opened picture."""
    header, image = opened(data, max_pixels, max_frames)  # what is no image is named as ever
    samples = len(image.getbands())
    why = ""
    if header.format != "png":
        why = f"--bands reads TIFF and PNG files, and this is a file of the format {header.format.upper()}."
    elif image.mode not in (*_PLAIN_MODES, *DEEP_MODES):
        why = "--bands reads plain numbers. Its pixels are a palette, or have one bit."
    elif image.mode in _PLAIN_MODES and png_depth(image) > _BITS:
        why = "Of a PNG in colours with 16 bits --bands reads no bands. Save it as TIFF, or with 8 bits."
    elif max(policy.bands) > samples:
        why = f"It has {plural(samples, 'band')}, and --bands names number {max(policy.bands)}."
    if why:
        image.close()
        raise ImageError("unsupported-pixels", why)
    kept = [name for name in header.conversions if name in ("exif-orientation", "first-frame", "16-bit")]
    return header._replace(conversions=(*kept, "bands"), in_graph=False), image


def _of_tiff(data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy) -> tuple[Header, tiff_bands.Bands]:
    """Returns the header of a TIFF of bands, and how its values are stored."""
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
    if not tiff_bands.is_tiff(data):
        return _values_of_png(data, max_pixels, max_frames, policy)
    header, bands = _of_tiff(data, max_pixels, max_frames, policy)
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


def _values_of_png(data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy) -> tuple[Header, np.ndarray]:
    header, image = _of_png(data, max_pixels, max_frames, policy)
    try:
        image.seek(0)
        image.load()
        values = np.concatenate(list(deep_rows(image))) if image.mode in DEEP_MODES else np.asarray(image)
    except (ImageError, MemoryError):
        raise
    except Exception as e:  # decoders raise almost any exception on damaged data
        raise ImageError("undecodable", f"png: {type(e).__name__}: {e}") from e
    finally:
        image.close()
    values = values.reshape(*values.shape[:2], -1)
    return header, values[..., [band - 1 for band in policy.bands]]


def _summed(values: np.ndarray, bands: tiff_bands.Bands) -> np.ndarray:
    """Undoes the differences of TIFF 6.0, section 14; each row of a tile begins anew."""
    whole = values.astype({8: np.uint8, 16: np.uint16, 32: np.uint32}[bands.bits])
    for left in range(0, bands.width, bands.tile_width):
        part = whole[:, left : left + bands.tile_width]
        np.cumsum(part, axis=1, dtype=whole.dtype, out=part)
    signed = bands.bits > 8 and tiff_bands.is_signed(bands)
    return whole.view({16: np.int16, 32: np.int32}[bands.bits]) if signed else whole
