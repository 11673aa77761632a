"""A progress line, fed from inside the workers: Beam's local runner blocks in `run()` and says nothing.

The count is kept in this process. Where the stages run in others, finished shards are counted instead.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_lock = threading.Lock()
_done = 0
_total = 0
_stage = "reading"


def advance(count: int) -> None:
    """Counts records done."""
    global _done
    with _lock:
        _done += count


def begin(stage: str, total: int) -> None:
    """Names what is being counted now, and how many there are to do; 0: not known."""
    global _stage, _total, _done
    with _lock:
        _stage, _total, _done = stage, total, 0


def line(done: int, total: int, seconds: float, stage: str) -> str:
    """The text of the progress line: images done, rate, time left."""
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
    except Exception:  # each remote client raises its own kinds; it is asked again
        return "preparing: the storage does not answer"


@contextmanager
def shown(
    stream: TextIO | None = None,
    every: float = 10.0,
    shards: Callable[[], tuple[int, int]] | None = None,
    pause: float = 0.5,
) -> Iterator[None]:
    """Shows progress while the body runs: one line rewritten on a terminal, plain lines elsewhere.

    Args:
      every: seconds between plain lines.
      shards: tells how many shards there are already, and in all (0: not known); None: count images, in this process.
      pause: seconds at least between looks at a terminal's line.
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
