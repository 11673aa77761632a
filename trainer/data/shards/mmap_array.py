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

import numpy as np

MAP_FIXED = 0x10  # a flag of mmap(2), from Linux's and macOS's headers
MAP_NORESERVE = {"linux": 0x4000, "darwin": 0x40}  # the gaps between files need no memory
FAILED = ctypes.c_void_p(-1).value


def lay(paths: Sequence[str], records: Sequence[int], width: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Maps files of `records[i]` rows of `width` bytes each.

    A file can only begin at a page boundary, and so only at every (page / gcd(page, width))-th row. Between the files
    are rows of zeros, which take room in the address space and no memory.

    Returns:
      Rows uint8 (R, width), read-only, mapped until no reference is left; and the first row of each file, int64 (F,).
      None if a file has another size, or if the system cannot map the files like this: it has no such call, or no room
      is left in the address space.

    Raises:
      OSError: a file cannot be opened.
    """
    if sys.platform not in MAP_NORESERVE:
        return None
    step = mmap.PAGESIZE // math.gcd(mmap.PAGESIZE, width)
    firsts = [0, *itertools.accumulate(-(-count // step) * step for count in records)]
    size = firsts[-1] * width
    call = _mmap()
    base = call(None, size, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE[sys.platform], -1, 0)
    if base in (None, FAILED):
        return None
    memory = (ctypes.c_uint8 * size).from_address(base)
    weakref.finalize(memory, ctypes.CDLL(None).munmap, ctypes.c_void_p(base), ctypes.c_size_t(size)).atexit = False
    for path, count, first in zip(paths, records, firsts, strict=False):
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size != count * width:
                return None
            at = base + first * width
            if call(at, count * width, mmap.PROT_READ, mmap.MAP_SHARED | MAP_FIXED, file.fileno(), 0) != at:
                return None
    rows = np.ctypeslib.as_array(memory).reshape(firsts[-1], width)
    rows.flags.writeable = False  # the pages are read-only: a write would end the process
    return rows, np.array(firsts[:-1])


def _mmap() -> ctypes._NamedFuncPointer:
    call = ctypes.CDLL(None).mmap
    call.restype = ctypes.c_void_p
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ssize_t]
    return call
