"""Limits the memory that one image may take in a worker process.

The operating system enforces the limit. An allocation beyond it fails, and nothing else on the machine suffers: the
result is a MemoryError, TensorFlow's ResourceExhaustedError, or the end of one worker. Linux counts a process's private
writable memory (RLIMIT_DATA). Other systems have no such count, and there is no limit on them.
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

LARGE = 32 << 20  # pixels above which workers take turns: one such picture can take most of a gigabyte
_PAGE = resource.getpagesize()
_turn = tempfile.TemporaryFile()  # noqa: SIM115 (opened before workers are forked, and shared by them)
_statm = -1  # file descriptor, in a worker process that limits its memory


def allow() -> None:
    """Enables `bound` in this process.

    It is called in workers only, and never in the program itself.
    """
    global _statm
    if sys.platform == "linux":
        _statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def bound(extra: int) -> None:
    """Allows this process `extra` bytes more than it holds now.

    It does nothing where `allow` was not called. The limit starts from the memory held now, and not from that at the
    process's start, since the heap keeps some of the memory of large images for the next ones. A lower limit of the
    system (`ulimit -d`) stays.
    """
    if _statm >= 0:
        held = int(os.pread(_statm, 200, 0).split()[5]) * _PAGE
        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = held + extra
        resource.setrlimit(
            resource.RLIMIT_DATA, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most)
        )


def give_back() -> None:
    """Returns memory of the heap that is free to the system.

    It does nothing where `allow` was not called.
    """
    if _statm >= 0:
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def turn(pixels: int, seconds: float) -> Iterator[None]:
    """Lets one worker at a time decode a picture above LARGE pixels, as a context.

    A worker that has waited for `seconds` continues without its turn. The system ends the turn of a worker that dies.
    At the end, memory that the picture leaves in the heap is returned to the system.
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
        give_back()
        if mine:
            fcntl.lockf(_turn, fcntl.LOCK_UN)


def _lock() -> bool:
    try:
        fcntl.lockf(_turn, fcntl.LOCK_EX | fcntl.LOCK_NB)  # this lock belongs to the process, unlike that of flock
    except OSError:
        return False
    return True
