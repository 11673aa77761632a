"""Reads chosen bands of a TIFF, whatever their number.

Pillow opens TIFFs of one band with any type of pixels and any compression, but of several bands only those that are a
known kind of picture. A TIFF of several bands is therefore described anew, as one or more TIFFs of a single band: its
pixels stay where they are in the file, and a directory that Pillow understands is put behind them. Bands in planes of
their own become pages. Interleaved bands become one picture, as many times as wide.

The structure is that of TIFF 6.0; BigTIFF differs in the width of its numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

MOST_SAMPLES = 1024  # bands of a file; a hyperspectral camera has some hundreds
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _MEANING, _ORIENTATION, _SAMPLES = 256, 257, 258, 259, 262, 274, 277
_STRIPS, _ROWS, _STRIP_BYTES, _PLANES, _PREDICTOR, _FORMAT = 273, 278, 279, 284, 317, 339
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_JPEG = (6, 7, 34712)  # compressions that join the bands of a pixel
_GRAY, _INVERTED, _COLORS = 1, 0, 2  # the meanings of pixels whose bands are plain numbers
_PLAIN, _DIFFERENCES = 1, 2  # predictors


class BandsError(ValueError):
    """Says that bands of a file cannot be read."""


class Bands(NamedTuple):
    """Describes the bands of a TIFF.

    Attributes:
      width, height: In pixels, as they are stored.
      samples: The number of bands.
      bits: Of each value.
      planar: Whether each band has a plane of its own, instead of all being interleaved.
      differences: Whether interleaved values are stored as differences to the pixel on the left.
      tile_width: Of interleaved values in pixels; that of the picture without tiles.
      orientation: EXIF's, 1..8.
      tags: Tag -> values.
      order: "<" or ">".
    """

    width: int
    height: int
    samples: int
    bits: int
    planar: bool
    differences: bool
    tile_width: int
    orientation: int
    tags: dict[int, tuple[int, ...]]
    order: str


def is_tiff(data: bytes) -> bool:
    """Tells whether a file is a TIFF or a BigTIFF."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def number(data: bytes) -> int:
    """Returns the number of bands of a TIFF; 0 if it cannot be told."""
    try:
        return _count(_tags(data)[0])
    except BandsError:
        return 0


def describe(data: bytes, chosen: Sequence[int]) -> Bands:
    """Returns the description of a TIFF's first page.

    Args:
      chosen: The numbers of the bands that are to be read, from 1.

    Raises:
      BandsError: It does not have these bands, or they cannot be read.
    """
    tags, order = _tags(data)
    samples = _count(tags)
    if not 1 <= samples <= MOST_SAMPLES:
        raise BandsError(f"A TIFF should have 1 to {MOST_SAMPLES} bands. It has {samples}.")
    if max(chosen) > samples:
        raise BandsError(f"It has {samples} band{'s' * (samples != 1)}, and --bands names number {max(chosen)}.")
    bits, kinds = set(tags.get(_BITS, (1,))), set(tags.get(_FORMAT, (1,)))
    if len(bits) != 1 or len(kinds) != 1:
        raise BandsError("Its bands are of several types, and are read only if all have one.")
    meaning = tags.get(_MEANING, (_GRAY,))[0]
    if meaning not in (_GRAY, _COLORS):
        named = {_INVERTED: "inverted gray", 3: "a palette", 5: "CMYK", 6: "YCbCr", 8: "CIE L*a*b*"}
        raise BandsError(f"--bands reads plain numbers. Its pixels are {named.get(meaning, f'of the kind {meaning}')}.")
    (depth,), planar = bits, samples > 1 and tags.get(_PLANES, (1,))[0] == 2
    if depth not in (8, 16, 32):
        raise BandsError(f"--bands reads values of 8, 16 or 32 bits. It has values of {depth}.")
    if samples > 1 and tags.get(_COMPRESSION, (1,))[0] in _JPEG:
        raise BandsError("Its bands are compressed as JPEG, and --bands reads them only with other compressions.")
    interleaved = samples > 1 and not planar
    predictor = tags.get(_PREDICTOR, (_PLAIN,))[0]
    if interleaved and predictor not in (_PLAIN, _DIFFERENCES):
        raise BandsError(f"The predictor {predictor} of interleaved bands is not read. Save it without a predictor.")
    if interleaved and predictor == _DIFFERENCES and kinds == {3}:
        raise BandsError("Differences of interleaved floating-point values are not read. Save it without a predictor.")
    width, height = _one(tags, _WIDTH), _one(tags, _HEIGHT)
    orientation = tags.get(_ORIENTATION, (1,))[0]
    return Bands(
        width, height, samples, depth, planar, interleaved and predictor == _DIFFERENCES,
        tags[_TILE_WIDTH][0] if _TILE_WIDTH in tags else width, orientation if orientation in range(1, 9) else 1,
        tags, order,
    )  # fmt: skip


def is_signed(bands: Bands) -> bool:
    """Tells whether values are whole numbers with a sign."""
    return bands.tags.get(_FORMAT, (1,))[0] == 2


def single(data: bytes, bands: Bands, chosen: Sequence[int]) -> bytes:
    """Returns a TIFF that Pillow opens, with the same pixels.

    Bands in planes are the pages of it, in the order in which they are chosen. Interleaved bands are one page, whose
    rows have the values of all bands of a pixel beside one another.
    """
    times = 1 if bands.planar else bands.samples
    offsets, counts = (_TILES, _TILE_BYTES) if _TILES in bands.tags else (_STRIPS, _STRIP_BYTES)
    places, sizes = bands.tags.get(offsets, ()), bands.tags.get(counts, ())
    each = len(places) // bands.samples if bands.planar else len(places)
    if not each or len(places) != len(sizes) or len(places) != each * (bands.samples if bands.planar else 1):
        raise BandsError("It is damaged: the places of its pixels do not fit the number of its bands.")
    tags = {
        _WIDTH: (bands.width * times,), _HEIGHT: (bands.height,), _BITS: (bands.bits,),
        _COMPRESSION: bands.tags.get(_COMPRESSION, (1,)), _MEANING: (_GRAY,), _SAMPLES: (1,), _PLANES: (1,),
        _FORMAT: bands.tags.get(_FORMAT, (1,))[:1],
    }  # fmt: skip
    if not bands.differences and _PREDICTOR in bands.tags:
        tags[_PREDICTOR] = bands.tags[_PREDICTOR]
    if _TILES in bands.tags:
        tags |= {_TILE_WIDTH: (bands.tile_width * times,), _TILE_HEIGHT: (_one(bands.tags, _TILE_HEIGHT),)}
    else:
        tags[_ROWS] = (min(bands.tags.get(_ROWS, (bands.height,))[0], bands.height),)
    behind = b"\0" * (len(data) % 2)  # directories begin at even places
    at = len(data) + len(behind)
    start = (b"II*\0" if bands.order == "<" else b"MM\0*") + struct.pack(bands.order + "I", _in_classic(at))
    for page, band in enumerate(chosen if bands.planar else (1,)):
        first = (band - 1) * each if bands.planar else 0
        of_page = {**tags, offsets: places[first : first + each], counts: sizes[first : first + each]}
        last = not bands.planar or page == len(chosen) - 1
        made = _directory(of_page, at, bands.order, last)
        behind, at = behind + made, at + len(made)
    return b"".join((start, data[8:], behind))


def _in_classic(place: int) -> int:
    if place >= 1 << 32:
        raise BandsError("--bands reads TIFFs of up to 4 GiB.")
    return place


def _directory(tags: dict[int, tuple[int, ...]], at: int, order: str, last: bool) -> bytes:
    """Returns a directory for a place of the file, with its values behind it."""
    size = 2 + 12 * len(tags) + 4
    entries, values = [struct.pack(order + "H", len(tags))], b""
    for tag in sorted(tags):
        packed = struct.pack(f"{order}{len(tags[tag])}I", *map(_in_classic, tags[tag]))
        if len(packed) > 4:
            packed, values = struct.pack(order + "I", _in_classic(at + size + len(values))), values + packed
        entries.append(struct.pack(order + "HHI", tag, 4, len(tags[tag])) + packed)
    following = 0 if last else _in_classic(at + size + len(values))
    return b"".join((*entries, struct.pack(order + "I", following), values))


def _count(tags: dict[int, tuple[int, ...]]) -> int:
    return tags.get(_SAMPLES, (1,))[0]


def _one(tags: dict[int, tuple[int, ...]], tag: int) -> int:
    if len(tags.get(tag, ())) != 1 or tags[tag][0] < 1:
        raise BandsError(f"It is damaged: it has no valid tag {tag}.")
    return tags[tag][0]


def _tags(data: bytes) -> tuple[dict[int, tuple[int, ...]], str]:
    """Returns the numbers of a TIFF's first directory by tag, and its byte order.

    Raises:
      BandsError: It is no TIFF, or is damaged.
    """
    if not is_tiff(data):
        raise BandsError("It is no TIFF.")
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    count, offset, inline = ("Q", "Q", 8) if big else ("H", "I", 4)
    entry = struct.calcsize(f"{order}HH{offset}") + inline
    found: dict[int, tuple[int, ...]] = {}
    try:
        (at,) = struct.unpack_from(order + offset, data, 8 if big else 4)
        (entries,) = struct.unpack_from(order + count, data, at)
        at += struct.calcsize(order + count)
        for place in range(at, at + entry * min(entries, 4096), entry):
            tag, kind, values = struct.unpack_from(f"{order}HH{offset}", data, place)
            if kind not in _TYPES or not values:
                continue
            start, size = place + entry - inline, values * struct.calcsize(order + _TYPES[kind])
            if size > inline:
                (start,) = struct.unpack_from(order + offset, data, start)
            if start + size <= len(data):  # else a crafted number of values would be taken for real
                found.setdefault(tag, struct.unpack_from(f"{order}{values}{_TYPES[kind]}", data, start))
    except (struct.error, OverflowError) as e:
        raise BandsError("It is a damaged TIFF: its directory leads beyond its end.") from e
    if any(not found.get(tag) for tag in (_WIDTH, _HEIGHT)):
        raise BandsError("It is a damaged TIFF without width or height.")
    return found, order
