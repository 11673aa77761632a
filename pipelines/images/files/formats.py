"""Reads what an image file holds, and converts what the graph cannot read to PNG.

This is the Python side of decoding, based on Pillow: it finds format, size and conversions from the content of a file.
`decode.py` is the other side, with TensorFlow ops only. The limits bound the time and memory of reading a header,
whatever the file claims: see `bounded_header.py`.

Policies, applied and counted:
  EXIF orientation   applied (JPEG, PNG, WebP in the graph; others by `canonical`)
  alpha              composited over `background`
  gray, palette      repeated into, or looked up as, RGB
  16 bit             value / 257, rounded (65535 -> 255): the full range is kept, nothing saturates; or the values of
                     `SourcePolicy.value_range` become 0..255
  colour profile     an image with an ICC profile that is not sRGB is converted to sRGB by `canonical`
  CMYK               by its profile; without one R = C * K / 255 on Adobe's inverted values
  animation          the first frame
  cut-off JPEG       a reject, or by `canonical` with its missing part filled
  bands of a TIFF    those that `SourcePolicy.bands` names are read as plain numbers; `canonical` puts them one below
                     another in a gray PNG
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from pipelines.core import pixels as pixel_forms
from pipelines.core.elements import IMAGE_FORMATS, Header
from pipelines.images.files import bounded_header, color_profile, exif, file_kinds, tiff_bands
from pipelines.images.limits import Limits
from pipelines.images.source_policy import DEFAULT, SourcePolicy

FORMATS = IMAGE_FORMATS
_OWN_RANGE = ("PPM", "JPEG2000")  # they state their depth, and Pillow brings it to 16 bits
_OWN_FORMATS = tuple(name for name in FORMATS if name != "HEIF")  # those that Pillow reads itself
WEBP_ANIMATION = 0x02  # the flag in byte 20 of an extended WebP (RFC 9649, 2.7)
MAX_PIXELS, MAX_FRAMES = Limits.max_pixels, Limits.max_frames
_GRAPH_FORMATS = ("JPEG", "PNG", "WEBP")
_BAND = 1 << 18  # pixels divided at a time
_PILLOWS_TEXT_LIMITS = ("Decompressed data too large", "Too much memory used in text chunks")
_GIVE_RANGE = ": give --bit-depth LOW..HIGH, or --bit-depth data."
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_CONVERTED, _BROKEN, _FILLED = "color-profile", "broken-profile", "truncated"
_SCAN_OF_JPEG, _END_OF_JPEG = b"\xff\xda", b"\xff\xd9"
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")


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


class ImageError(ValueError):
    """Says that an image cannot be used.

    `reason` is a short stable word, the message is a sentence.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def read_header(
    data: bytes, max_pixels: int = MAX_PIXELS, max_frames: int = MAX_FRAMES, policy: SourcePolicy = DEFAULT
) -> Header:
    """Reads the format, size and policies of an image, without decoding its pixels.

    The format is found from the content and not from a file name.

    Raises:
      ImageError: the file is empty, not one of FORMATS, has a broken header, or exceeds a limit.

    Example:
      >>> import io
      >>> from PIL import Image
      >>> file = io.BytesIO()
      >>> Image.new("L", (4, 3)).save(file, "PNG")
      >>> header = read_header(file.getvalue())
      >>> header.format, header.width, header.height, header.conversions
      ('png', 4, 3, ('gray',))
    """
    if policy.bands:
        return _bands_header(data, max_pixels, max_frames, policy)[0]
    return opened(data, max_pixels, max_frames, policy)[0]


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
    image = _open(lean, max_pixels)
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
    _check_frames(frames, max_frames)
    animated = format_ != "JPEG" and frames > 1
    profile = _profile(image, policy)
    conversions = (
        *_conversions(image, orientation, animated),
        *([profile] if profile else []),
        *([_FILLED] if filled else []),
    )
    moving_webp = data[12:16] == b"VP8X" and bool(data[20:21] and data[20] & WEBP_ANIMATION)  # may have only one frame
    moving = animated or (format_ == "WEBP" and moving_webp)
    in_graph = format_ in _GRAPH_FORMATS and not moving and profile != _CONVERTED and not filled
    return Header(format_.lower(), width, height, orientation, conversions, in_graph), image


def is_cut_off(data: bytes) -> bool:
    """Tells whether a JPEG ends before its last scan does.

    In the data of a scan a byte 0xFF is followed by another one than 0xD9 (ITU-T T.81, B.1.1.5).
    """
    return data[:3] == b"\xff\xd8\xff" and data.rfind(_END_OF_JPEG) < data.rfind(_SCAN_OF_JPEG)


def canonical(
    data: bytes, max_pixels: int = MAX_PIXELS, max_frames: int = MAX_FRAMES, policy: SourcePolicy = DEFAULT
) -> bytes:
    """Converts an image of any of FORMATS to bytes that the graph reads.

    Bytes that the graph reads as they are meant stay unchanged. Another image becomes a PNG, without loss: its first
    frame, upright, with 8 bits per channel, in sRGB if its profile is of another space.

    Raises:
      ImageError: as in `read_header`, or the pixels cannot be decoded.

    Example:
      >>> import io
      >>> from PIL import Image
      >>> file = io.BytesIO()
      >>> Image.new("RGB", (4, 3)).save(file, "BMP")
      >>> png = canonical(file.getvalue())
      >>> read_header(png).format
      'png'
      >>> canonical(png) == png
      True
    """
    if policy.bands:
        pixels = band_pixels(data, max_pixels, max_frames, policy)
        return as_png(Image.fromarray(pixel_forms.stacked(pixels)[..., 0]))
    header, image = opened(data, max_pixels, max_frames, policy)
    return data if header.in_graph else as_png(_decoded(header, image, policy))


def decoded(data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy) -> Image.Image:
    """Returns the picture that `canonical` makes a PNG of: L, LA, RGB or RGBA.

    Raises:
      ImageError: as `canonical`.
    """
    return _decoded(*opened(data, max_pixels, max_frames, policy), policy)


def as_png(image: Image.Image) -> bytes:
    """Returns a picture as the bytes of a PNG."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def band_pixels(data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy) -> np.ndarray:
    """Returns the bands of a TIFF that the policy names, upright: uint8 (h, w, C).

    Raises:
      ImageError: as `canonical`, or the file is no TIFF or has not these bands.
    """
    header, values = _band_values(data, max_pixels, max_frames, policy)
    if values.dtype != np.uint8:
        rows, ends = max(1, _BAND // (values.shape[1] * values.shape[2])), policy.value_range
        parts = [values[top : top + rows] for top in range(0, len(values), rows)]
        values = np.concatenate([divided(p) if ends is None else stretched(p, *ends) for p in parts])
    if header.orientation >= 5:
        values = values.transpose(1, 0, 2)
    values = values[::-1] if header.orientation in (3, 4, 7, 8) else values
    values = values[:, ::-1] if header.orientation in (2, 3, 6, 7) else values
    return np.ascontiguousarray(values)


def _check_frames(frames: int, max_frames: int) -> None:
    if frames > max_frames:
        raise ImageError("too-many-frames", f"It has more than the allowed {max_frames} frames (--max-frames).")


def _bands_header(
    data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy
) -> tuple[Header, tiff_bands.Bands]:
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
    if width * height > max_pixels or decoded > max(max_pixels, MAX_PIXELS):
        raise ImageError(
            "too-many-pixels",
            f"{width}x{height} with {bands.samples} bands is more than the allowed {max_pixels} pixels. Of interleaved "
            "bands each counts, if these are more than 64M.",
        )
    _check_frames(frames, max_frames)
    found = {
        "exif-orientation": bands.orientation != 1, "first-frame": frames > 1, "bands": True, "16-bit": bands.bits > 8,
    }  # fmt: skip
    if bands.orientation >= 5:
        width, height = height, width
    conversions = tuple(name for name, applies in found.items() if applies)
    return Header("tiff", width, height, bands.orientation, conversions, False), bands


def _band_values(data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy) -> tuple[Header, np.ndarray]:
    """Returns the header and the stored values (h, w, C) of the chosen bands."""
    header, bands = _bands_header(data, max_pixels, max_frames, policy)
    chosen = policy.bands
    try:
        image = _open(tiff_bands.single(data, bands, chosen), max_pixels)
        pages = []
        for page in range(len(chosen) if bands.planar else 1):
            image.seek(page)
            pages.append(np.concatenate(list(_bands(image))))
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


def extremes(
    data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy = DEFAULT
) -> tuple[float, float] | None:
    """Returns the least and the greatest value of a deep gray image.

    Of bands that the policy names, all values count.

    It is None for another image, for one without a finite value, and for a format that states its own range.

    Raises:
      ImageError: the pixels cannot be decoded.
    """
    if policy.bands:
        values = _finite(_band_values(data, max_pixels, max_frames, policy)[1])
        return (float(values.min()), float(values.max())) if values.size else None
    header, image = opened(data, max_pixels, max_frames)
    if image.mode not in _DEEP_MODES or image.format in _OWN_RANGE:
        return None
    try:
        image.seek(0)
        ends = [(values.min(), values.max()) for values in map(_finite, _bands(image)) if values.size]
    except MemoryError:
        raise
    except Exception as e:  # decoders raise almost any exception on damaged data
        raise ImageError("undecodable", f"{header.format}: {type(e).__name__}: {e}") from e
    finally:
        image.close()
    return (float(min(low for low, _ in ends)), float(max(high for _, high in ends))) if ends else None


def _finite(values: np.ndarray) -> np.ndarray:
    finite: np.ndarray = values[np.isfinite(values)]
    return finite


def _decoded(header: Header, image: Image.Image, policy: SourcePolicy) -> Image.Image:
    if policy.value_range is not None and _loses_depth(image):
        raise ImageError(
            "unsupported-pixels",
            "Only 8 of the 16 bits of this colour image can be read, so --bit-depth cannot be applied. Convert it to "
            "PNG without a colour profile first.",
        )
    try:
        image.seek(0)
        image.load()
        made = turned(as_meant(image, header, policy), header)
        return made.copy() if made is image else made  # `close` below would take its pixels away
    except (ImageError, MemoryError):
        raise
    except Exception as e:  # decoders raise almost any exception on damaged data
        raise ImageError("undecodable", f"{header.format}: {type(e).__name__}: {e}") from e
    finally:
        image.close()  # a TIFF is in a reference cycle: its pixels would stay until the next garbage collection


def as_meant(image: Image.Image, header: Header, policy: SourcePolicy) -> Image.Image:
    """Returns an image as L, LA, RGB or RGBA, in sRGB if its header says so.

    Raises:
      ImageError: as `eight_bit`.
    """
    ends = None if image.format in _OWN_RANGE else policy.value_range
    if _CONVERTED not in header.conversions:
        return eight_bit(image, ends)
    icc = image.info["icc_profile"]
    converted = color_profile.to_srgb(image if image.mode == "CMYK" else eight_bit(image, ends), icc)
    del converted.info["icc_profile"]  # Pillow would write that of sRGB into the PNG
    return converted


def turned(image: Image.Image, header: Header) -> Image.Image:
    """Returns a picture upright.

    That of a TIFF is upright already: Pillow turns it while it loads it.
    """
    return image if header.orientation == 1 or header.format == "tiff" else image.transpose(_TURNS[header.orientation])


def _profile(image: Image.Image, policy: SourcePolicy) -> str:
    """Returns _CONVERTED or _BROKEN if an image has such a profile, else ""."""
    try:
        return _CONVERTED if policy.color_profile == "srgb" and color_profile.is_other(image) else ""
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


def _open(data: bytes, max_pixels: int) -> Image.Image:
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
        "gray": mode in ("1", "L", "LA", *_DEEP_MODES),
        "cmyk": mode == "CMYK",
        "16-bit": mode in _DEEP_MODES or (image.format == "PNG" and _png_depth(image) == 16),
    }
    return tuple(name for name, applies in found.items() if applies)


def _png_depth(image: Image.Image) -> int:
    stream = getattr(image, "fp", None)
    if stream is None:
        return 8
    position = stream.tell()
    stream.seek(24)
    depth = stream.read(1)
    stream.seek(position)
    return depth[0] if depth else 8


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
    if image.mode in _DEEP_MODES:
        bands = _bands(image)
        reduced = map(divided, bands) if value_range is None else (stretched(b, *value_range) for b in bands)
        return Image.fromarray(np.concatenate(list(reduced)))
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return image if "transparency" not in image.info else image.convert("RGBA")
    return image.convert("RGBA" if "transparency" in image.info or image.mode in ("PA", "La", "RGBa") else "RGB")


def _loses_depth(image: Image.Image) -> bool:
    """Tells whether Pillow reads only the upper 8 of 16 bits of an image."""
    if image.mode in _DEEP_MODES:
        return False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return bool(max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))) > 8)
    return image.format == "PNG" and _png_depth(image) == 16


def _bands(image: Image.Image) -> Iterator[np.ndarray]:
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
    rows = max(1, _BAND // width)
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
