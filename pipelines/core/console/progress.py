"""Shows a progress line, which is updated from inside the workers.

Beam's local runner blocks in `run()` and reports nothing. The count is kept in this process. If the stages run in other
processes, finished shards are counted instead.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

_lock = threading.Lock()
_done = 0
_total = 0
_stage = "reading"


def advance(count: int) -> None:
    """Adds to the number of finished records."""
    global _done
    with _lock:
        _done += count


def begin(stage: str, total: int) -> None:
    """Starts to count a stage from zero.

    Args:
      stage: What is counted from now on, as the progress line shows it.
      total: How many there are to do; 0 if that is not known.
    """
    global _stage, _total, _done
    with _lock:
        _stage, _total, _done = stage, total, 0


def line(done: int, total: int, seconds: float, stage: str) -> str:
    """Formats the progress line: images done, rate, time left."""
    rate = done / seconds if seconds > 0 else 0.0
    text = f"{stage}: {done:,}" + (f" of {total:,}" if total else "") + f" images, {rate:,.0f}/s"
    if total and rate:
        left = max(0.0, (total - done) / rate)
        text += f", {int(left // 60)}:{int(left % 60):02d} left"
    return text


def _shards_line(done: int, total: int) -> str:
    return f"preparing: {done:,} of {total:,} shards" if total else "reading"


def _shards_now(shards: Callable[[], tuple[int, int]]) -> str:
    try:
        return _shards_line(*shards())
    except Exception:  # each remote client raises its own types; the next line asks again
        return "preparing: the storage does not answer"


@contextlib.contextmanager
def shown(
    stream: TextIO | None = None,
    every: float = 10.0,
    shards: Callable[[], tuple[int, int]] | None = None,
    pause: float = 0.5,
) -> Iterator[None]:
    """Shows progress while the body runs.

    On a terminal, one line is rewritten; elsewhere, plain lines are printed.

    Args:
      stream: Where to write; None: standard error.
      every: Seconds between plain lines.
      shards: Returns the number of shards that exist and of all shards (0: not known). None: count images, in this
        process.
      pause: Minimum number of seconds between updates of a terminal's line; at least 0.5.
    """
    out = sys.stderr if stream is None else stream
    terminal = bool(getattr(out, "isatty", lambda: False)())
    stop = threading.Event()
    wait = max(0.5, pause) if terminal else every

    def show() -> None:
        stage, since = "", time.monotonic()
        while not stop.wait(wait):
            with _lock:
                done, total, now = _done, _total, _stage
            if now != stage:
                stage, since = now, time.monotonic() - wait
            text = line(done, total, time.monotonic() - since, stage) if shards is None else _shards_now(shards)
            with contextlib.suppress(OSError):  # nobody reads it; the run goes on
                print(f"\r{text:<78}" if terminal else text, end="" if terminal else "\n", file=out, flush=True)

    thread = threading.Thread(target=show, daemon=True, name="progress")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if terminal:
            print(f"\r{'':<78}\r", end="", file=out, flush=True)
