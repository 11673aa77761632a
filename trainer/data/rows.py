"""Records of a raw encoding side by side as they stand in their file, and the values cut out of them.

Shardmill writes every record of a dataset the same way, so that the image begins at the same byte of each. A batch is
therefore made of whole records; the image is cut out of them by the operation that normalizes it and would read it
anyway.
"""

from __future__ import annotations

import mmap
import struct

import numpy as np
import tensorflow as tf

from pipelines.contract import Contract
from trainer.data.example_layout import Layout, LayoutError, expected, to_varint, varint

UNSEEN, FITS, OTHER = 0, 1, 2  # what is known of a record: nothing, written as expected, written in another way


class Rows:
    """Reads batches of rows, uint8 (B, width): `before` bytes, a record, `after` bytes; shorter ones end earlier."""

    def __init__(self, contract: Contract, before: int = 0, after: int = 0) -> None:
        self._layouts = expected(contract)
        self._classes = len(contract.labels)
        self._weighted = contract.weighted
        self._before = before
        last = self._layouts[-1]
        self.width = before + last.size + after
        self.image = before + last.values["image"][0]
        self._labels_at = slice(*(before + edge for edge in last.values["label"]))  # the widest
        # A label of one byte less moves what follows by one byte.
        self._weight = before + last.values["weight"][0] - (self._labels_at.stop - self._labels_at.start)

    def read(self, buffer: mmap.mmap | bytes, start: int, stop: int) -> tuple[int, int, float]:
        """(FITS or OTHER, label, weight), after comparing a record with the contract.

        Raises:
          LayoutError: it is not an Example of our features, or its label or sizes break the contract.
        """
        layout = self._known(buffer, start, stop)
        found = (layout or Layout.of(buffer[start:stop])).values
        for name in ("image", "weight"):
            wanted, has = (b - a for a, b in (self._layouts[0].values[name], found[name]))
            if has != wanted:
                raise LayoutError(f"its {name} should have {wanted} bytes. Received: {has}")
        label = self._label_at(buffer, start, found["label"])
        first, last = found["weight"]
        [weight] = struct.unpack("<f", buffer[start + first : start + last])
        return FITS if layout else OTHER, label, weight

    def label(self, buffer: mmap.mmap | bytes, start: int, stop: int) -> int:
        """The label of a record. Raises LayoutError as `read`, but for sizes."""
        layout = self._known(buffer, start, stop) or Layout.of(buffer[start:stop])
        return self._label_at(buffer, start, layout.values["label"])

    def put(self, row: np.ndarray, record: bytes) -> None:
        """Writes the values of an OTHER record to where they are in one that fits. row: uint8 (width,)."""
        found = {name: record[start:stop] for name, (start, stop) in Layout.of(record).values.items()}
        label = to_varint(varint(found["label"]))
        weight = self._weight + len(label)
        for at, value in ((self.image, found["image"]), (self._labels_at.start, label), (weight, found["weight"])):
            row[at : at + len(value)] = np.frombuffer(value, np.uint8)

    def fit(self, rows: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
        """bool (): whether all rows, whose records have `sizes` bytes, int32 (B,), are as expected."""
        good = self._labels(rows)[0] < self._classes
        fits = tf.zeros_like(good)
        for layout in self._layouts:
            columns = [i for a, b, _ in layout.between for i in range(self._before + a, self._before + b)]
            same = tf.gather(rows, columns, axis=1) == list(b"".join(text for *_, text in layout.between))
            label = layout.values["label"]
            width = self._labels(rows)[1] == label[1] - label[0]
            fits |= tf.reduce_all(same, axis=1) & width & (sizes == layout.size)
        return tf.reduce_all(good & fits)

    def numbers(self, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """(labels int64 (B,)[, weights float32 (B,)]) of rows that fit."""
        labels, width = self._labels(rows)
        if not self._weighted:
            return (labels,)
        columns = tf.range(4)[None, :] + self._weight + width[:, None]
        return labels, tf.bitcast(tf.gather(rows, columns, batch_dims=1), tf.float32)

    def _known(self, buffer: mmap.mmap | bytes, start: int, stop: int) -> Layout | None:
        size = stop - start
        return next((known for known in self._layouts if known.size == size and known.fits(buffer, start)), None)

    def _label_at(self, buffer: mmap.mmap | bytes, start: int, place: tuple[int, int]) -> int:
        label = varint(buffer[start + place[0] : start + place[1]])
        if not 0 <= label < self._classes:
            raise LayoutError(f"its label should be at least 0 and below {self._classes}. Received: {label}")
        return label

    def _labels(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Varints: (values int64 (B,), how many bytes each takes int32 (B,))."""
        parts = tf.cast(rows[:, self._labels_at], tf.int64)
        used = tf.math.cumprod(parts // 128, axis=1, exclusive=True)  # a byte from 128 on has another one after it
        shifts = tf.constant([1 << 7 * i for i in range(parts.shape[1])], tf.int64)
        return tf.reduce_sum(used * (parts % 128) * shifts, axis=1), tf.reduce_sum(tf.cast(used, tf.int32), axis=1)
