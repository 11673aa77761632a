"""Batches from serialized records of a raw encoding, without parsing them: the image lies in its record as it is."""

from __future__ import annotations

import math
import mmap
import threading
import weakref
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer.layout import Layout, LayoutError, varint

MAX_LAYOUTS = 255  # numbered in a byte; two are usual where some labels take two bytes
ALIGNMENT = 64  # TensorFlow takes over an array at such an address, and copies one at another


class Record(NamedTuple):
    """A serialized record. It starts at `at` of `buffer`; `array` is a uint8 view of the same bytes."""

    buffer: mmap.mmap | bytes
    array: np.ndarray
    at: int
    layout: int


class Assembler:
    """Turns records into batches; several threads may use it at once."""

    def __init__(self, contract: Contract) -> None:
        stored = np.dtype(contracts.RAW_DTYPES[contract.encoding])
        self._shape = contract.image_shape
        self._classes = len(contract.labels)
        self._weighted = contract.weighted
        self._sizes = {"image": math.prod(self._shape) * stored.itemsize, "weight": 4}  # bytes
        self._dtype: np.dtype = stored
        self._layouts: list[Layout] = []  # of the records seen so far
        self._lock = threading.Lock()
        self._buffers = _Buffers()

    @property
    def dtypes(self) -> list[tf.DType]:
        """Of images as stored, labels, and weights if there are any."""
        return [tf.as_dtype(self._dtype), tf.int64, *([tf.float32] if self._weighted else [])]

    def check(self, buffer: mmap.mmap | bytes, start: int, stop: int) -> int:
        """The number of a record's layout, after comparing it with the contract.

        Raises:
          LayoutError: it is not as Shardmill writes records, or its label or sizes break the contract.
        """
        number = self._layout(buffer, start, stop)
        values = self._layouts[number].values
        for name, size in self._sizes.items():
            first, last = values[name]
            if last - first != size:
                raise LayoutError(f"its {name} should have {size} bytes. Received: {last - first}")
        self._label(buffer, start, values["label"])
        return number

    def label(self, buffer: mmap.mmap | bytes, start: int, stop: int) -> int:
        """The label of a record.

        Raises:
          LayoutError: it is not as Shardmill writes records, or its label breaks the contract.
        """
        return self._label(buffer, start, self._layouts[self._layout(buffer, start, stop)].values["label"])

    def _label(self, buffer: mmap.mmap | bytes, start: int, place: tuple[int, int]) -> int:
        label = varint(buffer[start + place[0] : start + place[1]])
        if not 0 <= label < self._classes:
            raise LayoutError(f"its label should be at least 0 and below {self._classes}. Received: {label}")
        return label

    def batch(self, size: int, records: Iterable[Record]) -> tuple[np.ndarray, ...]:
        """`size` checked records -> images (B, H, W, 3), labels int64 (B,)[, weights float32 (B,)]."""
        needed = size * math.prod(self._shape) * self._dtype.itemsize
        memory = self._buffers.take(needed)
        images = memory[:needed]
        rows = images.reshape(size, -1)  # as bytes: a record's numbers may lie at odd addresses
        labels, weights = np.empty(size, np.int64), np.empty(size, np.float32)
        for row, (buffer, array, at, layout) in enumerate(records):
            values = self._layouts[layout].values
            first, last = values["image"]
            rows[row] = array[at + first : at + last]
            first, last = values["label"]
            labels[row] = varint(buffer[at + first : at + last])
            if self._weighted:
                first, last = values["weight"]
                weights[row] = array[at + first : at + last].view("<f4")[0]
        made = (self._buffers.lend(memory, images.view(self._dtype).reshape(size, *self._shape)), labels)
        return (*made, weights) if self._weighted else made

    def _layout(self, buffer: mmap.mmap | bytes, start: int, stop: int) -> int:
        for number, layout in enumerate(self._layouts):
            if layout.size == stop - start and layout.fits(buffer, start):
                return number
        layout = Layout.of(buffer[start:stop])
        with self._lock:
            if len(self._layouts) == MAX_LAYOUTS:
                raise LayoutError(f"it should be like one of {MAX_LAYOUTS} records before it")
            self._layouts.append(layout)
            return len(self._layouts) - 1


class _Buffers:
    """Memory for arrays, used again when an array dies: fresh memory costs the system about as much to clear as a copy.

    There are as many buffers as arrays were ever alive at once.
    """

    def __init__(self) -> None:
        self._free: list[np.ndarray] = []  # the last one back goes out first: it may still be in a cache

    def take(self, size: int) -> np.ndarray:
        """At least `size` bytes at a multiple of ALIGNMENT, uint8, not set to anything."""
        if self._free and len(memory := self._free.pop()) >= size:
            return memory
        whole = np.empty(size + ALIGNMENT, np.uint8)
        start = -whole.ctypes.data % ALIGNMENT
        return whole[start : start + size]

    def lend(self, memory: np.ndarray, array: np.ndarray) -> np.ndarray:
        """The array, which lies in `memory`; once nobody holds the array any more, the memory is free again."""
        weakref.finalize(array, self._free.append, memory).atexit = False
        return array
