"""Reads what an image file holds, and converts what the graph cannot read to PNG.

This is the Python side of decoding, based on Pillow. `graph.decode` is the other side, with TensorFlow ops only.
`opening` opens a file, `deep_pixels` brings its values to 8 bits, `band_values` reads bands of a TIFF or a PNG.

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
  bands              those of a TIFF or a PNG that `SourcePolicy.bands` names are read as plain numbers; `canonical`
                     puts them one below another in a gray PNG
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

from PIL import Image

from pipelines.core import pixels as pixel_forms
from pipelines.core.elements import Header
from pipelines.images.files import color_profile
from pipelines.images.files.band_values import band_pixels, band_values, bands_header
from pipelines.images.files.deep_pixels import DEEP_MODES, OWN_RANGE, deep_rows, eight_bit, finite, loses_depth
from pipelines.images.files.image_error import ImageError
from pipelines.images.files.opening import CONVERTED, opened
from pipelines.images.limits import Limits
from pipelines.images.source_policy import DEFAULT, SourcePolicy

MAX_PIXELS, MAX_FRAMES = Limits.max_pixels, Limits.max_frames
LEVELS_OF_A_BAND = 64  # different values that an alpha has at least, if it is a band of a camera
ENDS_OF_A_BAND = 0.1  # share of its pixels that are 0 or 255 at most
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


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
        return bands_header(data, max_pixels, max_frames, policy)
    return opened(data, max_pixels, max_frames, policy)[0]


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
        values = finite(band_values(data, max_pixels, max_frames, policy)[1])
        return (float(values.min()), float(values.max())) if values.size else None
    header, image = opened(data, max_pixels, max_frames)
    if image.mode not in DEEP_MODES or image.format in OWN_RANGE:
        return None
    with _decoding(header, image):
        image.seek(0)
        ends = [(values.min(), values.max()) for values in map(finite, deep_rows(image)) if values.size]
    return (float(min(low for low, _ in ends)), float(max(high for _, high in ends))) if ends else None


def alpha_varies(data: bytes, max_pixels: int, max_frames: int, policy: SourcePolicy = DEFAULT) -> bool:
    """Tells whether the alpha of a PNG or TIFF varies as a photograph does.

    An alpha that is a mask, with soft edges or without, is 0 or 255 at most pixels. A band of a camera, such as near
    infrared, which a program wrote as alpha, has many levels and is rarely one of these.

    Raises:
      ImageError: the pixels cannot be decoded.
    """
    header, image = opened(data, max_pixels, max_frames, policy)
    with _decoding(header, image):
        if header.format not in ("png", "tiff") or image.mode not in ("LA", "RGBA"):
            return False
        image.seek(0)
        levels = image.getchannel("A").histogram()
    several = sum(count > 0 for count in levels) >= LEVELS_OF_A_BAND
    return several and levels[0] + levels[-1] <= ENDS_OF_A_BAND * sum(levels)


@contextlib.contextmanager
def _decoding(header: Header, image: Image.Image) -> Iterator[None]:
    """Turns what a decoder raises in the body into an ImageError.

    The image is closed at the end.
    """
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as e:  # decoders raise almost any exception on damaged data
        raise ImageError("undecodable", f"{header.format}: {type(e).__name__}: {e}") from e
    finally:
        image.close()  # a TIFF is in a reference cycle: its pixels would stay until the next garbage collection


def _decoded(header: Header, image: Image.Image, policy: SourcePolicy) -> Image.Image:
    if policy.value_range is not None and loses_depth(image):
        raise ImageError(
            "unsupported-pixels",
            "Only 8 of the 16 bits of this colour image can be read, so --bit-depth cannot be applied. Convert it to "
            "PNG without a colour profile first.",
        )
    with _decoding(header, image):
        image.seek(0)
        image.load()
        made = turned(as_meant(image, header, policy), header)
        return made.copy() if made is image else made  # closing the image takes its pixels away


def as_meant(image: Image.Image, header: Header, policy: SourcePolicy) -> Image.Image:
    """Returns an image as L, LA, RGB or RGBA, in sRGB if its header says so.

    Raises:
      ImageError: as `eight_bit`.
    """
    ends = None if image.format in OWN_RANGE else policy.value_range
    if CONVERTED not in header.conversions:
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
