"""Gathers the records of a batch from mapped shards, by position.

The input pipeline calls it for each batch of a raw encoding. Gathering from maps gives a global shuffle at the cost of
a copy.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.contract.tfrecord import FOOTER_BYTES, HEADER_BYTES
from trainer.data.shards import mmap_array
from trainer.data.shards.example_layout import FITS, OTHER, UNSEEN, LayoutError, Rows
from trainer.data.shards.mmap_tfrecord import Shard

BEFORE, AFTER = HEADER_BYTES, FOOTER_BYTES  # number of bytes of a row before and after its record
ALIGNMENT = 64  # TensorFlow uses an array at such an address directly, and copies an array at another address


class Gather:
    """Reads the records of mapped shards for batches.

    Several threads may call it at once. A record is checked when it is first read, and not again in later epochs: its
    checksums, its layout, its label.

    whole: the records of all shards with their framing, as one array uint8 (R, width); None if they differ in length or
    the system cannot map them like this.
    """

    def __init__(self, rows: Rows, shards: Sequence[Shard]) -> None:
        self._rows = rows
        self._shards = shards
        self._firsts = np.cumsum([0, *(shard.records for shard in shards)])
        # Arrays over all records; an entry is valid after the record was read once.
        self._kinds = np.full(self._firsts[-1], UNSEEN, np.uint8)
        answers = rows.answers
        self._answers = np.empty((self._firsts[-1], *answers.shape), answers.dtype.as_numpy_dtype)
        self._weights = np.empty(self._firsts[-1], np.float32) if rows.weighted else None
        self._images = np.empty(self._firsts[-1], np.int32)  # the byte of the record at which the image begins
        self._image = slice(rows.image, rows.image + rows.image_bytes)  # the bytes of a row that are the image
        self._buffers = Buffers()
        self.whole, self._shifts = _whole(shards, rows.width)

    def find(self, positions: np.ndarray) -> tuple[Any, ...]:
        """Finds images, so that TensorFlow can read them from the shards.

        Args:
          positions: int64 (B,), counted through the shards.

        Returns:
          Rows int64 (B,) of an array, the array uint8 (R, width), and labels or targets and weights as `images` returns
          them. The image begins at byte `rows.image` of a row. The array is `whole`, or if a record of the batch is
          written in another way, a copy of the images.

        Raises:
          ContractError: a record is damaged or breaks the contract; the message names the shard and the record.
        """
        with calls:
            which, fit = self._seen(positions)
            numbers = self._numbers(positions)
            if fit and self.whole is not None:
                return positions + self._shifts[which], self.whole, *numbers
            size = len(positions) * self._rows.width
            memory = self._buffers.take(size)
            batch = memory[:size].reshape(len(positions), self._rows.width)
            self._copy(positions, which, fit, batch[:, self._image])
            return np.arange(len(positions)), self._buffers.lend(memory, batch), *numbers

    def images(self, positions: np.ndarray) -> tuple[Any, ...]:
        """Copies the images of records.

        Args:
          positions: int64 (B,), counted through the shards.

        Returns:
          Images (B, H, W, C) as they are stored, labels int64 (B,) or targets float32 (B, K)[, weights float32 (B,)].

        Raises:
          ContractError: as `find`.
        """
        with calls:
            which, fit = self._seen(positions)
            size = len(positions) * self._rows.image_bytes
            memory = self._buffers.take(size)
            batch = memory[:size]
            self._copy(positions, which, fit, batch.reshape(len(positions), -1))
            images = batch.view(self._rows.image_dtype.as_numpy_dtype).reshape(-1, *self._rows.image_shape)
            return self._buffers.lend(memory, images), *self._numbers(positions)

    def labels(self) -> np.ndarray:
        """Reads the label of every record, int64 (N,), from a few bytes of each.

        Raises:
          ContractError: a record breaks the contract; the message names the shard and the record.
        """
        found = np.empty(self._firsts[-1], np.int64)
        for shard, first in zip(self._shards, self._firsts.tolist(), strict=False):
            for number in range(shard.records):
                try:
                    found[first + number] = self._rows.label(shard.map, *shard.place(number))
                except LayoutError as e:
                    raise shard.error(number, str(e)) from e
        return found

    def _numbers(self, positions: np.ndarray) -> tuple[np.ndarray, ...]:
        answers = self._answers[positions]
        return (answers,) if self._weights is None else (answers, self._weights[positions])

    def _seen(self, positions: np.ndarray) -> tuple[np.ndarray, bool]:
        """Reads the records that were not read yet.

        Args:
          positions: int64 (B,).

        Returns:
          The index of the shard of each record, int64 (B,), and whether all records are written as expected.
        """
        which = np.searchsorted(self._firsts, positions, side="right") - 1
        kinds = self._kinds[positions]
        for i in np.flatnonzero(kinds == UNSEEN).tolist():
            shard, number = self._shards[which[i]], int(positions[i] - self._firsts[which[i]])
            shard.check(number)
            start, stop = shard.place(number)
            try:
                kind, image, answer, weight = self._rows.read(shard.map, start, stop)
            except LayoutError as e:
                raise shard.error(number, str(e)) from e
            # A file with records of several lengths may have the same size.
            astray = self.whole is not None and start != HEADER_BYTES + number * self._rows.width
            self._answers[positions[i]] = answer
            if self._weights is not None:
                self._weights[positions[i]] = weight
            self._images[positions[i]] = image
            kinds[i] = OTHER if astray else kind
            self._kinds[positions[i]] = kinds[i]  # set last, because other threads rely on it
        return which, bool((kinds == FITS).all())

    def _copy(self, positions: np.ndarray, which: np.ndarray, fit: bool, batch: np.ndarray) -> None:
        """Copies the images of records that were read once.

        Args:
          positions: int64 (B,).
          which, fit: from `_seen`.
          batch: uint8 (B, bytes of an image), to be filled.
        """
        if fit and self.whole is not None:
            images = self.whole[:, self._image]
            for target, row in zip(batch, (positions + self._shifts[which]).tolist(), strict=True):
                target[:] = images[row]
            return
        starts = self._images[positions].tolist()
        numbers = (positions - self._firsts[which]).tolist()
        for target, index, number, image in zip(batch, which.tolist(), numbers, starts, strict=True):
            shard = self._shards[index]
            first = shard.place(number)[0] + image
            target[:] = shard.bytes[first : first + len(target)]


def _whole(shards: Sequence[Shard], width: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Returns the shards as one array, and for each the offset int64 (F,) of its rows.

    A position plus the offset of its shard is the row of the record.
    """
    records = [shard.records for shard in shards]
    laid = mmap_array.lay([shard.path for shard in shards], records, width)
    if laid is None:
        return None, np.zeros(len(shards), np.int64)
    whole, firsts = laid
    return whole, firsts - np.cumsum([0, *records[:-1]])


class Buffers:
    """Keeps memory for arrays and uses it again after an array is deleted.

    For fresh memory the system has to clear pages, which costs about as much as a copy. There are as many buffers as
    arrays ever existed at the same time.
    """

    def __init__(self) -> None:
        self._free: list[np.ndarray] = []  # the last one returned is used first: it may still be in a processor cache

    def take(self, size: int) -> np.ndarray:
        """Returns uninitialized memory, uint8, at a multiple of ALIGNMENT.

        It has at least `size` bytes.
        """
        if self._free and len(memory := self._free.pop()) >= size:
            return memory
        whole = np.empty(size + ALIGNMENT, np.uint8)
        start = -whole.ctypes.data % ALIGNMENT
        return whole[start : start + size]

    def lend(self, memory: np.ndarray, array: np.ndarray) -> np.ndarray:
        """Returns the array, and takes `memory` back after the array is deleted.

        The array lies in `memory`.
        """
        weakref.finalize(array, self._free.append, memory).atexit = False
        return array


class Calls:
    """Delays the end of the interpreter until no batch is being made.

    TensorFlow's threads request batches ahead of the one in use. An iterator that exists at the end of a program is
    destroyed while the interpreter shuts down, and waits for these threads. The threads wait for an interpreter that no
    longer runs. Therefore, at exit, calls fail at once, until TensorFlow has received its results and makes no more
    requests.
    """

    QUIET_SECONDS, PATIENCE_SECONDS = 0.05, 5.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = self._done = 0
        self._ending = False

    def __enter__(self) -> None:
        with self._lock:
            self._begun += 1
        if self._ending:
            self.__exit__()
            raise RuntimeError("The program is ending.")

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._done += 1

    def finish(self) -> None:
        """Waits until no call has begun for a moment, for a limited time."""
        self._ending = True
        end = time.monotonic() + self.PATIENCE_SECONDS
        before = 0  # so that a program that never read a batch does not wait
        while (self._done < self._begun or self._begun > before) and time.monotonic() < end:
            before = self._begun
            time.sleep(self.QUIET_SECONDS)


calls = Calls()
atexit.register(calls.finish)
