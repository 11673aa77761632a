"""A bound on the memory that one image may take in a worker process, kept by the system.

What goes beyond it fails to be allocated, and nothing else on the machine suffers: a MemoryError, TensorFlow's
ResourceExhaustedError, or the end of one worker. Linux counts a process's private writable memory (RLIMIT_DATA);
elsewhere there is no such count, and no bound.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator

LARGE = 32 << 20  # pixels above which workers take turns: one picture of these can take most of a gigabyte
_PAGE = resource.getpagesize()
_turn = tempfile.TemporaryFile()  # noqa: SIM115 (opened before workers are forked, and shared by them)
_statm = -1  # of a worker process that bounds itself


def allow() -> None:
    """From now on `bound` works in this process: called in workers only, never in the program itself."""
    global _statm
    if sys.platform == "linux":
        _statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def bound(extra: int) -> None:
    """Allows this process `extra` bytes more than it holds now; does nothing where `allow` was not called.

    More than now and not than at its start: of what large images leave behind, the heap keeps some for the next ones.
    """
    if _statm >= 0:
        held = int(os.pread(_statm, 200, 0).split()[5]) * _PAGE
        resource.setrlimit(resource.RLIMIT_DATA, (held + extra, resource.getrlimit(resource.RLIMIT_DATA)[1]))


@contextlib.contextmanager
def turn(pixels: int, seconds: float) -> Iterator[None]:
    """Within it, no other worker decodes a picture above LARGE, unless one had waited so many seconds for its turn.

    The system ends the turn of a worker that dies. What the picture leaves in the heap is given back.
    """
    if _statm < 0 or pixels <= LARGE:
        yield
        return
    end = time.monotonic() + seconds
    while not (mine := _lock()) and time.monotonic() < end:
        time.sleep(0.01)
    try:
        yield
    finally:
        ctypes.CDLL(None).malloc_trim(0)
        if mine:
            fcntl.lockf(_turn, fcntl.LOCK_UN)


def _lock() -> bool:
    try:
        fcntl.lockf(_turn, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of the process, unlike flock
    except OSError:
        return False
    return True
