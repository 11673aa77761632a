"""Finds image, label and weight in a serialized tf.train.Example without parsing.

The records of a raw encoding differ in their values only. All other bytes (tags, lengths, feature names) are the same
in every record of one length. `Layout.of` parses one record. `Layout.fits` compares another record with it in a
microsecond.

Shardmill writes every record of a dataset in the same way, so that the image begins at the same byte of each. Therefore
a batch is made of complete records, which `Rows` reads. The operation that normalizes the image also cuts it out of the
record: it has to read the image in any case.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import mmap
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract, metadata, tf_example
from pipelines.contract.task import MULTI_LABEL, NO_LABEL_ID

_FIRST = tf_example.tag(1)  # the tag of `features`, of a map's entry, of its key and of a list's values
_SECOND = tf_example.tag(2)  # the tag of a map entry's value
_LISTS = {name: tf_example.tag(number) for name, number in tf_example.LISTS.items()}
_NAMES = f"image, key, weight and one of {', '.join(tf_example.ANSWERS)}"
_LENGTH_BYTES = 5  # protobuf reads at most so many bytes of a length
UNSEEN, FITS, OTHER = 0, 1, 2  # state of a record: not read yet, written as expected, written in another way


class LayoutError(ValueError):
    """Says that bytes are not an Example of single values in the usual encoding.

    Protobuf may still be able to read them.
    """


@dataclasses.dataclass(frozen=True)
class Layout:
    """Describes the bytes of records of `size` bytes.

    All places are (start, stop), counted from the start of the record.

    values: feature -> place of its value: the bytes of the image or the key, the varint of the label, the floats of the
    target or the weight. Columns that travel along are among them.
    between: the places of all other bytes, and their expected content.
    """

    size: int
    values: dict[str, tuple[int, int]]
    between: tuple[tuple[int, int, bytes], ...]

    @classmethod
    def of(cls, data: bytes) -> Layout:
        """Parses one record.

        Raises:
          LayoutError: the record has another feature, a feature twice, several values or none, unpacked numbers, or
            wrong lengths.
        """
        at, end = _enter(data, 0, len(data), _FIRST)
        if end != len(data):
            raise LayoutError(f"features should be the complete record of {len(data)} bytes. Received: {end}")
        values: dict[str, tuple[int, int]] = {}
        while at < end:
            entry, entry_end = _enter(data, at, end, _FIRST)
            key, key_end = _enter(data, entry, entry_end, _FIRST)
            name = data[key:key_end].decode("utf-8", "replace")
            kept = name.startswith(metadata.PREFIX)
            if not (kept or name in _LISTS) or name in values:
                raise LayoutError(f"a record should have {_NAMES}, each once. Received: {name!r}")
            start, stop = key_end, entry_end
            listed = _any_list(data, start, stop) if kept else _LISTS[name]
            for tag in (_SECOND, listed, _FIRST):  # the entry's value, its list, the only value of the list
                start, inner = _enter(data, start, stop, tag)
                if inner != stop:
                    raise LayoutError(f"{name} should be one value")
            values[name] = (start, stop)
            at = entry_end
        if len(values.keys() & _LISTS.keys()) != 4 or not {"image", "key", "weight"} < set(values):
            raise LayoutError(f"a record should have {_NAMES}. Received: {', '.join(values)}")
        return cls(len(data), values, _between(data, values))

    def fits(self, buffer: mmap.mmap | bytes, at: int) -> bool:
        """Tells whether the record of `size` bytes at `at` has its values at these places."""
        return all(buffer[at + start : at + stop] == expected for start, stop, expected in self.between)


def expected(contract: Contract, labelled: bool = True) -> list[Layout]:
    """Returns the layouts in which Shardmill writes the records of a raw encoding.

    There is one layout for each number of bytes that a label may take, and one for a target, or for no label.
    """
    pixels = math.prod(contract.image_shape) * tf.as_dtype(contracts.RAW_DTYPES[contract.encoding]).size
    key = "0" * contracts.KEY_BYTES
    if not labelled:
        return [Layout.of(tf_example.serialize(bytes(pixels), NoAnswer(contract).label, weight=1.0, key=key))]
    if width := contract.target_width:
        return [Layout.of(tf_example.serialize(bytes(pixels), (0.0,) * width, weight=1.0, key=key))]
    layouts = []
    for bits in range(0, max(1, (len(contract.labels) - 1).bit_length()), 7):
        layouts.append(Layout.of(tf_example.serialize(bytes(pixels), label=1 << bits, weight=1.0, key=key)))
    # If a record is longer by one byte, its length may take one byte more before the image. That is rare, and such
    # layouts are left out.
    return [layout for layout in layouts if layout.values["image"] == layouts[-1].values["image"]]


class Rows:
    """Reads batches of rows uint8 (B, width), each of which holds one record.

    A row is `before` bytes, a record and `after` bytes. A shorter record ends earlier in its row.

    answers: the label or the target of each record.

    Args:
      labelled: whether they are of a labelled split.
    """

    answers: LabelBytes | TargetBytes | NoAnswer

    def __init__(self, contract: Contract, before: int = 0, after: int = 0, labelled: bool = True) -> None:
        self._layouts = expected(contract, labelled)
        self._weighted = contract.weighted
        self._before = before
        last = self._layouts[-1]
        self.width = before + last.size + after
        first, end = last.values["image"]
        self.image, self.image_bytes = before + first, end - first
        self.answers = _answer_bytes(contract, labelled)
        self._at = slice(*(before + edge for edge in last.values[self.answers.name]))  # the bytes of the longest label
        # If a label is shorter by one byte, all bytes after it move by one.
        self._weight = before + last.values["weight"][0] - (self._at.stop - self._at.start)

    def read(self, buffer: mmap.mmap | bytes, start: int, stop: int) -> tuple[int, int, Any, float]:
        """Reads the answer and the weight of a record and compares it with the contract.

        Returns:
          (FITS or OTHER, at which byte of the record its image begins, label or target float32 (K,), weight).

        Raises:
          LayoutError: the record is not an Example of the contract's features, or its answer or sizes break the
            contract.
        """
        layout = self._known(buffer, start, stop)
        found = (layout or Layout.of(buffer[start:stop])).values
        for name in ("image", "weight"):
            wanted, has = (b - a for a, b in (self._layouts[0].values[name], found[name]))
            if has != wanted:
                raise LayoutError(f"its {name} should have {wanted} bytes. Received: {has}")
        answer = read_answer(self.answers, buffer, start, found)
        first, last = found["weight"]
        [weight] = struct.unpack("<f", buffer[start + first : start + last])
        return FITS if layout else OTHER, found["image"][0], answer, weight

    def label(self, buffer: mmap.mmap | bytes, start: int, stop: int) -> Any:
        """Returns a record's answer. Raises LayoutError like `read`, but not for sizes."""
        layout = self._known(buffer, start, stop) or Layout.of(buffer[start:stop])
        return read_answer(self.answers, buffer, start, layout.values)

    def put(self, row: np.ndarray, image: np.ndarray, answer: Any, weight: float) -> None:
        """Writes the values of an OTHER record into a row as if the record fitted.

        Args:
          row: uint8 (width,).
          image: the bytes of the image, uint8.
          answer, weight: as `read` returns them.
        """
        row[self.image : self.image + len(image)] = image
        written = self.answers.written(answer)
        at = self._weight + len(written)
        for start, value in ((self._at.start, written), (at, struct.pack("<f", weight))):
            row[start : start + len(value)] = np.frombuffer(value, np.uint8)

    def fit(self, rows: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
        """Returns whether all rows are written as expected, bool ().

        Args:
          rows: uint8 (B, width).
          sizes: int32 (B,), the number of bytes of each record.
        """
        values, width = self.answers.decode(rows[:, self._at])
        good = self.answers.good(values)
        fits = tf.zeros_like(good)
        for layout in self._layouts:
            columns = [i for a, b, _ in layout.between for i in range(self._before + a, self._before + b)]
            same = tf.gather(rows, columns, axis=1) == list(b"".join(text for *_, text in layout.between))
            place = layout.values[self.answers.name]
            fits |= tf.reduce_all(same, axis=1) & (width == place[1] - place[0]) & (sizes == layout.size)
        return tf.reduce_all(good & fits)

    def numbers(self, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns (answers[, weights float32 (B,)]) of rows that fit.

        The answers are labels int64 (B,) or targets float32 (B, K).
        """
        answers, width = self.answers.decode(rows[:, self._at])
        if not self._weighted:
            return (answers,)
        columns = tf.range(4)[None, :] + self._weight + width[:, None]
        return answers, tf.bitcast(tf.gather(rows, columns, batch_dims=1), tf.float32)

    def _known(self, buffer: mmap.mmap | bytes, start: int, stop: int) -> Layout | None:
        size = stop - start
        return next((known for known in self._layouts if known.size == size and known.fits(buffer, start)), None)


class LabelBytes:
    """Reads label ids, which are varints of one byte or more.

    Attributes:
      name: The feature.
      dtype, shape: Of one value.
    """

    name, dtype, shape = "label", tf.int64, ()

    def __init__(self, contract: Contract) -> None:
        self._classes = len(contract.labels)

    def read(self, data: bytes) -> int:
        """Reads one label. Raises LayoutError if it is none of the contract."""
        label = read_label(data)
        if not 0 <= label < self._classes:
            raise LayoutError(f"its label should be at least 0 and below {self._classes}. Received: {label}")
        return label

    def written(self, label: int) -> bytes:
        """Returns the bytes of a label as Shardmill writes them."""
        return tf_example.to_varint(int(label))

    def decode(self, columns: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Decodes labels from the bytes uint8 (B, n) in which the longest fits.

        Returns:
          (values int64 (B,), number of bytes of each int32 (B,)).
        """
        parts = tf.cast(columns, tf.int64)
        used = tf.math.cumprod(parts // 128, axis=1, exclusive=True)  # a byte of 128 or more is followed by another one
        shifts = tf.constant([1 << 7 * i for i in range(parts.shape[1])], tf.int64)
        return tf.reduce_sum(used * (parts % 128) * shifts, axis=1), tf.reduce_sum(tf.cast(used, tf.int32), axis=1)

    def good(self, values: tf.Tensor) -> tf.Tensor:
        """Returns which labels are those of the contract, bool (B,)."""
        return values < self._classes


class TargetBytes:
    """Reads targets, which are K numbers of four bytes.

    Attributes:
      name: The feature.
      dtype, shape: Of one value.
    """

    name, dtype = "target", tf.float32

    def __init__(self, contract: Contract) -> None:
        self.shape = (contract.target_width,)
        self._is_multi_hot = contract.task.kind == MULTI_LABEL

    def read(self, data: bytes) -> np.ndarray:
        """Reads one target, float32 (K,). Raises LayoutError if it breaks the contract."""
        if len(data) != 4 * self.shape[0]:
            raise LayoutError(f"its target should have {4 * self.shape[0]} bytes. Received: {len(data)}")
        target = np.frombuffer(data, "<f4")
        good = np.isin(target, (0, 1)) if self._is_multi_hot else np.isfinite(target)
        if not good.all():
            expected = "0 or 1" if self._is_multi_hot else "finite numbers"
            raise LayoutError(f"its target should hold {expected}. Received: {target[~good][0]}")
        return target

    def written(self, target: np.ndarray) -> bytes:
        """Returns the bytes of a target, float32 (K,), as Shardmill writes them."""
        return target.astype("<f4", copy=False).tobytes()

    def decode(self, columns: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Decodes targets from their bytes uint8 (B, 4 K).

        Returns:
          (values float32 (B, K), number of bytes of each int32 (B,)).
        """
        values = tf.bitcast(tf.reshape(columns, (-1, *self.shape, 4)), tf.float32)
        values = tf.ensure_shape(values, (columns.shape[0], *self.shape))
        return values, tf.fill((tf.shape(columns)[0],), 4 * self.shape[0])

    def good(self, values: tf.Tensor) -> tf.Tensor:
        """Returns which targets are as the contract says, bool (B,)."""
        single = (values == 0) | (values == 1) if self._is_multi_hot else tf.math.is_finite(values)
        return tf.reduce_all(single, axis=1)


class NoAnswer:
    """Reads what stands in the place of the answer of an image without a label.

    It is the label -1, or a target of NaNs.

    Attributes:
      name: The feature.
      dtype, shape: Of one value.
      label: The value, as `tf_example.serialize` takes it.
    """

    def __init__(self, contract: Contract) -> None:
        width = contract.target_width
        self.name, self.dtype = ("target", tf.float32) if width else ("label", tf.int64)
        self.shape = (width,) if width else ()
        self.label: int | tuple[float, ...] = (math.nan,) * width if width else NO_LABEL_ID
        self._bytes = tf_example.floats((math.nan,) * width) if width else tf_example.to_varint((1 << 64) + NO_LABEL_ID)

    def read(self, data: bytes) -> Any:
        """Reads one value. Raises LayoutError if it is a label."""
        if data != self._bytes:
            raise LayoutError("it should have no label, and has one")
        return np.asarray(self.label, self.dtype.as_numpy_dtype)

    def written(self, value: Any) -> bytes:
        """Returns the bytes of the value as Shardmill writes them."""
        del value
        return self._bytes

    def decode(self, columns: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Decodes values from their bytes uint8 (B, n).

        Returns:
          (values (B, ...), which are 0 if other bytes are there, and the number of bytes of each int32 (B,)).
        """
        rows = tf.shape(columns)[0]
        absent = tf.reduce_all(columns == tf.constant(list(self._bytes), tf.uint8), axis=1)
        value = tf.constant(self.label, self.dtype)
        values = tf.where(tf.reshape(absent, (-1, *(1 for _ in self.shape))), value, tf.zeros_like(value))
        return tf.ensure_shape(values, (columns.shape[0], *self.shape)), tf.fill((rows,), len(self._bytes))

    def good(self, values: tf.Tensor) -> tf.Tensor:
        """Returns which values are those of no label, bool (B,)."""
        return tf.reduce_all(tf.math.is_nan(values), axis=1) if self.shape else values == NO_LABEL_ID


def _answer_bytes(contract: Contract, labelled: bool) -> LabelBytes | TargetBytes | NoAnswer:
    if not labelled:
        return NoAnswer(contract)
    return TargetBytes(contract) if contract.target_width else LabelBytes(contract)


def read_answer(
    answers: LabelBytes | TargetBytes | NoAnswer,
    buffer: mmap.mmap | bytes,
    start: int,
    values: Mapping[str, tuple[int, int]],
) -> Any:
    """Reads the answer of the record that begins at `start`.

    Args:
      values: feature -> (first, last) byte of its value in the record.

    Raises:
      LayoutError: there is no answer, or it breaks the contract.
    """
    if answers.name not in values:
        raise LayoutError(f"it should have a {answers.name}")
    first, last = values[answers.name]
    return answers.read(buffer[start + first : start + last])


def read_label(data: bytes) -> int:
    """Reads the number of a packed list of one int64.

    Raises:
      LayoutError: the bytes are not exactly one varint.
    """
    with contextlib.suppress(tf_example.ExampleError):
        value, end = tf_example.read_varint(data, 0)
        if end == len(data):
            return tf_example.signed(value)
    raise LayoutError(f"a label should be one number. Received: {data.hex()}")


def _enter(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Returns (start, stop) of the content after the tag and the length at `at`.

    Raises:
      LayoutError: another tag is there, or the content does not end before `end`.
    """
    if at >= end or data[at] != tag:
        raise LayoutError(f"byte {at} should be the tag {tag:#x}")
    with contextlib.suppress(tf_example.ExampleError):
        length, start = tf_example.read_varint(data, at + 1)
        if start - (at + 1) <= _LENGTH_BYTES and start + length <= end:
            return start, start + length
    raise LayoutError(f"the length at byte {at + 1} should lead to a place in the record")


def _any_list(data: bytes, at: int, end: int) -> int:
    """Returns the tag of the list in the feature at `at`, whichever it is."""
    start, stop = _enter(data, at, end, _SECOND)
    if start == stop:
        raise LayoutError(f"the feature at byte {at} should have a value")
    return data[start]


def _between(data: bytes, values: dict[str, tuple[int, int]]) -> tuple[tuple[int, int, bytes], ...]:
    edges = [0, *(edge for place in sorted(values.values()) for edge in place), len(data)]
    return tuple((a, b, data[a:b]) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b)
