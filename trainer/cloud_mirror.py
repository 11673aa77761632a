"""Copies local folders to a bucket.

A cloud job needs this because it loses its disk together with its machine. The module uses `tf.io.gfile`, so that the
place of a copy may be a folder, gs:// or any other file system that TensorFlow opens.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import tensorflow as tf

from pipelines.core.files.urls import is_remote
from pipelines.core.text import first_line
from trainer.config import TrainerError


class Mirror:
    """Keeps a copy of a local folder at a place.

    It removes only those files at the place that it copied itself.
    """

    def __init__(self, folder: str, place: str) -> None:
        self.folder, self.place = folder, place
        self._copied: dict[str, tuple[int, int]] = {}  # name -> size and modification time of the copied file

    def pull(self) -> bool:
        """Copies all files from the place to the folder; returns whether there were any.

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
        """Updates the place: copies new and changed files, then removes deleted ones.

        Because it copies before it removes, a machine that is lost in between loses no data.

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
    """Yields the relative path, with slashes, of every file below a folder.

    It yields nothing if the folder does not exist, and leaves out temporary files (*.tmp).
    """
    try:
        if not tf.io.gfile.exists(folder):
            return
        for parent, _, files in tf.io.gfile.walk(folder):
            inside = parent.removeprefix(folder).strip("/")
            yield from ("/".join(filter(None, (inside, file))) for file in files if not file.endswith(".tmp"))
    except tf.errors.OpError as e:
        raise TrainerError(f"{folder!r} cannot be read ({first_line(e)}).") from e


def _copy(source: str, target: str) -> None:
    """Copies a file so that the target is never half written.

    On a disk it writes under a temporary name and renames. Object stores replace an object in one step themselves.
    """
    remote = is_remote(target)
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
