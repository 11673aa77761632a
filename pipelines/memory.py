"""A bound on the memory that one image may take in a worker process, kept by the system.

What goes beyond it fails to be allocated, and nothing else on the machine suffers: a MemoryError, TensorFlow's
ResourceExhaustedError, or the end of one worker. Linux counts a process's private writable memory (RLIMIT_DATA);
elsewhere there is no such count, and no bound.
"""

from __future__ import annotations

import resource
import sys

_PAGE = resource.getpagesize()
_bounded = False


def allow() -> None:
    """From now on `bound` works in this process: called in workers only, never in the program itself."""
    global _bounded
    _bounded = sys.platform == "linux"


def bound(extra: int) -> None:
    """Allows this process `extra` bytes more than it holds now; does nothing where `allow` was not called.

    More than now and not than at its start: of what large images leave behind, the heap keeps some for the next ones.
    """
    if _bounded:
        with open("/proc/self/statm", "rb") as file:
            held = int(file.read().split()[5]) * _PAGE
        resource.setrlimit(resource.RLIMIT_DATA, (held + extra, resource.getrlimit(resource.RLIMIT_DATA)[1]))
