"""Gathers the records of a batch from mapped shards, by position.

The input pipeline calls it for each batch of a raw encoding. Gathering from maps gives a global shuffle at the cost of
a copy.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
import weakref
from collections.abc import Sequence

import numpy as np

from pipelines.contract import ContractError
from pipelines.contract.tfrecord import FOOTER_BYTES, HEADER_BYTES
from trainer.data.shards import mmap_array
from trainer.data.shards.example_layout import FITS, OTHER, UNSEEN, LayoutError, Rows
from trainer.data.shards.mmap_tfrecord import Shard

FRAME = HEADER_BYTES, FOOTER_BYTES  # number of bytes of a row before and after its record
ALIGNMENT = 64  # TensorFlow uses an array at such an address directly, and copies an array at another address


class Gather:
    """Reads the records of mapped shards for batches.

    Several threads may call it at once. A record is checked when it is first read, and not again in later epochs: its
    checksums, its layout, its label.

    whole: the records of all shards with their framing, as one array uint8 (R, width); None if they differ in length,
    if a shard begins with a record that another program wrote, or if the system cannot map them like this.
    """

    def __init__(self, rows: Rows, shards: Sequence[Shard]) -> None:
        self._rows = rows
        self._shards = shards
        self._firsts = np.cumsum([0, *(shard.records for shard in shards)])
        # Arrays over all records; an entry is valid after the record was read once.
        self._kinds = np.full(self._firsts[-1], UNSEEN, np.uint8)
        answers = rows.answers
        self._labels = np.empty((self._firsts[-1], *answers.shape), answers.dtype.as_numpy_dtype)
        self._weights = np.empty(self._firsts[-1], np.float32)
        self._images = np.empty(self._firsts[-1], np.int32)  # the byte of the record at which the image begins
        self._buffers = Buffers()
        self._mapped = _mapped(rows, shards)
        self.whole = self._mapped.rows if self._mapped else None
        self._places = np.empty(self._firsts[-1] if self._mapped else 0, np.int64)  # the row of each record

    def find(self, positions: np.ndarray) -> tuple[np.ndarray | None, ...]:
        """Finds records in `whole`, so that TensorFlow can use that array without a copy.

        A record that is not written as expected is copied once, into a row of its own that is. If a shard begins with
        such a record, `whole` is None, so that these copies are few.

        Args:
          positions: int64 (B,), counted through the shards.

        Returns:
          Their rows int64 (B,), `whole`, labels int64 (B,) or targets float32 (B, K), weights float32 (B,).

        Raises:
          ContractError: a record is damaged or breaks the contract; the message names the shard and the record.
        """
        with calls:
            if not self._kinds[positions].all():
                self._seen(positions, self._shards_of(positions))
            return self._places[positions], self.whole, self._labels[positions], self._weights[positions]

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Copies records: positions int64 (B,) -> uint8 (B, width).

        The result has the rows for `Rows(contract, *FRAME)`. Raises the errors of `find`.
        """
        with calls:
            which = self._shards_of(positions)
            kinds = self._seen(positions, which)
            needed = len(positions) * self._rows.width
            memory = self._buffers.take(needed)
            batch = memory[:needed].reshape(len(positions), self._rows.width)
            for row, position, shard, kind in zip(
                batch, positions.tolist(), which.tolist(), kinds.tolist(), strict=True
            ):
                self._copy(row, position, shard, kind)
            return self._buffers.lend(memory, batch)

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

    def _shards_of(self, positions: np.ndarray) -> np.ndarray:
        """Returns the index of the shard of each record, int64 (B,)."""
        return np.searchsorted(self._firsts, positions, side="right") - 1

    def _seen(self, positions: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Returns the states of records, after reading those that were not read yet.

        Args:
          positions: int64 (B,).
          which: int64 (B,), the index of the shard of each record.
        """
        kinds: np.ndarray = self._kinds[positions]
        if kinds.all():
            return kinds
        for i in np.flatnonzero(kinds == UNSEEN).tolist():
            shard, number = self._shards[which[i]], int(positions[i] - self._firsts[which[i]])
            shard.check(number)
            start, stop = shard.place(number)
            try:
                kind, image, label, weight = self._rows.read(shard.map, start, stop)
            except LayoutError as e:
                raise shard.error(number, str(e)) from e
            position = int(positions[i])
            self._labels[position], self._weights[position] = label, weight
            self._images[position] = image
            if self._mapped:
                self._places[position] = self._place(self._mapped, position, int(which[i]), kind)
            self._kinds[position] = kind  # set last, because other threads rely on it
        known: np.ndarray = self._kinds[positions]
        return known

    def _place(self, mapped: mmap_array.MappedRows, position: int, which: int, kind: int) -> int:
        """Returns the row of a record of shard number `which`.

        It first makes this row if the record is not written as expected.
        """
        number = position - int(self._firsts[which])
        start, _ = self._shards[which].place(number)
        # A file with records of several lengths may have the size of one with records of one length.
        if kind == FITS and start == HEADER_BYTES + number * self._rows.width:
            return int(mapped.firsts[which]) + number
        row = np.zeros(self._rows.width, np.uint8)
        self._copy(row, position, which, kind)
        mapped.write(position, row)
        return mapped.spare + position

    def _copy(self, row: np.ndarray, position: int, which: int, kind: int) -> None:
        """Copies the record at a position, of shard number `which`, into a row."""
        shard = self._shards[which]
        start, stop = shard.place(position - int(self._firsts[which]))
        if kind == FITS:
            frame = shard.bytes[start - HEADER_BYTES : stop]
            row[: len(frame)] = frame
            return
        first = start + int(self._images[position])
        image = shard.bytes[first : first + self._rows.image_bytes]
        self._rows.put(row, image, self._labels[position], float(self._weights[position]))


def _mapped(rows: Rows, shards: Sequence[Shard]) -> mmap_array.MappedRows | None:
    """Maps the shards as one array.

    Returns None if that is not possible, or if a shard begins with a record that another program wrote.
    """
    mapped = mmap_array.lay([shard.path for shard in shards], [shard.records for shard in shards], rows.width)
    for shard in shards if mapped else ():
        with contextlib.suppress(ContractError, LayoutError):  # found again, and told, when the record is read
            if shard.records and rows.read(shard.map, *shard.place(0))[0] == OTHER:
                return None
    return mapped


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
