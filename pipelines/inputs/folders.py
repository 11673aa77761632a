"""Lists folders and globs, where the label is the name of a folder."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence

from pipelines import storage
from pipelines.core.elements import Source
from pipelines.core.errors import SourceError
from pipelines.core.summary import Rejected
from pipelines.inputs.rules import SPLIT_NAMES, SPLIT_PATTERN, InputSpec, reject

Problem = tuple[str, str] | None  # (reason, sentence)


def list_folder(spec: InputSpec) -> Iterator[Source | Rejected]:
    """Yields everything below the input folder.

    Paths are class/file, or split/class/file if all top folders have names of splits; `spec.layout` can fix either.

    Raises:
      SourceError: The folder cannot be read.
    """
    root = spec.path.rstrip("/") or "/"
    walk: Iterable[tuple[str, Problem]]
    if storage.is_remote(root):
        keys = _list_remote(root)  # listed once: a million objects take a thousand requests
        walk = ((key, None) for key in keys)
        top = sorted({key.partition("/")[0] for key in keys if "/" in key})
    else:
        walk = _walk_local(root, spec.allow_outside)
        top = _top_folders(root) if spec.layout == "auto" else []
    if spec.layout == "auto":
        split_layout = bool(top) and all(name.lower() in SPLIT_NAMES for name in top)
    else:
        split_layout = spec.layout == "split"
    for key, problem in walk:
        yield _read_key(key, storage.join(root, key), problem, split_layout)


def _read_key(key: str, uri: str, problem: Problem, split_layout: bool) -> Source | Rejected:
    parts = key.split("/")
    depth = 2 if split_layout else 1
    label = parts[depth - 1] if len(parts) > depth else ""
    split = SPLIT_NAMES.get(parts[0].lower(), parts[0]) if split_layout else ""
    if any(part.startswith(".") for part in parts):
        return reject(uri, "hidden", "The name starts with a dot.", label)
    if problem is not None:
        return reject(uri, *problem, label=label)
    if len(parts) <= depth:
        expected = "split/class/file" if split_layout else "class/file"
        return reject(uri, "no-label", f"Expected {expected} below the input.")
    if split_layout and not re.fullmatch(SPLIT_PATTERN, split):
        return reject(uri, "bad-split", f"A split's name should be letters, digits and _. Received: {split!r}", label)
    return Source(key, uri, label, split, "", 1.0)


def _top_folders(root: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(root) if name[0] != "." and os.path.isdir(os.path.join(root, name)))
    except OSError as e:
        raise SourceError(f"The input folder {root!r} cannot be read: {e}.") from e


def _walk_local(
    root: str, allow_outside: bool, may_hold: Callable[[str], bool] = lambda folder: True
) -> Iterator[tuple[str, Problem]]:
    """Yields everything below `root` that is not a plain folder.

    A folder's own path comes only with a problem.

    Args:
      root: The folder to walk through.
      allow_outside: Whether symbolic links may leave `root`.
      may_hold: Tells for a folder's relative path whether to look into the folder.

    Yields:
      (path relative to root, its problem or None).

    Raises:
      SourceError: `root` cannot be read.
    """
    real_root = os.path.realpath(root)
    stack: list[tuple[str, frozenset[str]]] = [("", frozenset({real_root}))]
    while stack:
        folder, above = stack.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                found = sorted(entries, key=lambda e: e.name)
        except OSError as e:
            if not folder:
                raise SourceError(f"The input folder {root!r} cannot be read: {e}.") from e
            yield folder, ("unreadable", f"{type(e).__name__}: {e}")
            continue
        for entry in found:
            key = f"{folder}/{entry.name}" if folder else entry.name
            problem = _entry_problem(entry, real_root, above, allow_outside)
            if problem is not None or not entry.is_dir():
                yield key, problem
            elif may_hold(key):
                stack.append((key, above | {os.path.realpath(entry.path)}))


def _entry_problem(entry: os.DirEntry[str], real_root: str, above: frozenset[str], allow_outside: bool) -> Problem:
    try:
        entry.name.encode("utf-8")
    except UnicodeEncodeError:
        return "name-not-utf8", "The name is not UTF-8; rename it."
    try:
        if entry.is_symlink():
            real = os.path.realpath(entry.path)
            if not os.path.exists(real):
                return "dangling-link", "The symbolic link leads nowhere."
            if not allow_outside and os.path.commonpath([real, real_root]) != real_root:
                return "outside-input", "The symbolic link leaves the input; --allow-outside permits it."
        if entry.is_dir() and os.path.realpath(entry.path) in above:
            return "looping-link", "A symbolic link leads back to a folder that contains it."
        mode = entry.stat().st_mode
    except OSError as e:
        return "unreadable", f"{type(e).__name__}: {e}"
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return "not-a-file", "Neither a regular file nor a folder."
    return None


def _list_remote(folder: str, beginning: str = "") -> list[str]:
    try:
        return storage.files_below(folder, beginning)
    except OSError as e:
        raise SourceError(f"The input cannot be listed: {e}") from e


def list_glob(pattern: str, allow_outside: bool) -> Iterator[Source | Rejected]:
    """Yields the files that a glob matches.

    *, ? and [...] match within a name, and ** matches any folders. The label is the name of the file's folder. Beam's
    own matching is not used, because it omits names with a backslash and does not recognize links and FIFOs.

    Raises:
      SourceError: The glob matches no file, or its folder cannot be read.
    """
    fixed = glob_base(pattern)
    if storage.is_remote(pattern):
        rest = pattern[len(fixed) + 1 :]
        names = rest.split("/")
        keys = _list_remote(fixed, re.split(r"[*?[]", rest, maxsplit=1)[0])
        found: Iterable[tuple[str, Problem]] = ((key, None) for key in keys if _matches(names, key.split("/"), False))
    else:
        fixed = fixed or ("/" if pattern.startswith("/") else "")
        names = pattern[len(fixed) :].lstrip("/").split("/")
        walk = _walk_local(fixed or ".", allow_outside, lambda key: _matches(names, key.split("/"), True))
        found = ((key, problem) for key, problem in walk if _matches(names, key.split("/"), False))
    empty = True
    for key, problem in found:
        empty = False
        uri = storage.join(fixed, key)
        label = posixpath.basename(posixpath.dirname(uri))
        if any(part.startswith(".") for part in key.split("/")):
            yield reject(uri, "hidden", "The name starts with a dot.", label)
        elif problem is not None:
            yield reject(uri, *problem, label=label)
        elif not label:
            yield reject(uri, "no-label", "A glob takes the label from the file's folder; there is none.")
        else:
            yield Source(key, uri, label, "", "", 1.0)
    if empty:
        raise SourceError(f"--input {pattern!r} matches no file.")


def glob_base(pattern: str) -> str:
    """Returns the folder above the first name that contains *, ? or [."""
    return pattern[: min(pattern.index(c) for c in "*?[" if c in pattern)].rpartition("/")[0]


def _matches(pattern: Sequence[str], names: Sequence[str], folder: bool) -> bool:
    """Tells whether the names of a path match the names of a pattern.

    For a folder, it tells whether something below the folder may match.
    """
    if not names:
        return folder or all(p == "**" for p in pattern)
    if not pattern:
        return False
    if pattern[0] == "**":
        return _matches(pattern[1:], names, folder) or _matches(pattern, names[1:], folder)
    return fnmatch.fnmatchcase(names[0], pattern[0]) and _matches(pattern[1:], names[1:], folder)
