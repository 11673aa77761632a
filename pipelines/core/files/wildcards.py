"""Keeps characters of patterns in a folder's name away from TensorFlow.

TensorFlow looks for the files of a SavedModel's variables by a pattern, and takes `[1]` in the path of a folder for a
part of it.
"""

from __future__ import annotations

import os
import tempfile

from pipelines.core.files.urls import is_remote

CHARACTERS = "*?[\\"
# Until the process ends: a loaded graph names the files of its vocabularies, and an export copies them.
_links: dict[str, tempfile.TemporaryDirectory[str]] = {}


def are_in(path: str) -> bool:
    """Tells whether a local path holds a character of patterns."""
    return not is_remote(path) and any(character in os.path.abspath(path) for character in CHARACTERS)


def hidden(path: str) -> str:
    """Returns a path without such characters: a link to the folder, or the path.

    >>> hidden("data/transform")
    'data/transform'
    """
    if not are_in(path):
        return path
    path = os.path.abspath(path)
    if path not in _links or not os.path.islink(os.path.join(_links[path].name, "linked")):
        _links[path] = tempfile.TemporaryDirectory(prefix="shardmill-link-", ignore_cleanup_errors=True)
        os.symlink(path, os.path.join(_links[path].name, "linked"))
    return os.path.join(_links[path].name, "linked")
