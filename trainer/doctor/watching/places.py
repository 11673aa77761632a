"""Finds the line of the user's own code that a call comes from."""

from __future__ import annotations

import linecache
import os
import sys
import types
from collections.abc import Mapping

from trainer.doctor.subject.exceptions import LIBRARIES
from trainer.doctor.subject.training import Place


class Places:
    """Turns files of the copy, in which a program runs, into files of the user.

    Args:
      copies: folder of the copy -> the user's folder.
      here: the folder where the doctor was started; files below it are named relative to it.
      notebooks: file of code that was made from a notebook -> the notebook, and the cell and line of each line.
    """

    def __init__(
        self,
        copies: Mapping[str, str],
        here: str,
        notebooks: Mapping[str, str] | None = None,
    ) -> None:
        self._copies = {os.path.realpath(copy): own for copy, own in copies.items()}
        self._here = here
        self._notebooks = dict(notebooks or {})

    def of_caller(self) -> Place | None:
        """Returns the innermost line of the user's code in the stack; None without."""
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None:
            if is_own(frame.f_code.co_filename):
                return self.of(frame.f_code.co_filename, frame.f_lineno)
            frame = frame.f_back
        return None

    def of_error(self, error: BaseException) -> Place | None:
        """Returns the innermost line of the user's code in a traceback; None without."""
        if isinstance(error, SyntaxError) and error.filename and is_own(error.filename):
            return self.of(error.filename, error.lineno or 1)
        found, trace = None, error.__traceback__
        while trace is not None:
            name = trace.tb_frame.f_code.co_filename
            if is_own(name):
                found = self.of(name, trace.tb_lineno)
            trace = trace.tb_next
        return found

    def of(self, file: str, line: int) -> Place:
        """Returns a line of a file as the user knows it."""
        code = linecache.getline(file, line).strip()
        return Place(self.own_name(file), line, code)

    def own_name(self, file: str) -> str:
        """Returns the user's name of a file, relative to where the doctor was started."""
        path = self._notebooks.get(file) or os.path.realpath(file)
        for copy, own in self._copies.items():
            if path == copy or path.startswith(copy + os.sep):
                path = own + path[len(copy) :]
                break
        below = path.startswith(self._here + os.sep)
        return os.path.relpath(path, self._here) if below else path


def is_own(file: str) -> bool:
    """Tells whether a file of a frame is the user's, and not a library's."""
    return not file.startswith("<") and not any(part in file for part in LIBRARIES)
