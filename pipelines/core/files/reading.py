"""Reads files whose size nobody knows."""

from __future__ import annotations

from typing import IO, Any

PART = 1 << 20


def at_most(file: IO[bytes] | Any, limit: int) -> bytes:
    """Reads to the end of a file, but at most `limit` bytes.

    `file.read(limit)` of Python reserves the whole limit first, also for a file of a few bytes. That fails on a machine
    or within a limit (`ulimit -v`) that has less memory than the limit.
    """
    parts: list[bytes] = []
    while limit > 0 and (part := file.read(min(PART, limit))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)
