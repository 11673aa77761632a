"""Measures how long the parts of a command take."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator, Mapping

_noted: contextvars.ContextVar[dict[str, float] | None] = contextvars.ContextVar("timings", default=None)


@contextlib.contextmanager
def noted() -> Iterator[dict[str, float]]:
    """Yields a dictionary that gets the seconds of each `part` in the body."""
    seconds: dict[str, float] = {}
    before = _noted.set(seconds)
    try:
        yield seconds
    finally:
        _noted.reset(before)


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Adds the seconds of the body to those of the part, if they are noted."""
    seconds, began = _noted.get(), time.perf_counter()
    try:
        yield
    finally:
        if seconds is not None:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began


def text(seconds: Mapping[str, float], whole: float) -> str:
    """Returns a table of the parts in the order in which they first ended.

    Args:
      whole: the seconds of all together.

    Example:
      >>> print(text({"imports": 4.0, "plots": 0.25}, 5.0))
      imports  4.00 s
      plots    0.25 s
      in all   5.00 s
    """
    rows = {**seconds, "in all": whole}
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value:.2f} s" for name, value in rows.items())
