"""Draws the contact sheet: source and stored images in pairs, with captions.

Worker processes open the sources, with a deadline and a limit of memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipelines.core import pixels as pixel_forms
from pipelines.core.text import printable
from pipelines.images import file_reader
from pipelines.images.file_reader import Refused
from pipelines.images.limits import Limits
from pipelines.images.source_policy import DEFAULT, SourcePolicy

TILE = 128  # width and height of each picture, in pixels
GAP = 8
CAPTION = 30  # two lines of text under a pair
LIMITS = Limits(image_timeout=10.0)  # a sheet should not wait a minute for each source that never ends
MISSING_TEXTS = {"missing": "source missing", "too-large": "source too large", "too-many-pixels": "source too large"}
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


def draw(
    pairs: Sequence[tuple[Entry, np.ndarray]], columns: int, title: str = "", policy: SourcePolicy = DEFAULT
) -> Image.Image:
    """Draws a sheet of pairs, row by row.

    A source that is missing or cannot be read becomes a gray tile that says so.

    Args:
      pairs: The ledger entry and the stored image, uint8 (H, W, C), of each record.
      columns: Number of pairs per row.
      title: Text to write at the top of a sheet without pairs.
      policy: How the pixels of the sources are understood.
    """
    rows = max(1, -(-len(pairs) // columns))
    width, height = 2 * TILE + 3 * GAP, TILE + CAPTION + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), PAPER)
    sources = load_sources([entry.uri for entry, _ in pairs], policy)
    for i, ((entry, stored), source) in enumerate(zip(pairs, sources, strict=True)):
        _paste_pair(sheet, (GAP + i % columns * width, GAP + i // columns * height), entry, stored, source)
    _write(sheet, (GAP, GAP), title, INK)
    return sheet


def draw_classes(examples: Mapping[str, Sequence[str]], policy: SourcePolicy = DEFAULT) -> Image.Image:
    """Draws a sheet with a row of source images for each class, by name.

    Args:
      examples: label -> paths of images.
      policy: How the pixels of the images are understood.
    """
    columns = max((len(paths) for paths in examples.values()), default=1)
    sheet = Image.new("RGB", (columns * (TILE + GAP) + GAP, max(1, len(examples)) * (TILE + CAPTION) + GAP), PAPER)
    ordered = sorted(examples.items())
    loaded = iter(load_sources([path for _, paths in ordered for path in paths], policy))
    for row, (label, paths) in enumerate(ordered):
        top = GAP + row * (TILE + CAPTION)
        for column, _ in enumerate(paths):
            _paste_source(sheet, (GAP + column * (TILE + GAP), top), next(loaded))
        _write(sheet, (GAP, top + TILE + 2), label, INK)
    return sheet


def load_sources(uris: Sequence[str], policy: SourcePolicy = DEFAULT) -> list[Image.Image | str]:
    """Loads small RGB pictures of the sources, with their EXIF orientation applied.

    Returns:
      For each source its picture, or two or three words that say why there is none.
    """
    found = file_reader.pictures(uris, 2 * TILE, LIMITS, stores=uris, policy=policy)
    return [
        MISSING_TEXTS.get(source.reason, "source unreadable")
        if isinstance(source, Refused)
        else Image.fromarray(source.pixels)
        for source in found
    ]


def _paste_pair(
    sheet: Image.Image, at: tuple[int, int], entry: Entry, stored: np.ndarray, picture: Image.Image | str
) -> None:
    x, y = at
    _paste_source(sheet, at, picture)
    # Small images are enlarged without smoothing, so that the sheet shows exactly the stored pixels.
    smooth = max(stored.shape[:2]) > TILE
    filter_ = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    _paste(sheet, (x + TILE + GAP, y), Image.fromarray(pixel_forms.shown(stored)), filter_)
    _write(sheet, (x, y + TILE + 2), f"{entry.label}, {f'copy {entry.copy}' if entry.copy else 'original'}", INK)
    _write(sheet, (x, y + TILE + 15), entry.uri.rsplit("/", 1)[-1], SOFT)


def _paste_source(sheet: Image.Image, at: tuple[int, int], picture: Image.Image | str) -> None:
    x, y = at
    if isinstance(picture, str):
        sheet.paste(MISSING, (x, y, x + TILE, y + TILE))
        _write(sheet, (x + 8, y + TILE // 2 - 6), picture, INK)
    else:
        _paste(sheet, at, picture, Image.Resampling.LANCZOS)


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
