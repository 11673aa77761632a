"""Sorts more items than memory holds.

Sorted runs are written to a temporary file, and merged while they are read.
"""

from __future__ import annotations

import heapq
import itertools
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
RUN = 100_000  # items that are sorted in memory
BLOCK = 256  # items of a run that are read at a time while runs are merged


def ordered(items: Iterable[T], key: Callable[[T], Any], run: int = RUN, block: int = BLOCK) -> Iterator[T]:
    """Yields the items in order of their keys; the sort is stable.

    It needs the memory of one run. If there are more items, they are kept in one temporary file, which has no name and
    is removed when this process ends.

    Args:
      items: The items; they must be picklable.
      key: Returns the sort key of an item.
      run: Number of items that are sorted in memory.
      block: Number of a run's items that are read at a time while runs are merged.
    """
    source = iter(items)
    first = sorted(itertools.islice(source, run), key=key)
    if len(first) < run:
        yield from first
        return
    with tempfile.TemporaryFile() as file:
        runs = [_write(first, file.fileno(), block)]
        first.clear()
        while more := sorted(itertools.islice(source, run), key=key):
            runs.append(_write(more, file.fileno(), block))
            more.clear()
        yield from heapq.merge(*(_read(file.fileno(), blocks) for blocks in runs), key=key)


def _write(items: list[Any], descriptor: int, block: int) -> list[tuple[int, int]]:
    """Appends the items to the file in blocks.

    Returns:
      (position in the file, size in bytes) of each block.
    """
    blocks = []
    for start in range(0, len(items), block):
        data = pickle.dumps(items[start : start + block], pickle.HIGHEST_PROTOCOL)
        blocks.append((os.lseek(descriptor, 0, os.SEEK_END), len(data)))
        with open(descriptor, "ab", closefd=False) as file:
            file.write(data)
    return blocks


def _read(descriptor: int, blocks: Iterable[tuple[int, int]]) -> Iterator[Any]:
    for offset, size in blocks:
        yield from pickle.loads(os.pread(descriptor, size, offset))  # noqa: S301 (this process wrote it)
