"""Opens image files of strangers with Pillow, within limits.

It finds format, size and conversions from the content of a file. The limits bound the time and memory of reading a
header, whatever the file claims: see `bounded_header.py`.
"""

from __future__ import annotations

import functools
import io
import warnings

from PIL import Image, UnidentifiedImageError

from pipelines.core.elements import IMAGE_FORMATS, Header
from pipelines.images.files import bounded_header, color_profile, exif, file_kinds, tiff_bands
from pipelines.images.files.deep_pixels import DEEP_MODES, png_depth
from pipelines.images.files.image_error import ImageError
from pipelines.images.source_policy import DEFAULT, SourcePolicy

FORMATS = IMAGE_FORMATS
WEBP_ANIMATION = 0x02  # the flag in byte 20 of an extended WebP (RFC 9649, 2.7)
CONVERTED, _BROKEN, _FILLED = "color-profile", "broken-profile", "truncated"
_OWN_FORMATS = tuple(name for name in FORMATS if name != "HEIF")  # those that Pillow reads itself
_GRAPH_FORMATS = ("JPEG", "PNG", "WEBP")
_PILLOWS_TEXT_LIMITS = ("Decompressed data too large", "Too much memory used in text chunks")
_SCAN_OF_JPEG, _END_OF_JPEG = b"\xff\xda", b"\xff\xd9"


def allow_pixels(max_pixels: int) -> None:
    """Makes Pillow open images of up to `max_pixels` pixels.

    It changes the whole process, so only our own worker processes call it. Otherwise Pillow refuses images of more than
    twice `PIL.Image.MAX_IMAGE_PIXELS`, which is 89 million pixels by default.
    """
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels


def silence_pillow() -> None:
    """Hides Pillow's warnings of damaged metadata and of sizes that we limit.

    It changes the whole process, so only our programs and workers call it. `warnings.catch_warnings` around each call
    would not do: it is not safe in threads.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


def opened(data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy = DEFAULT) -> tuple[Header, Image.Image]:
    """Returns the header and the opened picture, whose pixels are not decoded yet.

    This is the only place where Pillow gets the bytes of a stranger: one of FORMATS, and trimmed by `bounded_header`.
    Of a GIF, the picture holds only the first frame. A JPEG with many EXIF segments has lost them; the header has the
    orientation.

    Raises:
      ImageError: as `read_header`.
    """
    if not data:
        raise ImageError("empty", "The file is empty.")
    filled = policy.truncated == "fill" and is_cut_off(data)
    if filled:
        data += _END_OF_JPEG  # libjpeg then fills what is missing
    try:
        lean, frames = bounded_header.slim(data, max_pixels, max_frames)
    except bounded_header.TooMuchError as e:
        raise ImageError(e.reason, str(e)) from e
    image = open_with_pillow(lean, max_pixels)
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError("broken-header", f"The header says {width}x{height} pixels.")
    if width * height > max_pixels:
        raise ImageError("too-many-pixels", f"{width}x{height} is more than the allowed {max_pixels} pixels.")
    format_ = "JPEG" if image.format == "MPO" else str(image.format)
    orientation = exif.read_orientation(data, format_) if format_ in _GRAPH_FORMATS else _pillow_orientation(image)
    if orientation >= 5 and format_ != "TIFF":  # Pillow reports a TIFF's size with the orientation applied
        width, height = height, width
    if format_ in ("PNG", "WEBP", "AVIF", "HEIF"):  # their headers state the number; Pillow does not walk the frames
        frames = int(getattr(image, "n_frames", 1))
    check_frames(frames, max_frames)
    animated = format_ != "JPEG" and frames > 1
    profile = _profile(image, policy)
    conversions = (
        *_conversions(image, orientation, animated),
        *([profile] if profile else []),
        *([_FILLED] if filled else []),
    )
    moving_webp = data[12:16] == b"VP8X" and bool(data[20:21] and data[20] & WEBP_ANIMATION)  # may have only one frame
    moving = animated or (format_ == "WEBP" and moving_webp)
    in_graph = format_ in _GRAPH_FORMATS and not moving and profile != CONVERTED and not filled
    return Header(format_.lower(), width, height, orientation, conversions, in_graph), image


def is_cut_off(data: bytes) -> bool:
    """Tells whether a JPEG ends before its last scan does.

    In the data of a scan a byte 0xFF is followed by another one than 0xD9 (ITU-T T.81, B.1.1.5).
    """
    return data[:3] == b"\xff\xd8\xff" and data.rfind(_END_OF_JPEG) < data.rfind(_SCAN_OF_JPEG)


def check_frames(frames: int, max_frames: int) -> None:
    """Raises ImageError if there are more frames than allowed."""
    if frames > max_frames:
        raise ImageError("too-many-frames", f"It has more than the allowed {max_frames} frames (--max-frames).")


def _profile(image: Image.Image, policy: SourcePolicy) -> str:
    """Returns CONVERTED or _BROKEN if an image has such a profile, else ""."""
    try:
        return CONVERTED if policy.color_profile == "srgb" and color_profile.is_other(image) else ""
    except color_profile.ProfileError:
        return _BROKEN


@functools.cache
def _reads_heif() -> bool:
    """Makes Pillow read HEIC and HEIF; tells whether pillow-heif is there."""
    try:
        import pillow_heif
    except ModuleNotFoundError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False)
    return True


def open_with_pillow(data: bytes, max_pixels: int) -> Image.Image:
    """Returns the opened picture of trimmed bytes, whose pixels are not decoded yet.

    Raises:
      ImageError: the bytes are not one of FORMATS, or Pillow refuses them.
    """
    heif = file_kinds.is_heif(data)
    if heif and not _reads_heif():
        raise ImageError(
            "not-an-image", "It is a HEIC or HEIF photograph, which needs pillow-heif: pip install 'shardmill[heif]'."
        )
    if file_kinds.is_raw_photograph(data):
        raise ImageError("not-an-image", file_kinds.sentence(data))
    try:
        return Image.open(io.BytesIO(data), formats=("HEIF",) if heif else _OWN_FORMATS)
    except Image.DecompressionBombError as e:
        raise ImageError("too-many-pixels", f"More than the allowed {max_pixels} pixels: {e}") from e
    except MemoryError:
        raise
    except Exception as e:
        if any(sentence in str(e) for sentence in _PILLOWS_TEXT_LIMITS):
            raise ImageError("too-much-metadata", f"{e} (in a text chunk or a profile).") from e
        # Pillow's own message for this contains a memory address, and rejects should be the same in every run.
        why = "" if isinstance(e, UnidentifiedImageError) else f": {type(e).__name__}: {e}"
        named = "It is a damaged HEIC or HEIF photograph." if heif else file_kinds.sentence(data)
        bands = tiff_bands.number(data)
        if bands > 1:
            named = (
                f"It is a TIFF of {bands} bands in a form that is no picture. Say which of them are the channels: "
                "--bands 4,3,2, or --bands 1."
            )
        raise ImageError("not-an-image", named or f"Not one of {', '.join(FORMATS)}{why}") from e


def _pillow_orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(exif.TAG, 1)
    except Exception:  # Pillow raises many exceptions on damaged EXIF; the picture then counts as upright
        return 1
    return int(value) if value in range(1, 9) else 1


def _conversions(image: Image.Image, orientation: int, animated: bool) -> tuple[str, ...]:
    mode = image.mode
    found = {
        "exif-orientation": orientation != 1,
        "first-frame": animated,
        "alpha": "A" in mode or "transparency" in image.info,
        "palette": mode in ("P", "PA"),
        "gray": mode in ("1", "L", "LA", *DEEP_MODES),
        "cmyk": mode == "CMYK",
        "16-bit": mode in DEEP_MODES or (image.format == "PNG" and png_depth(image) == 16),
    }
    return tuple(name for name, applies in found.items() if applies)
