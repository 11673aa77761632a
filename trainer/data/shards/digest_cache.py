"""Remembers the SHA-256 digests of files that were read before.

They are in a small file in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from pipelines.core.files import atomic
from pipelines.core.files.cache_folder import cache_folder

MAX_CACHE_BYTES, MAX_ENTRIES = 16 << 20, 50_000

Digests = dict[str, list[Any]]  # path -> [size, mtime_ns, inode, SHA-256]


def cache_file() -> Path | None:
    """Returns the path of the cache file; None for a user without a home."""
    folder = cache_folder()
    return None if folder is None else folder / "digests.json"


def read() -> Digests:
    """Reads the remembered digests.

    Returns:
      The digests; nothing if the file does not exist, is damaged, or is so large that Shardmill cannot have written it.
    """
    path = cache_file()
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CACHE_BYTES + 1)
        found = json.loads(text) if len(text) <= MAX_CACHE_BYTES else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: entry for name, entry in found.items() if _is_entry(entry)} if isinstance(found, dict) else {}


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, list) and [type(value) for value in entry] == [int, int, int, str]


def write(digests: Digests) -> None:
    """Writes the newest MAX_ENTRIES digests.

    It ignores a failure: the next run only takes more time.
    """
    newest = dict(list(digests.items())[-MAX_ENTRIES:])
    path = cache_file()
    if path is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, json.dumps(newest))
