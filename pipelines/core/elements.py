"""What is listed and what is read: small references that the pipeline shuffles instead of pixels.

Everything that is listed becomes a reference or a reject with a reason: nothing is skipped.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

Affine = tuple[tuple[float, ...], tuple[float, ...]]  # scale and offset, per channel

# Listed and reported, but no fault of the data: they do not count towards --max-reject-rate.
HARMLESS = ("hidden", "no-label", "repeated-row", "duplicate", "conflicting-labels")


class Source(NamedTuple):
    """One listed image. `key` is its path relative to the input, so that moving the folder changes nothing."""

    key: str
    uri: str
    label: str
    split: str  # "": to be assigned
    group: str  # "": none
    weight: float


class Header(NamedTuple):
    """What an image's first bytes say; see `formats.read_header`.

    width and height are in pixels with the EXIF orientation applied.
    """

    format: str  # "jpeg", "png", ...
    width: int
    height: int
    orientation: int  # EXIF, 1..8
    conversions: tuple[str, ...]  # policies that apply, see formats.py's docstring
    in_graph: bool  # False: the bytes must pass `formats.canonical` first


class Ref(NamedTuple):
    """A source whose bytes were seen once: `digest` is their SHA-256 in hex.

    `header` holds the fields of its Header, () where not known: a plain tuple is what a runner passes on cheapest.
    """

    key: str
    uri: str
    label: str
    split: str
    group: str
    weight: float
    digest: str
    file_bytes: int = 0
    header: tuple[Any, ...] = ()


def pack(rows: Iterable[Any]) -> bytes:
    """Rows of references as one value that a runner passes on: it costs a tenth of a reference that travels alone.

    Compressed to a third, mostly digests: a local runner holds what it passes on several times, until the job ends.
    """
    return zlib.compress(pickle.dumps(list(rows), pickle.HIGHEST_PROTOCOL), level=1)


def unpack(packed: Iterable[bytes]) -> Iterator[Any]:
    """The rows of some values of `pack`."""
    for rows in packed:
        yield from pickle.loads(zlib.decompress(rows))  # noqa: S301 (our own workers': Beam pickles what it passes on)


class Item(NamedTuple):
    """One record to make: copy number `copy` of `ref`, at `position` in the split's hash order."""

    position: int
    ref: Ref
    copy: int


class Made(NamedTuple):
    """The records of one source in one shard, and what is to be counted of it.

    Here and not in tasks.py, which makes it: who unpickles it would import TensorFlow with that.

    framed: as they stand in a TFRecord file, in the order of the copies asked for.
    levels: `histogram.histogram` as bytes; empty where the original is not among the records.
    """

    framed: list[bytes]
    levels: bytes
