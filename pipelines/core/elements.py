"""What is listed and what is read: small references that the pipeline shuffles instead of pixels.

Everything that is listed becomes a reference or a reject with a reason: nothing is skipped.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pipelines.core.summary import Rejected

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip
SPLIT_PATTERN = r"[A-Za-z][A-Za-z0-9_]*"  # TFDS's rule; a split's name becomes part of its shards' names
MANIFEST_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
# Listed and reported, but no fault of the data: they do not count towards --max-reject-rate.
HARMLESS = ("hidden", "no-label", "repeated-row", "duplicate", "conflicting-labels")


class SourceError(ValueError):
    """The input as a whole cannot be used; the message says what was expected and what is there."""


class NothingUsableError(SourceError):
    """Not one image with a label can be read; the message says why."""


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


def is_manifest(path: str) -> bool:
    return path.lower().endswith(MANIFEST_SUFFIXES)


def reject(uri: str, reason: str, detail: str, label: str = "") -> Rejected:
    """A reject of the listing stage."""
    return Rejected(printable(uri), printable(label), "", "", "list", reason, detail)


def printable(text: str) -> str:
    """Text that UTF-8 can hold: bytes of a name that are not UTF-8, and lone surrogates, are shown as escapes."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that stand for no byte: from JSON, never from a file system
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
