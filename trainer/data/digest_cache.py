"""The SHA-256 digests of files that were read before, in a small file of the user's cache folder."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from pipelines.core import atomic

MAX_CACHE_BYTES, MAX_ENTRIES = 16 << 20, 50_000

Digests = dict[str, list[Any]]  # path -> [size, mtime_ns, inode, SHA-256]


def cache_file() -> Path:
    """In $XDG_CACHE_HOME or ~/.cache, as the XDG Base Directory Specification says: a relative path does not count."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return Path(given if os.path.isabs(given) else os.path.expanduser("~/.cache"), "shardmill", "digests.json")


def read() -> Digests:
    """What is remembered; nothing where there is no such file, it is damaged, or it is too large to be ours."""
    try:
        with cache_file().open("rb") as file:
            text = file.read(MAX_CACHE_BYTES + 1)
        found = json.loads(text) if len(text) <= MAX_CACHE_BYTES else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: entry for name, entry in found.items() if _is_entry(entry)} if isinstance(found, dict) else {}


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, list) and [type(value) for value in entry] == [int, int, int, str]


def write(digests: Digests) -> None:
    """The newest MAX_ENTRIES; that they cannot be written costs the next run time, and is no error."""
    newest = dict(list(digests.items())[-MAX_ENTRIES:])
    path = cache_file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, json.dumps(newest))
