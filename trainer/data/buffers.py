"""Memory for batches, kept for the next one."""

from __future__ import annotations

import weakref

import numpy as np

ALIGNMENT = 64  # TensorFlow takes over an array at such an address, and copies one at another


class Buffers:
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
