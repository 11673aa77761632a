"""Walks through local folders, whatever strangers put there.

Every entry is yielded, a folder is read or the walk ends with an error, and links neither loop nor multiply.
"""

from __future__ import annotations

import collections
import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pipelines.core.errors import SourceError
from pipelines.core.text import listed, plural, utf8_text

MOST_WAYS = 100  # paths through links to one folder: n folders that link to one another have up to 2^n
EMPTY = "empty-folder"
NAMED = 3  # folders that an error names
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Problem(NamedTuple):
    """Says why an entry cannot be used.

    folder: whether it is a folder, or may be one. Then nobody knows how many images it holds.
    """

    reason: str
    sentence: str
    folder: bool = False


class _Folder(NamedTuple):
    """Describes a folder that is to be read.

    key: its path relative to the root.
    above: the real paths of the folder and of those that contain it.
    name_problem: the problem of a name in its path, which all its files share.
    linked: whether its path leads through a symbolic link.
    """

    key: str
    above: frozenset[str]
    name_problem: Problem | None
    linked: bool


def walk(
    root: str,
    allow_outside: bool,
    may_hold: Callable[[str], bool] = lambda folder: True,
    empty_folders: bool = False,
) -> Iterator[tuple[str, Problem | None]]:
    """Yields everything below `root` that is not a plain folder.

    A folder's own path comes only with a problem.

    Args:
      root: The folder to walk through.
      allow_outside: Whether symbolic links may leave `root`.
      may_hold: Tells for a folder's relative path whether to look into the folder.
      empty_folders: Whether to yield folders without any entry, with the problem EMPTY.

    Yields:
      (path relative to root, its problem or None).

    Raises:
      SourceError: `root` cannot be read; or, at the end, a folder below it could not be read; or links lead to one
        folder in more than MOST_WAYS ways.
    """
    real_root = os.path.realpath(root)
    unread: list[str] = []
    ways: collections.Counter[str] = collections.Counter()  # real folder -> paths through links that lead to it
    stack = [_Folder("", frozenset({real_root}), None, False)]
    while stack:
        folder, failed = stack.pop(), False
        try:
            with os.scandir(os.path.join(root, folder.key)) as entries:
                found = sorted(entries, key=lambda e: e.name)
        except OSError as e:
            if not folder.key:
                raise SourceError(f"The input folder {root!r} cannot be read: {e}.") from e
            found, failed = [], True
            unread += _told(root, folder.key, e)
            yield folder.key, _unreadable(e, folder=True)
        if empty_folders and folder.key and not found and not failed:
            yield folder.key, Problem(EMPTY, "The folder is empty.", folder=True)
        for entry in found:
            key = f"{folder.key}/{entry.name}" if folder.key else entry.name
            problem = _problem(entry, real_root, folder.above, allow_outside)
            name_problem = folder.name_problem or _name_problem(entry.name)
            if problem is None and entry.is_dir():
                real, linked = os.path.realpath(entry.path), folder.linked or entry.is_symlink()
                if may_hold(key):
                    if linked:
                        _count_way(ways, real, key)
                    stack.append(_Folder(key, folder.above | {real}, name_problem, linked))
                continue
            if problem is not None and problem.folder and problem.reason == "unreadable" and may_hold(key):
                unread += _told(root, key, problem.sentence)
            yield key, name_problem or problem
    if unread:
        raise SourceError(
            f"{plural(len(unread), 'folder')} of the input cannot be read, so nobody knows how many images are "
            f"missing: {listed(unread, NAMED)}. Permit it (chmod u+rx), or move it out of the input. "
            "--max-reject-rate does not cover it. Nothing was published."
        )


def _told(root: str, key: str, why: OSError | str) -> list[str]:
    """Returns the words of an error about a folder.

    There are none for a hidden one, which holds no input.
    """
    if any(part.startswith(".") for part in key.split("/")):
        return []
    reason = (why.strerror or str(why)) if isinstance(why, OSError) else why
    return [f"{utf8_text(os.path.join(root, key))!r} ({reason.rstrip('.')})"]


def _count_way(ways: collections.Counter[str], real: str, key: str) -> None:
    ways[real] += 1
    if ways[real] > MOST_WAYS:
        raise SourceError(
            f"Symbolic links lead to the folder {real!r} in more than {MOST_WAYS} ways; one of them is {key!r}. Remove "
            "such links from the input, or list the images in a manifest."
        )


def _name_problem(name: str) -> Problem | None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return Problem("name-not-utf8", "The name is not UTF-8; rename it.")
    return None


def _problem(entry: os.DirEntry[str], real_root: str, above: frozenset[str], allow_outside: bool) -> Problem | None:
    try:
        if entry.is_symlink():
            problem = _link_problem(os.path.realpath(entry.path), real_root, allow_outside)
            if problem is not None:
                return problem
        if entry.is_dir() and os.path.realpath(entry.path) in above:
            return Problem("looping-link", "A symbolic link leads back to a folder that contains it.")
        mode = entry.stat().st_mode
    except OSError as e:
        return _unreadable(e, folder=not _is_surely_a_file(entry))
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return Problem("not-a-file", "Neither a regular file nor a folder.")
    return None


def _link_problem(real: str, real_root: str, allow_outside: bool) -> Problem | None:
    """Returns the problem of a symbolic link that leads to the path `real`.

    Raises:
      OSError: it cannot be followed inside the input.
    """
    error, is_folder = None, False
    try:
        is_folder = stat.S_ISDIR(os.stat(real).st_mode)
    except OSError as e:
        if e.errno in _NOWHERE:
            return Problem("dangling-link", "The symbolic link leads nowhere.")
        error = e
    if not allow_outside and os.path.commonpath([real, real_root]) != real_root:
        return Problem("outside-input", "The symbolic link leaves the input; --allow-outside permits it.", is_folder)
    if error is not None:
        raise error
    return None


def _unreadable(error: OSError, folder: bool) -> Problem:
    return Problem("unreadable", f"{error.strerror or error}.", folder)


def _is_surely_a_file(entry: os.DirEntry[str]) -> bool:
    """Tells whether the listing of its folder says that an entry is a file."""
    try:
        return not entry.is_symlink() and not entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
