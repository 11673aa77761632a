"""Handles SIGTERM while training.

Schedulers send this signal some seconds before they take a machine away.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

_log = logging.getLogger(__name__)

STATUS = 128 + signal.SIGTERM  # the exit status of a program that was ended by the signal


@contextlib.contextmanager
def noted(active: bool = True) -> Iterator[Callable[[], bool]]:
    """Delays the first SIGTERM: inside the context it only sets a flag.

    A second SIGTERM ends the process at once, as any SIGTERM does outside the context. If the first one came too late
    for the body to react, it takes effect where the body ends.

    Args:
      active: False to change nothing. Nothing is changed outside of the main thread either, because only the main
        thread receives signals.

    Yields:
      A function that returns whether SIGTERM has come.
    """
    came = threading.Event()
    if not active or not _can_choose():
        yield came.is_set
        return

    def note(*_: object) -> None:
        came.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
    if came.is_set():
        signal.raise_signal(signal.SIGTERM)


def at_once() -> None:
    """Makes SIGTERM end the process at once, whatever handler was set before."""
    if _can_choose():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def leave() -> NoReturn:
    """Ends the program with the exit status of SIGTERM. Raises SystemExit."""
    _log.info("ended by SIGTERM: the same command with --resume continues from the last checkpoint")
    sys.exit(STATUS)


def _can_choose() -> bool:
    return threading.current_thread() is threading.main_thread()
