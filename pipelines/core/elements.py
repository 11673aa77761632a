"""Defines the elements that flow through the pipeline.

The pipeline shuffles small references to images instead of pixels. Every input that is listed becomes a reference, or a
reject with a reason: none is skipped.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

Affine = tuple[tuple[float, ...], tuple[float, ...]]  # scale and offset, per channel

MAX_CHANNELS = 64  # of an image that is stored
TRAIN_SPLIT = "train"  # the split that is balanced, augmented and measured; every dataset has it
UNLABELLED = "unlabelled"  # the split of the images that have no label; no other split may have this name then

# What Pillow may open of untrusted files. Without this list it would also try PostScript, for which it starts
# Ghostscript.
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM")
# Reasons of rejects that are reported, but are no fault of the data: they do not count towards --max-reject-rate.
HARMLESS = (
    "hidden", "system-file", "other-file", "left-aside", "empty-folder", "no-label", "repeated-row", "duplicate",
    "conflicting-labels", "class-left-out", "has-a-label", "dropped",
)  # fmt: skip
# Reasons of rejects that do not follow from a file's bytes and the options: a busy machine, a lack of memory or a file
# system may be the cause. Such an input is tried a second time, and again by each run that goes on.
TRANSIENT = ("timeout", "crashed", "out-of-memory", "unexpected-error", "missing", "unreadable", "changed")


class Source(NamedTuple):
    """Describes one listed image.

    `key` is its path relative to the input, so that moving the folder changes nothing.
    """

    key: str
    uri: str
    label: str
    split: str  # "": the pipeline assigns one
    group: str  # "": none
    weight: float
    metadata: tuple[int | float | str | None, ...] = ()  # the values of the columns that --keep names; None: missing


class Header(NamedTuple):
    """Describes an image as its first bytes do; see `formats.read_header`.

    `width` and `height` are in pixels, with the EXIF orientation applied.
    """

    format: str  # "jpeg", "png", ...
    width: int
    height: int
    orientation: int  # EXIF, 1..8
    conversions: tuple[str, ...]  # policies that apply, see images/files/formats.py's docstring
    in_graph: bool  # False: the bytes must pass `formats.canonical` first


class Ref(NamedTuple):
    """Describes a source whose bytes were read once.

    Attributes:
      digest: SHA-256 of these bytes, in hex.
      header: The fields of the source's Header; () if they are not known. It is a plain tuple, because runners pass on
        plain tuples at the lowest cost.
      kept: Whether `split` is that of an earlier dataset, which --like names.
      look: Its perceptual hash, if --group-similar asks for it; else empty.
      folds: Its fold in each repeat of --folds, if it is in train; else ().
      metadata: As of its Source.
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
    kept: bool = False
    look: bytes = b""
    folds: tuple[int, ...] = ()
    metadata: tuple[int | float | str | None, ...] = ()


def pack(rows: Iterable[Any]) -> bytes:
    """Packs rows of references into one value that a runner passes on.

    A packed reference costs a tenth of one that a runner passes on alone. Compression reduces the value to a third,
    which is mostly digests. A local runner holds several copies of the values that it passes on, until the job ends.
    """
    return zlib.compress(pickle.dumps(list(rows), pickle.HIGHEST_PROTOCOL), level=1)


def unpack(packed: Iterable[bytes]) -> Iterator[Any]:
    """Yields the rows of values that `pack` made."""
    for rows in packed:
        yield from pickle.loads(zlib.decompress(rows))  # noqa: S301 (from our own workers; Beam itself pickles values)


class Item(NamedTuple):
    """Describes one record to make.

    It is copy number `copy` of `ref`, at `position` in the split's hash order.
    """

    position: int
    ref: Ref
    copy: int


class Made(NamedTuple):
    """Holds one record, and what is counted of it.

    The class is here and not in worker_tasks.py, which makes its objects: a process that unpickles them would import
    TensorFlow with worker_tasks.py.

    Attributes:
      framed: The record's frame, as it stands in a TFRecord file.
      levels: `histogram.histogram` of an original as bytes; empty for a copy.
      pixels: The decoded pixels of the source, uint8 (H, W, C) as bytes, if they are kept for its other records.
      extremes: The least and the greatest value of an original with more than 8 bits; None for another one.
      alpha_varies: Whether the alpha of an original varies as a photograph does.
    """

    framed: bytes
    levels: bytes
    pixels: bytes = b""
    extremes: tuple[float, float] | None = None
    alpha_varies: bool = False
