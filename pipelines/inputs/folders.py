"""Lists folders and globs, where the label is the name of a folder."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence

from pipelines import storage
from pipelines.core.elements import Source
from pipelines.core.errors import SourceError
from pipelines.core.summary import Rejected
from pipelines.inputs import walk
from pipelines.inputs.rules import SPLIT_NAMES, SPLIT_PATTERN, InputSpec, reject
from pipelines.inputs.walk import Problem


def list_folder(spec: InputSpec) -> Iterator[Source | Rejected]:
    """Yields everything below the input folder.

    Paths are class/file, or split/class/file if all top folders have names of splits; `spec.layout` can fix either.

    Raises:
      SourceError: As `walk.walk`.
    """
    root = spec.path.rstrip("/") or "/"
    found: Iterable[tuple[str, Problem | None]]
    if storage.is_remote(root):
        keys = _list_remote(root)  # listed once: a million objects take a thousand requests
        found = ((key, None) for key in keys)
        top = sorted({key.partition("/")[0] for key in keys if "/" in key})
    else:
        found = walk.walk(root, spec.allow_outside)
        top = _top_folders(root) if spec.layout == "auto" else []
    if spec.layout == "auto":
        split_layout = bool(top) and all(name.lower() in SPLIT_NAMES for name in top)
    else:
        split_layout = spec.layout == "split"
    for key, problem in found:
        yield _read_key(key, storage.join(root, key), problem, split_layout)


def _read_key(key: str, uri: str, problem: Problem | None, split_layout: bool) -> Source | Rejected:
    parts = key.split("/")
    depth = 2 if split_layout else 1
    is_class = problem is not None and problem.folder and len(parts) == depth
    label = parts[depth - 1] if len(parts) > depth or is_class else ""
    split = SPLIT_NAMES.get(parts[0].lower(), parts[0]) if split_layout else ""
    if any(part.startswith(".") for part in parts):
        return reject(uri, "hidden", "The name starts with a dot.", label)
    if problem is not None:
        return reject(uri, problem.reason, problem.sentence, label)
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
      SourceError: The glob matches no file, or as `walk.walk`.
    """
    fixed = glob_base(pattern)
    if storage.is_remote(pattern):
        rest = pattern[len(fixed) + 1 :]
        names = rest.split("/")
        keys = _list_remote(fixed, re.split(r"[*?[]", rest, maxsplit=1)[0])
        found: Iterable[tuple[str, Problem | None]] = (
            (key, None) for key in keys if _matches(names, key.split("/"), False)
        )
    else:
        fixed = fixed or ("/" if pattern.startswith("/") else "")
        names = pattern[len(fixed) :].lstrip("/").split("/")
        everything = walk.walk(fixed or ".", allow_outside, lambda key: _matches(names, key.split("/"), True))
        found = ((key, problem) for key, problem in everything if _matches(names, key.split("/"), False))
    empty = True
    for key, problem in found:
        empty = False
        uri = storage.join(fixed, key)
        label = posixpath.basename(posixpath.dirname(uri))
        if any(part.startswith(".") for part in key.split("/")):
            yield reject(uri, "hidden", "The name starts with a dot.", label)
        elif problem is not None:
            yield reject(uri, problem.reason, problem.sentence, label)
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
        return bool(pattern) if folder else all(p == "**" for p in pattern)
    if not pattern:
        return False
    if pattern[0] == "**":
        return _matches(pattern[1:], names, folder) or _matches(pattern, names[1:], folder)
    return fnmatch.fnmatchcase(names[0], pattern[0]) and _matches(pattern[1:], names[1:], folder)
