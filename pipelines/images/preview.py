"""Draws a small picture of an image file, for pages and for sheets.

It opens the file as `prepare` does and costs what the picture costs: a comment or a profile of megabytes is not read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from PIL import Image

from pipelines.core import pixels as pixel_forms
from pipelines.core.elements import Header
from pipelines.images.files import band_values, formats, opening
from pipelines.images.files.image_error import ImageError
from pipelines.images.limits import Limits
from pipelines.images.source_policy import DEFAULT, SourcePolicy

WHITE = (255, 255, 255)


def draw(
    data: bytes,
    side: int,
    limits: Limits,
    background: tuple[int, int, int] = WHITE,
    stretch: bool = False,
    policy: SourcePolicy = DEFAULT,
) -> tuple[Header, Image.Image]:
    """Returns the header of an image and a small RGB picture of it, upright.

    Args:
      data: the bytes of the file.
      side: the longest side that the picture may have, in pixels. A smaller image is not enlarged.
      background: what shows through transparent pixels.
      stretch: True for a picture of exactly side x side pixels, whatever the ratio of the image's sides.
      policy: how the pixels are understood.

    Raises:
      ImageError: as `formats.read_header`, or the pixels cannot be decoded.
    """
    if policy.bands:
        header = formats.read_header(data, limits.max_pixels, limits.max_frames, policy)
        pixels = band_values.band_pixels(data, limits.max_pixels, limits.max_frames, policy)
        whole = Image.fromarray(pixel_forms.shown(pixels))
        return header, _drawn(header._replace(orientation=1), whole, side, background, stretch)
    with _opened(data, limits, policy) as (header, image):
        meant = formats.as_meant(_reduced(image, side), header, policy)
        return header, _drawn(header, meant, side, background, stretch)


def plain(data: bytes, side: int, limits: Limits, policy: SourcePolicy = DEFAULT) -> Image.Image:
    """Returns a small RGB picture of an image as it looks if no policy is applied.

    Its orientation and its colour profile are ignored, its transparency is left out, and values above 255 are white.

    Args:
      data: the bytes of the file.
      side: the longest side that the picture may have, in pixels.
      policy: how a JPEG that is cut off is read.

    Raises:
      ImageError: as `draw`.
    """
    with _opened(data, limits, policy) as (_, image):
        small = _reduced(image, side)
        small.thumbnail((side, side))
        return small.convert("RGB")


@contextlib.contextmanager
def _opened(data: bytes, limits: Limits, policy: SourcePolicy) -> Iterator[tuple[Header, Image.Image]]:
    """Opens an image for the body, whose errors are an ImageError."""
    header, image = opening.opened(data, limits.max_pixels, limits.max_frames, policy)
    try:
        yield header, image
    except (ImageError, MemoryError):
        raise
    except Exception as e:  # decoders raise almost any exception on damaged data
        raise ImageError("undecodable", f"{header.format}: {type(e).__name__}: {e}") from e
    finally:
        image.close()  # a TIFF is in a reference cycle: its pixels would stay until the next garbage collection


def _reduced(image: Image.Image, side: int) -> Image.Image:
    """Loads the pixels of an image, of a JPEG at a fraction of its size."""
    image.seek(0)
    image.draft("RGB", (2 * side, 2 * side))
    image.load()
    return image


def _drawn(
    header: Header, small: Image.Image, side: int, background: tuple[int, int, int], stretch: bool
) -> Image.Image:
    if stretch:
        small = small.resize((side, side), Image.Resampling.BOX)
    else:
        small.thumbnail((side, side))
    small = formats.turned(small, header)
    if small.mode in ("LA", "RGBA"):
        over = small.convert("RGBA")
        small = Image.alpha_composite(Image.new("RGBA", over.size, (*background, 255)), over)
    return small.convert("RGB")
