"""What the input pipeline calls for each batch of a raw encoding: records of mapped shards, by position.

Gathering from maps is a global shuffle for the price of a copy.
"""

from __future__ import annotations

import atexit
import itertools
import threading
import time
from collections.abc import Sequence

import numpy as np

from trainer.buffers import Buffers
from trainer.layout import LayoutError
from trainer.mapped import FRAMING, HEADER, Shard
from trainer.rows import FITS, UNSEEN, Rows

FRAME = HEADER, FRAMING - HEADER  # bytes of a row before and after its record


class Gather:
    """Copies records of mapped shards into batches; several threads may call it at once.

    A record is checked when it is first read, and not again in later epochs: its checksums, its layout, its label.
    """

    def __init__(self, rows: Rows, shards: Sequence[Shard]) -> None:
        self._rows = rows
        self._shards = shards
        self._firsts = np.cumsum([0, *(shard.records for shard in shards)])
        self._buffers = Buffers()

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Positions int64 (B,), counted through the shards -> uint8 (B, width), rows for `Rows(contract, *FRAME)`.

        Raises:
          ContractError: a record is damaged or breaks the contract; the message names the shard and the record.
        """
        with _calls:
            which = np.searchsorted(self._firsts, positions, side="right") - 1
            numbers = positions - self._firsts[which]
            needed = len(positions) * self._rows.width
            memory = self._buffers.take(needed)
            batch = memory[:needed].reshape(len(positions), self._rows.width)
            # One call for neighbours of one shard: each hands the interpreter's lock to another thread and back.
            edges = [0, *(np.flatnonzero(np.diff(which)) + 1).tolist(), len(positions)]
            for start, stop in itertools.pairwise(edges):
                self._copy(self._shards[which[start]], numbers[start:stop], batch[start:stop])
            return self._buffers.lend(memory, batch)

    def labels(self) -> np.ndarray:
        """int64 (N,): the label of every record, read from a few bytes of each.

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

    def _copy(self, shard: Shard, numbers: np.ndarray, batch: np.ndarray) -> None:
        kinds = shard.kinds[numbers]
        if not kinds.all():
            for number in numbers[kinds == UNSEEN].tolist():
                self._check(shard, number)
            kinds = shard.kinds[numbers]
        frames = shard.frames
        if frames is not None and frames.shape[1] == batch.shape[1] and (kinds == FITS).all():
            np.take(frames, numbers, axis=0, out=batch, mode="clip")  # another mode would copy the batch twice
            return
        for row, number, kind in zip(batch, numbers.tolist(), kinds.tolist(), strict=True):
            start, stop = shard.place(number)
            if kind == FITS:
                frame = shard.bytes[start - HEADER : stop]
                row[: len(frame)] = frame
            else:
                self._rows.put(row, shard.map[start:stop])

    def _check(self, shard: Shard, number: int) -> None:
        shard.check(number)
        try:
            shard.kinds[number] = self._rows.kind(shard.map, *shard.place(number))
        except LayoutError as e:
            raise shard.error(number, str(e)) from e


def order(shards: Sequence[int], together: int) -> np.ndarray:
    """The order in which streams read side by side give the records of shards, of `shards[i]` records each.

    Returns:
      Positions int64 (N,): of `together` shards the first record of each, the second of each ..., then of the next.
    """
    numbers = [np.arange(records) for records in shards]
    groups = [np.concatenate(numbers[i : i + together]) for i in range(0, len(shards), together)]
    starts = np.cumsum([0, *map(len, groups)])
    return np.concatenate([np.argsort(g, kind="stable") + start for g, start in zip(groups, starts, strict=False)])


class _Calls:
    """Lets the interpreter end only when no batch is being made.

    TensorFlow's threads ask for batches ahead of the one in use. An iterator that is alive at the end of a program is
    destroyed while the interpreter shuts down, and waits for these threads; they wait for an interpreter that runs no
    more. So at exit calls fail at once, until TensorFlow has what it asked for and asks no more.
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
        """Waits until none has begun for a moment, but not for ever."""
        self._ending = True
        end = time.monotonic() + self.PATIENCE_SECONDS
        before = 0  # a program that never read a batch does not wait
        while (self._done < self._begun or self._begun > before) and time.monotonic() < end:
            before = self._begun
            time.sleep(self.QUIET_SECONDS)


_calls = _Calls()
atexit.register(_calls.finish)
