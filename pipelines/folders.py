"""Folders and globs: where the label is the name of a folder."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator

from pipelines import storage
from pipelines.config import PrepareConfig
from pipelines.source import SPLIT_NAMES, Source, SourceError, reject
from pipelines.summary import Rejected


def list_folder(config: PrepareConfig) -> Iterator[Source | Rejected]:
    root = config.input.rstrip("/") or "/"
    walk = _walk_remote(root) if storage.is_remote(root) else _walk_local(root, config.allow_outside)
    if config.layout == "auto":
        top = _top_folders(root)
        split_layout = bool(top) and all(name.lower() in SPLIT_NAMES for name in top)
    else:
        split_layout = config.layout == "split"
    for key, problem in walk:
        uri = storage.join(root, key)
        if problem is not None:
            yield reject(uri, *problem, label=key.split("/")[0] if "/" in key else "")
            continue
        parts = key.split("/")
        depth = 2 if split_layout else 1
        if any(part.startswith(".") for part in parts):
            yield reject(uri, "hidden", "The name starts with a dot.")
        elif len(parts) <= depth:
            expected = "split/class/file" if split_layout else "class/file"
            yield reject(uri, "no-label", f"Expected {expected} below the input.")
        else:
            split = SPLIT_NAMES.get(parts[0].lower(), parts[0]) if split_layout else ""
            yield Source(key, uri, parts[depth - 1], split, "", 1.0)


def _top_folders(root: str) -> list[str]:
    if storage.is_remote(root):
        return sorted({key.split("/")[0] for key, _ in _walk_remote(root) if "/" in key})
    try:
        with os.scandir(root) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as e:
        raise SourceError(f"The input folder {root!r} cannot be read: {e}.") from e


def _walk_local(root: str, allow_outside: bool) -> Iterator[tuple[str, tuple[str, str] | None]]:
    """(path relative to root, None or (reason, detail)) of everything that is not a plain folder, in order of name."""
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
            if problem is None and entry.is_dir():
                stack.append((key, above | {os.path.realpath(entry.path)}))
            else:
                yield key, problem


def _entry_problem(
    entry: os.DirEntry[str], real_root: str, above: frozenset[str], allow_outside: bool
) -> tuple[str, str] | None:
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
            if real in above:
                return "looping-link", "The symbolic link leads back to a folder that contains it."
        mode = entry.stat().st_mode
    except OSError as e:
        return "unreadable", f"{type(e).__name__}: {e}"
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return "not-a-file", "Neither a regular file nor a folder."
    return None


def _walk_remote(root: str) -> Iterator[tuple[str, None]]:
    from apache_beam.io.filesystems import FileSystems

    prefix = root.rstrip("/") + "/"
    for metadata in FileSystems.match([prefix + "**"])[0].metadata_list:
        if not metadata.path.endswith("/"):
            yield metadata.path[len(prefix) :], None


def list_glob(pattern: str) -> Iterator[Source | Rejected]:
    from apache_beam.io.filesystems import FileSystems

    found = sorted(m.path for m in FileSystems.match([pattern])[0].metadata_list)
    if not found:
        raise SourceError(f"--input {pattern!r} matches no file.")
    fixed = pattern[: min(pattern.index(c) for c in "*?[" if c in pattern)].rpartition("/")[0]
    for uri in found:
        label = posixpath.basename(posixpath.dirname(uri))
        if label:
            yield Source(uri[len(fixed) :].lstrip("/"), uri, label, "", "", 1.0)
        else:
            yield reject(uri, "no-label", "A glob takes the label from the file's folder; there is none.")
