"""Repeats an interrupt (Ctrl-C) that a library swallows."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

STATUS = 130  # exit status of an interrupted program, as shells give it: 128 + SIGINT
SECONDS = 3.0  # between two interrupts; what is left to do after the first one takes less


@contextlib.contextmanager
def repeated() -> Iterator[None]:
    """Repeats an interrupt until the body has ended, as a context.

    Libraries have clauses `except:` that end a KeyboardInterrupt, such as those of Keras where it builds a layer. The
    program would then go on as if nobody had pressed Ctrl-C.

    It changes nothing outside of the main thread, or where SIGINT is ignored or has another handler than Python's.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    main, ended, repeating = threading.main_thread().ident or 0, threading.Event(), threading.Event()

    def repeat() -> None:
        while not ended.wait(SECONDS):
            signal.pthread_kill(main, signal.SIGINT)  # a signal to another thread would not wake the main thread

    def interrupt(number: int, frame: object) -> None:
        if not repeating.is_set():
            repeating.set()
            threading.Thread(target=repeat, name="interrupts", daemon=True).start()
        if not ended.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        ended.set()
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)
