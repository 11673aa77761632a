"""Reads back the ledger and the rejects, which hold one JSON object per line.

Reading takes the memory of one line, and the length of a line is limited.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import IO, Any, NamedTuple

from pipelines.contract import json_fields
from pipelines.contract.json_fields import FieldError, Fields
from pipelines.core.errors import LedgerError
from pipelines.core.files.urls import is_remote
from pipelines.core.summary import Rejected

MAX_LINE = 1 << 20  # bytes
Opened = Callable[[str], AbstractContextManager[IO[bytes]]]
REJECTED, UNUSED = "rejected.jsonl", "unused.jsonl"


class Line(NamedTuple):
    """Describes what one record was made of; see docs/dataset.md.

    in_graph: whether the dataset's graph makes the same pixels of the file's own bytes. Ledgers of earlier versions do
      not state it.
    metadata: column -> value of what travels along, None if it is missing.
    width, height: of the source image, upright, in pixels. Ledgers of earlier versions do not state them: 0.
    """

    key: str
    uri: str
    label: str
    digest: str
    copy: int
    in_graph: bool = True
    metadata: Mapping[str, Any] = MappingProxyType({})
    width: int = 0
    height: int = 0


def lines(directory: str, shard_file: str, opened: Opened | None = None) -> Iterator[Line]:
    """Yields the lines of a shard's ledger, in the order of its records.

    Args:
      opened: opens a path for reading bytes, such as `storage.reading`. Default: local files, and what TensorFlow's
        file systems read.

    Raises:
      LedgerError: there is no such file, or a line is malformed.
    """
    for number, found in _objects(directory, f"ledger/{shard_file}.jsonl", opened or _open):
        try:
            key, uri, label = (found.text(name) for name in ("key", "uri", "label"))
            line = Line(
                key, uri, label, found.digest("digest"), found.whole("copy"), found.truth_or("in_graph", True),
                found.plain("metadata", optional=True), found.whole_or("width", 0), found.whole_or("height", 0),
            )  # fmt: skip
        except FieldError as e:
            raise LedgerError(f"ledger/{shard_file}.jsonl, line {number}: {e}.") from e
        yield line


def rejects(directory: str, name: str, opened: Opened | None = None) -> Iterator[Rejected]:
    """Yields the lines of rejects/REJECTED or rejects/UNUSED.

    Raises:
      LedgerError: as in `lines`.
    """
    for number, found in _objects(directory, f"rejects/{name}", opened or _open):
        try:
            texts = [found.text(n) for n in ("uri", "label", "split", "digest", "stage", "reason", "detail")]
        except FieldError as e:
            raise LedgerError(f"rejects/{name}, line {number}: {e}.") from e
        yield Rejected(*texts)


def _objects(directory: str, name: str, opened: Opened) -> Iterator[tuple[int, Fields]]:
    """Yields (line number, object) of every line."""
    number = 0
    try:
        with opened(f"{directory.rstrip('/')}/{name}") as file:
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise LedgerError(f"{name}, line {number} is longer than {MAX_LINE} bytes.")
                yield number, Fields(json_fields.parse(line.decode("utf-8")))
    except (OSError, FieldError, UnicodeDecodeError) as e:
        raise LedgerError(f"{name} cannot be read from line {number or 1}: {e}.") from e


def _open(path: str) -> AbstractContextManager[IO[bytes]]:
    if not is_remote(path):
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError("not a regular file")  # opening a FIFO could block for ever
        return open(path, "rb")
    import tensorflow as tf

    file: AbstractContextManager[IO[bytes]] = tf.io.gfile.GFile(path, "rb")
    return file
