"""Maps several files of equal records as one array.

The files are placed in the address space so that their rows form one array. One operation then gathers a batch from all
of them, directly from the page cache.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import mmap
import os
import sys
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

MAP_FIXED = 0x10  # a flag of mmap(2), from Linux's and macOS's headers
MAP_NORESERVE = {"linux": 0x4000, "darwin": 0x40}  # the gaps between files need no memory
FAILED = ctypes.c_void_p(-1).value
_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {  # result and arguments
    "mmap": (_POINTER, [_POINTER, _SIZE, _INT, _INT, _INT, ctypes.c_ssize_t]),
    "mprotect": (_INT, [_POINTER, _SIZE, _INT]),
}


class MappedRows:
    """Holds the rows of several files as one array. `lay` makes it.

    rows: uint8 (R, width), read-only, mapped until no reference is left. The last ones are rows of zeros, one for each
      record; they take no memory until `write` is called.
    firsts: the first row of each file, int64 (F,).
    spare: the first of the rows of zeros.
    """

    def __init__(self, rows: np.ndarray, firsts: np.ndarray, spare: int) -> None:
        self.rows, self.firsts, self.spare = rows, firsts, spare

    def write(self, record: int, row: np.ndarray) -> None:
        """Writes a row in the place of the zeros for a record.

        Args:
          record: number of the record; its row is at `spare + record`.
          row: uint8 (width,).

        Raises:
          OSError: there is no memory for it.
        """
        width = self.rows.shape[1]
        address = self.rows.ctypes.data + (self.spare + record) * width
        page = address // mmap.PAGESIZE * mmap.PAGESIZE
        if _call("mprotect")(page, address + width - page, mmap.PROT_READ | mmap.PROT_WRITE):
            raise OSError(ctypes.get_errno(), "There is no memory for a row of a shard")
        ctypes.memmove(address, row.ctypes.data, width)


def lay(paths: Sequence[str], records: Sequence[int], width: int) -> MappedRows | None:
    """Maps files of `records[i]` rows of `width` bytes each.

    A file can only begin at a page boundary, and so only at every (page / gcd(page, width))-th row. Between the files
    are rows of zeros, which take room in the address space and no memory.

    Returns:
      The rows; None if a file has another size, or if the system cannot map the files like this: it has no such call,
      or no room is left in the address space.

    Raises:
      OSError: a file cannot be opened.
    """
    if sys.platform not in MAP_NORESERVE:
        return None
    step = mmap.PAGESIZE // math.gcd(mmap.PAGESIZE, width)
    firsts = [0, *itertools.accumulate(-(-count // step) * step for count in records)]
    count = firsts[-1] + sum(records)
    size, call = count * width, _call("mmap")
    base = call(None, size, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE[sys.platform], -1, 0)
    if base in (None, FAILED):
        return None
    memory = (ctypes.c_uint8 * size).from_address(base)
    weakref.finalize(memory, ctypes.CDLL(None).munmap, ctypes.c_void_p(base), ctypes.c_size_t(size)).atexit = False
    for path, number, first in zip(paths, records, firsts, strict=False):
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size != number * width:
                return None
            at = base + first * width
            if call(at, number * width, mmap.PROT_READ, mmap.MAP_SHARED | MAP_FIXED, file.fileno(), 0) != at:
                return None
    rows = np.ctypeslib.as_array(memory).reshape(count, width)
    rows.flags.writeable = False  # the pages are read-only: a write would end the process
    return MappedRows(rows, np.array(firsts[:-1]), firsts[-1])


def _call(name: str) -> ctypes._NamedFuncPointer:
    call = ctypes.CDLL(None, use_errno=True)[name]
    call.restype, call.argtypes = _SIGNATURES[name]
    return call
