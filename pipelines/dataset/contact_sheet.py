"""The contact sheet: pairs of pictures, source beside stored, with their captions. Pillow only."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipelines import storage
from pipelines.core.text import printable

TILE = 128  # pixels a side of each picture
GAP = 8
CAPTION = 30  # two lines of text under a pair
MAX_SOURCE_BYTES = 256 << 20
MAX_SOURCE_PIXELS = 64 << 20
PAPER, MISSING, INK, SOFT = (252, 252, 251), (200, 204, 206), (28, 33, 36), (86, 96, 102)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of the ledger: where record `index` of shard `file` came from."""

    file: str
    index: int
    key: str
    uri: str
    label: str
    copy: int


def draw(pairs: Sequence[tuple[Entry, np.ndarray]], columns: int, title: str = "") -> Image.Image:
    """A sheet of pairs, row by row, `columns` to a row; stored images are uint8 (H, W, 3). `title` stands in for none.

    A source that is gone or cannot be read is a gray tile that says so.
    """
    rows = max(1, -(-len(pairs) // columns))
    width, height = 2 * TILE + 3 * GAP, TILE + CAPTION + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), PAPER)
    for i, (entry, stored) in enumerate(pairs):
        _paste_pair(sheet, (GAP + i % columns * width, GAP + i // columns * height), entry, stored)
    _write(sheet, (GAP, GAP), title, INK)
    return sheet


def load_source(uri: str) -> Image.Image | str:
    """The source picture as RGB, EXIF orientation applied; or why there is none, in two words."""
    try:
        data = storage.read_input(uri, MAX_SOURCE_BYTES)
    except OSError:
        return "source missing"
    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_SOURCE_PIXELS:
            return "source too large"
        image.draft("RGB", (2 * TILE, 2 * TILE))  # JPEG: decode no larger than is shown
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright.convert("RGBA"))
        return upright.convert("RGB")
    except Exception:  # Pillow raises nearly anything on damaged data
        return "source unreadable"


def _paste_pair(sheet: Image.Image, at: tuple[int, int], entry: Entry, stored: np.ndarray) -> None:
    x, y = at
    picture = load_source(entry.uri)
    if isinstance(picture, str):
        sheet.paste(MISSING, (x, y, x + TILE, y + TILE))
        _write(sheet, (x + 8, y + TILE // 2 - 6), picture, INK)
    else:
        _paste(sheet, (x, y), picture, Image.Resampling.LANCZOS)
    # Small images are enlarged without smoothing: what is seen is what is stored.
    smooth = max(stored.shape[:2]) > TILE
    filter_ = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    _paste(sheet, (x + TILE + GAP, y), Image.fromarray(stored), filter_)
    _write(sheet, (x, y + TILE + 2), f"{entry.label}, {f'copy {entry.copy}' if entry.copy else 'original'}", INK)
    _write(sheet, (x, y + TILE + 15), entry.uri.rsplit("/", 1)[-1], SOFT)


def _paste(sheet: Image.Image, at: tuple[int, int], picture: Image.Image, filter_: Image.Resampling) -> None:
    fitted = ImageOps.contain(picture, (TILE, TILE), filter_)
    sheet.paste(fitted, (at[0] + (TILE - fitted.width) // 2, at[1] + (TILE - fitted.height) // 2))


def _write(sheet: Image.Image, at: tuple[int, int], text: str, color: tuple[int, int, int]) -> None:
    """One line of text, cut to the width of a pair."""
    font = ImageFont.load_default(11)
    text = printable(text)[:80]
    while len(text) > 4 and font.getlength(text) > 2 * TILE + GAP:
        text = text[:-4] + "…"
    ImageDraw.Draw(sheet).text(at, text, color, font)
