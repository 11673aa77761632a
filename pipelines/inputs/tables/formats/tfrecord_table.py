"""Reads TFRecord files of any program as the rows of a table.

The features of their Examples are its columns.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

from pipelines.contract import tf_example, tfrecord
from pipelines.contract.tf_example import ExampleError, Feature
from pipelines.core.errors import SourceError
from pipelines.core.files import members, reading
from pipelines.core.files.members import Member
from pipelines.core.text import plural
from pipelines.inputs.tables.formats.table_file import Inside, Row, Table

MOST_BYTES = 1 << 30  # of a record
# What shows which features there are, and which of them hold bytes that are no text: so many records of the first file,
# and the first record of so many files. A test set may have no labels.
LOOKED_AT, MOST_FILES = 20, 200
MAX_SIDE_FILE = 16 << 20
_GZIP, _ZLIB = b"\x1f\x8b", b"\x78"
# Where pixels without a header have their shape, in the features of many scripts: height, image/height, …
_SIDES = (("height", "rows", "h"), ("width", "cols", "w"), ("depth", "channels", "channel", "c"))


class _Form(NamedTuple):
    """Says how the features of a dataset are read.

    Attributes:
      images: Features of bytes that are no text.
      names: Feature -> names of its classes; a label is the number of its name.
      shapes: Feature -> (height, width, channels) of pixels without a header.
    """

    images: frozenset[str]
    names: Mapping[str, list[str]]
    shapes: Mapping[str, tuple[int, int, int]]


def table(files: Mapping[str, str], splits: Mapping[str, str]) -> Table:
    """Opens files as one table. The cells of its columns of images are `Inside`.

    Args:
      files: path -> its path below the input.
      splits: path -> split; {} if the names do not tell it.

    Raises:
      SourceError: A file cannot be read, or its images are stored as numbers. Reading the rows raises it, too.
    """
    paths = list(files)
    columns, form = _look(paths)
    extra = ("split",) if splits and "split" not in columns else ()

    def rows(indices: Sequence[int]) -> Iterator[Row]:
        wanted = [columns[i] if i < len(columns) else None for i in indices]
        number = 0
        for path in paths:
            split = splits.get(path, "")
            for index, (frame, features, why) in enumerate(_examples(path)):
                number += 1
                where = Member(path, f"{index:08}", members.PLAIN, frame.offset + tfrecord.HEADER_BYTES)
                cells = [split if name is None else _cell(name, features, form, where, files[path]) for name in wanted]
                yield Row(number, cells, why and f"is record {index + 1} of {path!r}: {why}")

    images = tuple(columns.index(name) for name in columns if name in form.images)
    return Table(f"TFRecord, {plural(len(paths), 'file')}", columns + extra, rows, images)


def _look(paths: Sequence[str]) -> tuple[tuple[str, ...], _Form]:
    """Finds out how the features are read.

    The first records show it, and the texts that TFDS writes beside the files.
    """
    first = [
        features
        for number, path in enumerate(paths[:MOST_FILES])
        for _, features, why in itertools.islice(_examples(path), 1 if number else LOOKED_AT)
        if not why
    ]
    if not first:
        raise SourceError(
            f"None of the first records of {paths[0]!r} is a tf.train.Example. Only files of such records are read."
        )
    columns = tuple(sorted({name for features in first for name in features}))  # a record has them in no order
    images = {name for features in first for name, feature in features.items() if feature.at and _is_binary(feature)}
    folder = os.path.dirname(paths[0])
    names = {name: found for name in columns if (found := _lines(os.path.join(folder, f"{name}.labels.txt")))}
    shapes = {}
    for name, (dtype, shape) in _tensors(os.path.join(folder, "features.json")).items():
        if name in images and dtype != "uint8":
            raise SourceError(
                f"{folder or '.'!r} stores {name!r} as numbers of type {dtype}, that is, after a normalization. "
                "Prepare from the images themselves, or from a dataset that stores uint8, jpeg or png."
            )
        if name in images and len(shape) == 3 and shape[2] in (1, 3):
            shapes[name] = shape
    return columns, _Form(frozenset(images), names, shapes)


def _is_binary(feature: Feature) -> bool:
    value = feature.values[0]
    try:
        return isinstance(value, bytes) and ("\0" in value.decode("utf-8"))
    except UnicodeDecodeError:
        return True


def _lines(path: str) -> list[str]:
    """Returns the lines of a text beside the files; [] if there is none."""
    return _side_file(path).decode("utf-8", "replace").splitlines()


def _tensors(path: str) -> dict[str, tuple[str, tuple[Any, ...]]]:
    """Returns feature -> (dtype, shape) of arrays that are stored as bytes.

    The features.json of TFDS says it.
    """
    try:
        said = json.loads(_side_file(path) or b"{}")["featuresDict"]["features"]
        return {
            name: (
                str(feature["tensor"]["dtype"]),
                tuple(int(side) for side in feature["tensor"]["shape"].get("dimensions", ())),
            )
            for name, feature in said.items()
            if feature.get("tensor", {}).get("encoding") == "bytes"
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _side_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return reading.at_most(file, MAX_SIDE_FILE)
    except OSError:
        return b""


def _examples(path: str) -> Iterator[tuple[tfrecord.Frame, dict[str, Feature], str]]:
    """Yields the frame of each record, its features, and "" or why it cannot be read."""
    try:
        with open(path, "rb") as file:
            beginning = file.read(tfrecord.HEADER_BYTES)
            file.seek(0)
            if beginning[:2] == _GZIP or (beginning[:1] == _ZLIB and not _begins(beginning)):
                raise SourceError(
                    f"{path!r} is compressed, and would have to be read from its beginning for each image. "
                    f"{'Use gunzip' if beginning[:2] == _GZIP else 'Decompress it'}, and name the result."
                )
            for number, frame in enumerate(tfrecord.frames(_reader(file), MOST_BYTES)):
                if not number and frame.problem and not _begins(beginning):
                    raise SourceError(f"{path!r} is no TFRecord file: {frame.problem}.")
                if frame.problem:
                    yield frame, {}, frame.problem
                    continue
                try:
                    yield frame, tf_example.features(frame.data), ""
                except ExampleError as e:
                    yield frame, {}, f"its bytes are no tf.train.Example ({e})"
    except OSError as e:
        raise SourceError(f"The file {path!r} cannot be read: {type(e).__name__}: {e}.") from e


def _begins(data: bytes) -> bool:
    """Tells whether these bytes are the header of a record, whose checksum is right."""
    return len(data) == tfrecord.HEADER_BYTES and data == tfrecord.header(int.from_bytes(data[:8], "little"))


def _reader(file: IO[bytes]) -> Callable[[int], bytes]:
    return lambda count: reading.at_most(file, count)


def _cell(name: str, features: Mapping[str, Feature], form: _Form, record: Member, below: str) -> Any:
    """Returns what a feature says.

    It is text, a number, a list of several, an image, or None.

    Args:
      record: The record itself as a member of its file.
      below: The path of the file below the input.
    """
    feature = features.get(name)
    if feature is None or not feature.values:
        return None
    value = feature.values[0]
    if name in form.images and isinstance(value, bytes):
        at, size = record.offset + feature.at[0], len(value)
        shape = form.shapes.get(name) or _shape(name, features)
        if 0 < math.prod(shape) == size:
            member = record._replace(packing=members.PIXELS, offset=at, shape=shape)
        else:
            member = record._replace(offset=at, packed=size, size=size)
        return Inside(f"{below}/{record.name}", members.address(member))
    if name in form.names and _is_multi_hot(feature, form.names[name]):
        return [label for label, hot in zip(form.names[name], feature.values, strict=True) if hot]
    if len(feature.values) > 1:
        return list(feature.values)
    if name in form.names and isinstance(value, int):
        return form.names[name][value] if 0 <= value < len(form.names[name]) else None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _is_multi_hot(feature: Feature, names: Sequence[str]) -> bool:
    """Tells whether a feature has 0.0 or 1.0 for each label, as our records do."""
    hot = all(isinstance(value, float) and value in (0.0, 1.0) for value in feature.values)
    return hot and len(feature.values) == len(names)


def _shape(name: str, features: Mapping[str, Feature]) -> tuple[int, int, int]:
    """Returns the (height, width, channels) that other features state.

    They are zeros if no features do.
    """
    prefix = name.rpartition("/")[0]
    sides = []
    for words in _SIDES:
        found = [features[f"{before}{word}"] for word in words for before in (f"{prefix}/" if prefix else "", "image_")
                 if f"{before}{word}" in features]  # fmt: skip
        value = found[0].values[0] if found and len(found[0].values) == 1 else 1 if words is _SIDES[2] else 0
        sides.append(value if isinstance(value, int) and value > 0 else 0)
    height, width, channels = sides
    return (height, width, channels) if channels in (1, 3) else (0, 0, 0)
