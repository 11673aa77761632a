"""Draws the contact sheet: source and stored images in pairs, with captions.

It uses Pillow only.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipelines import storage
from pipelines.core.elements import IMAGE_FORMATS
from pipelines.core.text import printable

TILE = 128  # width and height of each picture, in pixels
GAP = 8
CAPTION = 30  # two lines of text under a pair
MAX_SOURCE_BYTES = 256 << 20
MAX_SOURCE_PIXELS = 64 << 20
PAPER, MISSING, INK, SOFT = (252, 252, 251), (200, 204, 206), (28, 33, 36), (86, 96, 102)


@dataclasses.dataclass(frozen=True)
class Entry:
    """Holds one line of the ledger: the source of record `index` of shard `file`."""

    file: str
    index: int
    key: str
    uri: str
    label: str
    copy: int


def draw(pairs: Sequence[tuple[Entry, np.ndarray]], columns: int, title: str = "") -> Image.Image:
    """Draws a sheet of pairs, row by row.

    A source that is missing or cannot be read becomes a gray tile that says so.

    Args:
      pairs: The ledger entry and the stored image, uint8 (H, W, 3), of each record.
      columns: Number of pairs per row.
      title: Text to write at the top of a sheet without pairs.
    """
    rows = max(1, -(-len(pairs) // columns))
    width, height = 2 * TILE + 3 * GAP, TILE + CAPTION + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), PAPER)
    for i, (entry, stored) in enumerate(pairs):
        _paste_pair(sheet, (GAP + i % columns * width, GAP + i // columns * height), entry, stored)
    _write(sheet, (GAP, GAP), title, INK)
    return sheet


def load_source(uri: str) -> Image.Image | str:
    """Loads the source picture as RGB, with its EXIF orientation applied.

    Returns:
      The picture, or two or three words that say why there is none.
    """
    try:
        data = storage.read_input(uri, MAX_SOURCE_BYTES)
    except OSError:
        return "source missing"
    try:
        image = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
        if image.width * image.height > MAX_SOURCE_PIXELS:
            return "source too large"
        image.draft("RGB", (2 * TILE, 2 * TILE))  # JPEG: decodes at a reduced size where possible
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright.convert("RGBA"))
        return upright.convert("RGB")
    except Exception:  # Pillow raises almost any type for damaged data
        return "source unreadable"


def _paste_pair(sheet: Image.Image, at: tuple[int, int], entry: Entry, stored: np.ndarray) -> None:
    x, y = at
    picture = load_source(entry.uri)
    if isinstance(picture, str):
        sheet.paste(MISSING, (x, y, x + TILE, y + TILE))
        _write(sheet, (x + 8, y + TILE // 2 - 6), picture, INK)
    else:
        _paste(sheet, (x, y), picture, Image.Resampling.LANCZOS)
    # Small images are enlarged without smoothing, so that the sheet shows exactly the stored pixels.
    smooth = max(stored.shape[:2]) > TILE
    filter_ = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    _paste(sheet, (x + TILE + GAP, y), Image.fromarray(stored), filter_)
    _write(sheet, (x, y + TILE + 2), f"{entry.label}, {f'copy {entry.copy}' if entry.copy else 'original'}", INK)
    _write(sheet, (x, y + TILE + 15), entry.uri.rsplit("/", 1)[-1], SOFT)


def _paste(sheet: Image.Image, at: tuple[int, int], picture: Image.Image, filter_: Image.Resampling) -> None:
    fitted = ImageOps.contain(picture, (TILE, TILE), filter_)
    sheet.paste(fitted, (at[0] + (TILE - fitted.width) // 2, at[1] + (TILE - fitted.height) // 2))


def _write(sheet: Image.Image, at: tuple[int, int], text: str, color: tuple[int, int, int]) -> None:
    """Writes one line of text, cut to the width of a pair."""
    font = ImageFont.load_default(11)
    text = printable(text)[:80]
    while len(text) > 4 and font.getlength(text) > 2 * TILE + GAP:
        text = text[:-4] + "…"
    ImageDraw.Draw(sheet).text(at, text, color, font)
