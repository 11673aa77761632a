"""Locks output directories, so that two programs do not write to one."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator

from pipelines.core.errors import BusyError

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def held(directory: str) -> Iterator[None]:
    """Holds the lock of a local directory, as a context.

    `prepare` and `train` take the same lock. It ends with the process, however that ends.

    Args:
      directory: A directory that exists.

    Raises:
      BusyError: Another run holds the lock.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise BusyError(
                f"Another run is writing to {directory!r}. Wait until it has ended, or choose another --output."
            ) from e
        except OSError as e:  # the file system has no locks
            _log.warning("%s cannot be locked (%s): do not run twice on it.", directory, e.strerror)
        yield
    finally:
        os.close(descriptor)
