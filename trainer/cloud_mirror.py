"""Copies of local folders elsewhere: what a job leaves on its disk is gone with its machine.

Through `tf.io.gfile`, so that a place may be a folder, gs:// or whatever else TensorFlow opens.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import tensorflow as tf

from pipelines.core.text import first_line
from trainer.config import TrainerError


class Mirror:
    """Keeps a copy of a local folder at a place. Removed there is only what it copied itself."""

    def __init__(self, folder: str, place: str) -> None:
        self.folder, self.place = folder, place
        self._copied: dict[str, tuple[int, int]] = {}  # name -> size and time of what lies there

    def pull(self) -> bool:
        """Brings what lies at the place to the folder; whether there was anything.

        Raises:
          TrainerError: the place cannot be read.
        """
        names = list(_names(self.place))
        for name in names:
            target = os.path.join(self.folder, *name.split("/"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            _copy(_join(self.place, name), target)
            self._copied[name] = _state(target)
        return bool(names)

    def push(self) -> None:
        """Brings the place up to date. New files first, so that a loss of the machine in between loses nothing.

        Raises:
          TrainerError: the place cannot be written.
        """
        present = {name: _state(os.path.join(self.folder, *name.split("/"))) for name in sorted(_names(self.folder))}
        for name, state in present.items():
            if self._copied.get(name) != state:
                _copy(os.path.join(self.folder, *name.split("/")), _join(self.place, name))
                self._copied[name] = state
        for name in set(self._copied) - set(present):
            _remove(_join(self.place, name))
            del self._copied[name]


def _names(folder: str) -> Iterator[str]:
    """The files below a folder, by path relative to it, with slashes; none where there is no folder."""
    try:
        if not tf.io.gfile.exists(folder):
            return
        for parent, _, files in tf.io.gfile.walk(folder):
            inside = parent.removeprefix(folder).strip("/")
            yield from ("/".join(filter(None, (inside, file))) for file in files if not file.endswith(".tmp"))
    except tf.errors.OpError as e:
        raise TrainerError(f"{folder!r} cannot be read ({first_line(e)}).") from e


def _copy(source: str, target: str) -> None:
    """Whole or not at all: on a disk under another name first; object stores do that themselves."""
    remote = "://" in target
    there = target if remote else f"{target}.tmp"
    try:
        tf.io.gfile.makedirs(os.path.dirname(target))
        tf.io.gfile.copy(source, there, overwrite=True)
        if not remote:
            os.replace(there, target)
    except (tf.errors.OpError, OSError) as e:
        raise TrainerError(f"{source!r} cannot be copied to {target!r} ({first_line(e)}).") from e


def _remove(path: str) -> None:
    try:
        tf.io.gfile.remove(path)
    except tf.errors.NotFoundError:
        return
    except tf.errors.OpError as e:
        raise TrainerError(f"{path!r} cannot be removed ({first_line(e)}).") from e


def _state(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def _join(place: str, name: str) -> str:
    return f"{place.rstrip('/')}/{name}"
