"""Writes files completely or not at all, and formats the text of JSON files."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


def to_json(content: dict[str, Any]) -> str:
    """Formats the text of a JSON file: equal contents give equal texts."""
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file completely or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Opens a binary file that replaces `path` when the body ends without an error.

    By then the new file is complete and on the disk. After an error, nothing of it remains.

    Raises:
      OSError: The disk is full, the folder is read-only, or a similar reason; `path` is unchanged.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a loss of power may leave an empty file under the new name
        os.replace(temporary, path)
    except BaseException as e:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(e, OSError) and e.filename is None:  # errors of write() do not name the file
            e.filename = str(path)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Flushes a rename to the disk, where the operating system supports it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
