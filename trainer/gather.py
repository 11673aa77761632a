"""What the input pipeline calls for each batch of a raw encoding: records of mapped shards by position, or serialized.

Gathering from maps is a global shuffle for the price of a copy.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np

from pipelines.contract import ContractError
from trainer.assembler import Assembler, Record
from trainer.layout import LayoutError
from trainer.mapped import UNSEEN, Shard


class Gather:
    """Copies records of mapped shards into batches; several threads may call it at once.

    A record is checked when it is first read, and not again in later epochs: its checksums, its layout, its label.
    """

    def __init__(self, assembler: Assembler, shards: Sequence[Shard]) -> None:
        self._assembler = assembler
        self._shards = shards
        self._firsts = np.cumsum([0, *(shard.records for shard in shards)])

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, ...]:
        """Positions int64 (B,), counted through the shards -> images (B, H, W, 3), labels (B,)[, weights (B,)].

        Raises:
          ContractError: a record is damaged or breaks the contract; the message names the shard and the record.
        """
        with _calls:
            return self._assembler.batch(len(positions), self._records(positions))

    def labels(self) -> np.ndarray:
        """int64 (N,): the label of every record, read from a few bytes of each.

        Raises:
          ContractError: a record breaks the contract; the message names the shard and the record.
        """
        found = np.empty(self._firsts[-1], np.int64)
        for shard, first in zip(self._shards, self._firsts.tolist(), strict=False):
            for number in range(shard.records):
                try:
                    found[first + number] = self._assembler.label(shard.map, *shard.place(number))
                except LayoutError as e:
                    raise shard.error(number, str(e)) from e
        return found

    def _records(self, positions: np.ndarray) -> Iterator[Record]:
        which = np.searchsorted(self._firsts, positions, side="right") - 1
        numbers = positions - self._firsts[which]
        for shard, number in zip(map(self._shards.__getitem__, which.tolist()), numbers.tolist(), strict=True):
            if shard.kinds[number] == UNSEEN:
                self._check(shard, number)
            yield Record(shard.map, shard.bytes, shard.place(number)[0], shard.kinds[number])

    def _check(self, shard: Shard, number: int) -> None:
        shard.check(number)
        try:
            shard.kinds[number] = self._assembler.check(shard.map, *shard.place(number))
        except LayoutError as e:
            raise shard.error(number, str(e)) from e


class Parse:
    """Copies serialized records into batches; whoever read them has compared their checksums."""

    def __init__(self, assembler: Assembler) -> None:
        self._assembler = assembler

    def __call__(self, serialized: np.ndarray) -> tuple[np.ndarray, ...]:
        """Records, bytes (B,) -> images (B, H, W, 3), labels (B,)[, weights (B,)].

        Raises:
          ContractError: a record breaks the contract.
        """
        with _calls:
            return self._assembler.batch(len(serialized), map(self._record, serialized))

    def _record(self, data: bytes) -> Record:
        try:
            layout = self._assembler.check(data, 0, len(data))
        except LayoutError as e:
            raise ContractError(f"A record breaks the contract: {e}. Find it with `python -m pipelines verify`.") from e
        return Record(data, np.frombuffer(data, np.uint8), 0, layout)


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
