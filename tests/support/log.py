"""Keeps what the trainer logs, where pytest's `caplog` is not at hand: in fixtures of a module and in their helpers."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

from pipelines.core.console import terminal


@contextlib.contextmanager
def logged() -> Iterator[io.StringIO]:
    """Yields the text that a command would print while the body runs."""
    text = io.StringIO()
    with terminal.log_written(text):
        yield text
