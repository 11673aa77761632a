"""Reads untrusted local files.

Anyone may have put such a file there, or may be changing it.
"""

from __future__ import annotations

import functools
import os
import stat

from pipelines.core import name_variants
from pipelines.core.errors import StorageError


def read(path: str, limit: int, inside: str = "") -> bytes:
    """Reads a regular file of at most `limit` bytes.

    Args:
      inside: The folder that the file has to lie in, links followed; "" permits any.

    Raises:
      StorageError: As `files.read_input`.
    """
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to returns at once instead of blocking for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as e:
        near = name_variants.nearby(path)
        hint = f" There is {near!r}: the case of its name differs, or its Unicode form." if near else ""
        raise StorageError("missing", f"There is no such file.{hint}") from e
    except (OSError, ValueError) as e:
        raise StorageError("unreadable", f"{type(e).__name__}: {e}") from e
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StorageError("not-a-file", "Not a regular file.")
        if inside and _leads_out(descriptor, path, _real(inside)):
            raise StorageError("changed", "Its path leads out of the input since the input was listed.")
        if status.st_size > limit:
            raise StorageError("too-large", f"{status.st_size} bytes; the limit is {limit} (--max-file-bytes).")
        data = _read_to_end(descriptor, status.st_size)
        if len(data) != status.st_size:
            raise StorageError("changed", "The file's size changed while it was read.")
        return data
    except StorageError:
        raise
    except OSError as e:
        raise StorageError("unreadable", f"{type(e).__name__}: {e}") from e
    finally:
        os.close(descriptor)


def _leads_out(descriptor: int, path: str, real_folder: str) -> bool:
    """Tells whether an open file lies outside a folder.

    The system is asked where the file is that was opened. To follow the path again could lead to another file.
    """
    try:
        real = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:  # macOS has no /proc
        real = ""
    if not real.startswith("/"):
        real = os.path.realpath(path)
    return os.path.commonpath([real, real_folder]) != real_folder


@functools.lru_cache(maxsize=8)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _read_to_end(descriptor: int, expected: int) -> bytes:
    """Reads the rest of a file, at most one byte more than expected.

    That takes a single system call where the system returns all bytes at once.
    """
    data = os.read(descriptor, expected + 1)
    while len(data) <= expected and (more := os.read(descriptor, expected + 1 - len(data))):
        data += more
    return data
