"""Reads serialized records of mapped shards by position.

The index is the start of each record, which leads from one to the next. So the order of compressed images can be any,
and leaving out those of a pass that was begun before takes no time.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Sequence

import numpy as np

from pipelines.contract import Contract
from trainer.data.shards.example_layout import LabelBytes, Layout, LayoutError, read_answer
from trainer.data.shards.gather import calls
from trainer.data.shards.mmap_tfrecord import Shard


class IndexedRecords:
    """Reads records by position, counted through the shards.

    Several threads may call it at once. Both checksums of a record are compared when it is first read.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards
        self._firsts = np.cumsum([0, *(shard.records for shard in shards)])
        self._checked = np.zeros(self._firsts[-1], bool)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Returns the serialized records at positions int64 (B,), bytes (B,).

        Raises:
          ContractError: the checksum of a record does not agree, or the lengths in its shard are wrong; the message
            names the shard and the record.
        """
        with calls:
            places = [self._place(position) for position in positions.tolist()]
            unread = ~self._checked[positions]
            for i in np.flatnonzero(unread).tolist():
                _fetch(*places[i])
            for i in np.flatnonzero(unread).tolist():
                shard, number = places[i]
                shard.check(number)
                self._checked[positions[i]] = True
            found = np.empty(len(places), object)
            for i, (shard, number) in enumerate(places):
                start, stop = shard.place(number)
                found[i] = shard.map[start:stop]
            return found

    def _place(self, position: int) -> tuple[Shard, int]:
        """Returns the shard of a record, and its number there."""
        which = int(np.searchsorted(self._firsts, position, side="right")) - 1
        return self._shards[which], position - int(self._firsts[which])


def labels(contract: Contract, shards: Sequence[Shard]) -> np.ndarray:
    """Reads the label of every record, int64 (N,). All records are read.

    Raises:
      ContractError: a record breaks the contract; the message names the shard and the record.
    """
    found, answer = [], LabelBytes(contract)
    for shard in shards:
        for number in range(shard.records):
            start, stop = shard.place(number)
            record = shard.map[start:stop]
            try:
                found.append(read_answer(answer, record, 0, Layout.of(record).values))
            except LayoutError as e:
                raise shard.error(number, str(e)) from e
    return np.array(found, np.int64)


def _fetch(shard: Shard, number: int) -> None:
    """Asks the system for the pages of a record.

    So the disk has the requests of a whole batch at once, and no page is waited for while the next is not asked for.
    """
    start, stop = shard.place(number)
    first = start // mmap.PAGESIZE * mmap.PAGESIZE
    with contextlib.suppress(AttributeError, OSError):  # a system that has no such call, or does not want it
        shard.map.madvise(mmap.MADV_WILLNEED, first, stop - first)
