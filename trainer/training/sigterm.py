"""SIGTERM while training, which schedulers send some seconds before they take a machine away."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

STATUS = 128 + signal.SIGTERM  # the exit status of a program that the signal ended


@contextlib.contextmanager
def noted(active: bool = True) -> Iterator[Callable[[], bool]]:
    """Inside, a first SIGTERM is only noted, and a second one ends the process at once, as any does outside.

    One that came too late for the body to heed it takes effect where the body ends.

    Args:
      active: False, and outside of the main thread, which alone gets signals: nothing is changed.

    Yields:
      Whether SIGTERM has come.
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
    """Has SIGTERM end the process, whoever in it would only note it."""
    if _can_choose():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def leave(say: Callable[[str], None]) -> NoReturn:
    """Ends the program as the signal would have. Raises SystemExit."""
    say("ended by SIGTERM: the same command with --resume goes on from the last checkpoint")
    sys.exit(STATUS)


def _can_choose() -> bool:
    return threading.current_thread() is threading.main_thread()
