"""What lines an input leads through: inputs that lead through new ones are worth changing further.

The same as coverage-guided fuzzers do (M. Zalewski, "Technical whitepaper for afl-fuzz", 2016), for Python's lines.
"""

from __future__ import annotations

import contextlib
import pathlib
import sys
from collections.abc import Iterator, Sequence
from types import CodeType, FrameType
from typing import Any

Arc = tuple[CodeType, int, int]  # in this code, from this line to that one


class Guide:
    """Watches the lines of some folders' modules.

    arcs: steps from line to line that any input led through.
    """

    def __init__(self, folders: Sequence[pathlib.Path]) -> None:
        self._prefixes = tuple(f"{folder}/" for folder in folders)
        self._watched: dict[CodeType, bool] = {}
        self._here: set[Arc] = set()
        self.arcs: set[Arc] = set()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Notes the lines that are run inside."""
        self._here = set()
        before = sys.gettrace()
        sys.settrace(self._on_call)
        try:
            yield
        finally:
            sys.settrace(before)

    def is_new(self) -> bool:
        """Whether what was last watched went where nothing had gone before; takes note of it."""
        before = len(self.arcs)
        self.arcs |= self._here
        return len(self.arcs) > before

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        watched = self._watched.get(code)
        if watched is None:
            watched = self._watched[code] = code.co_filename.startswith(self._prefixes)
        if not watched:
            return None
        last = 0

        def on_line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                self._here.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return on_line

        return on_line
