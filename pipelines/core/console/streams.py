"""Keeps the standard streams of a program usable, whatever it was started with."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Callable
from typing import TextIO

from pipelines.core.console import interrupts

LOST = 1  # exit status where the output could not be written completely


def run(program: Callable[[], int]) -> int:
    """Executes a program and returns its exit status.

    - A closed stream (`<&-`, `>&-`, `2>&-`) leads to the null device. Otherwise the next file that is opened would get
      its descriptor, and what libraries print would be written into that file.
    - A character that the encoding of standard output does not have is printed as an escape.
    - If the reader of the output ends early, as `head` does, the program ends without a word, with the status LOST.
    - An interrupt (Ctrl-C) reaches the program although a library swallows it: see `interrupts.repeated`.

    Raises:
      SystemExit: The program raised it.
    """
    _open_closed()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with interrupts.repeated():
            status = program()
    except SystemExit:  # argparse, after --help
        if not _flushed():
            return LOST
        raise
    except BrokenPipeError:
        if not (_reader_is_gone(sys.stdout) or _reader_is_gone(sys.stderr)):
            raise  # another pipe has broken: that is a defect
        _flushed()
        return LOST
    return status if _flushed() else LOST


def _open_closed() -> None:
    for descriptor in range(3):  # first of all, because anything that is opened takes the first free one
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            os.set_inheritable(descriptor, True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (as long as the process)


def _flushed() -> bool:
    """Writes what is still buffered. Returns whether standard output got it.

    The interpreter would do so at its end, with a traceback if it fails.
    """
    whole = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as e:
            whole = whole and stream is not sys.stdout
            if not isinstance(e, BrokenPipeError):
                with contextlib.suppress(OSError):
                    sys.stderr.write(f"error: The output cannot be written: {e.strerror}.\n")
            _discard(stream)
    return whole


def _discard(stream: TextIO) -> None:
    """Sends what is buffered, and all that comes, to the null device."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()


def _reader_is_gone(stream: TextIO) -> bool:
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    except (OSError, ValueError):  # a stream in memory, of a notebook or of a test
        return False
