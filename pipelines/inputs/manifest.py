"""Reads a manifest: CSV, JSONL or Parquet rows with path and label.

Rows may also have a split, a group and a weight.
"""

from __future__ import annotations

import codecs
import csv
import heapq
import io
import itertools
import json
import math
import os
import posixpath
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pipelines import storage
from pipelines.core.elements import Source
from pipelines.core.errors import SourceError
from pipelines.core.summary import Rejected
from pipelines.core.text import cut
from pipelines.inputs.rules import reject
from pipelines.inputs.split_names import SPLIT_NAMES, SPLIT_PATTERN

MAX_WEIGHT = 3e38  # records store weights as float32
MAX_BYTES = 8 << 30
MAX_TEXT = 4096  # characters of a cell: no path is longer, and each reject or ledger line repeats some
COLUMNS = ("path", "label", "split", "group", "weight")
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif",
)  # fmt: skip
# Limits of the search for images that no row names: a manifest may be at the top of a very large directory tree.
MOST_LOOKED_AT, LONGEST_LOOK = 2_000_000, 20.0  # files, seconds


class Unlisted(NamedTuple):
    """Describes the images in the manifest's folder that no row names.

    Attributes:
      images: Their number; an image is known by its extension.
      first: The path of one of them, "" if there are none.
      complete: False if the search stopped at a limit or a folder could not be read, so that there may be more.
    """

    images: int = 0
    first: str = ""
    complete: bool = True


def list_rows(path: str, allow_outside: bool) -> Iterator[Source | Rejected]:
    """Yields every row as a source or a reject.

    Rows that contradict one another are all rejects, because there is no reason to choose one of them. A row that
    repeats an earlier one is a reject, too.

    Raises:
      SourceError: The manifest cannot be read, or it has no rows.
    """
    empty = True
    for item in read_items(read_rows(path), path, allow_outside):
        empty = False
        yield item
    if empty:
        raise SourceError(f"The manifest {path!r} has no rows.")


def read_items(rows: Iterable[Mapping[str, Any]], path: str, allow_outside: bool) -> Iterator[Source | Rejected]:
    """Yields a source or a reject for each row, in the order of the rows.

    It holds all rows in memory, because the last row may contradict the first one.

    Args:
      path: The path of the manifest; relative paths begin in its folder.
      allow_outside: Whether rows may name files outside of that folder.
    """
    base = posixpath.dirname(path)
    folders = None if allow_outside else _Folders(base)
    first: dict[str, int] = {}  # key -> index of its first row
    others: dict[str, set[tuple[Any, ...]]] = {}  # key -> the values of its rows, if they differ
    parsed: list[Source | Rejected] = []
    for number, row in enumerate(rows):
        item = _parse_row(row, number + 1, base, folders)
        parsed.append(item)
        if isinstance(item, Source):
            earlier = parsed[first.setdefault(item.key, number)]
            if earlier[2:] != item[2:]:  # type: ignore[index]
                others.setdefault(item.key, {earlier[2:]}).add(item[2:])  # type: ignore[index]
    # Made once for each path: a path may stand in every row.
    told = {key: _contradiction(values) for key, values in others.items()}
    for number, item in enumerate(parsed):
        if isinstance(item, Rejected):
            yield item
        elif item.key in told:
            yield reject(item.uri, "contradictory-rows", f"Row {number + 1}: {told[item.key]}", item.label)
        elif first[item.key] != number:
            yield reject(item.uri, "repeated-row", f"Row {number + 1} repeats an earlier one.", item.label)
        else:
            yield item


def _contradiction(values: Collection[tuple[Any, ...]]) -> str:
    """Describes rows of one path by a few of their (label, split, group, weight)."""
    some = ", ".join(cut(str(value), 100) for value in heapq.nsmallest(3, values))
    return f"this path has {len(values)} different combinations of label, split, group and weight, such as {some}."


def first_items(path: str, allow_outside: bool, most: int) -> Iterator[Source | Rejected]:
    """Yields the first rows as sources or rejects, without reading the others."""
    yield from read_items(itertools.islice(read_rows(path), most), path, allow_outside)


def _parse_row(row: Mapping[str, Any], number: int, base: str, folders: _Folders | None) -> Source | Rejected:
    """Returns a row as a source or a reject.

    Args:
      base: The folder in which relative paths begin.
      folders: Tells which paths leave this folder; None: they may.
    """
    values = {column: _text(row.get(column)) for column in COLUMNS}
    path, label, split = values["path"] or "", values["label"] or "", (values["split"] or "").lower()

    def bad(expected: str) -> Rejected:
        named = cut(path or f"row {number}", MAX_TEXT)
        return reject(named, "bad-row", f"Row {number} {expected}", cut(label, MAX_TEXT))

    for column, value in values.items():
        if value is None:
            return bad(f"should have plain text or a number as its {column}. Received: {row[column]!r:.80}")
        if len(value) > MAX_TEXT:
            return bad(f"should have at most {MAX_TEXT} characters as its {column}. Received: {len(value)}")
    if not path or not label:
        return bad("should have a path and a label.")
    if split and not re.fullmatch(SPLIT_PATTERN, split):
        return bad(f"should have a split of letters, digits and _. Received: {split!r:.80}")
    try:
        weight = float(values["weight"] or 1.0)
    except ValueError:
        weight = math.nan
    if not 0 <= weight <= MAX_WEIGHT:
        return bad(f"should have a weight from 0 to {MAX_WEIGHT:g}. Received: {row['weight']!r:.80}")
    uri = _resolve(path, base)
    if folders is not None and folders.left_by(uri):
        return reject(path, "outside-input", f"Row {number} leaves the manifest's folder; see --allow-outside.", label)
    return Source(_key(uri, base), uri, label, SPLIT_NAMES.get(split, split), values["group"] or "", weight)


def _text(value: Any) -> str | None:
    """Returns a cell as text, or None if the cell is not valid.

    A valid cell is text, a number or empty; empty gives "". Text that no file name or no UTF-8 can hold is not valid.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, (str, int, float)):
        return None
    text = str(value).strip()
    return None if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text) else text


def _resolve(path: str, base: str) -> str:
    if storage.is_remote(path) or os.path.isabs(path):
        return path
    if storage.is_remote(base):
        scheme, _, rest = base.partition("://")
        return f"{scheme}://{posixpath.normpath(posixpath.join(rest, path))}"
    return posixpath.normpath(posixpath.join(base, path))


def _key(uri: str, base: str) -> str:
    """Returns the path relative to the manifest's folder, if it is below that folder.

    The spelling of the path in the row makes no difference.
    """
    if storage.is_remote(uri):
        return uri.removeprefix(base.rstrip("/") + "/")
    return posixpath.relpath(uri, base or ".")


class _Folders:
    """Finds where symbolic links lead.

    It resolves each folder once, and not again for each of its files.
    """

    def __init__(self, base: str) -> None:
        self._real: dict[str, str] = {}
        self._remote = f"{base.rstrip('/')}/" if storage.is_remote(base) else ""
        self._base = "" if self._remote else os.path.realpath(base or ".")

    def left_by(self, uri: str) -> bool:
        """Tells whether a path leads out of the manifest's folder, links followed."""
        if self._remote or storage.is_remote(uri):
            return not self._remote or not uri.startswith(self._remote)
        folder, name = os.path.split(uri)
        if name in ("", ".", ".."):
            real = os.path.realpath(uri)
        else:
            if folder not in self._real:
                self._real[folder] = os.path.realpath(folder)
            real = os.path.join(self._real[folder], name)
            if os.path.islink(real):
                real = os.path.realpath(real)
        return os.path.commonpath([real, self._base]) != self._base


def unlisted(manifest: str, output: str) -> Unlisted:
    """Searches a local manifest's folder for images that no row names.

    It does not search if none of the rows' files is in the folder. Hidden files and the output directory do not count.
    """
    base = os.path.abspath(posixpath.dirname(manifest) or ".")
    try:
        paths = [_text(row.get("path")) for row in read_rows(manifest)]
    except SourceError:  # it was removed after it was read; its images are prepared already
        return Unlisted()
    listed = {os.path.abspath(_resolve(path, base)) for path in paths if path and not storage.is_remote(path)}
    if not any(path.startswith(f"{base}/") for path in listed):
        return Unlisted()
    output, until = os.path.abspath(output), time.monotonic() + LONGEST_LOOK
    count, looked_at, first = 0, 0, ""
    unread: list[OSError] = []
    for folder, folders, names in os.walk(base, onerror=unread.append):
        folders[:] = sorted(f for f in folders if f[0] != "." and os.path.join(folder, f) != output)
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name[0] != "." and name.lower().endswith(IMAGE_SUFFIXES) and path not in listed:
                count, first = count + 1, first or path
        looked_at += len(names)
        if looked_at > MOST_LOOKED_AT or time.monotonic() > until:
            return Unlisted(count, first, complete=False)
    return Unlisted(count, first, complete=not unread)


def read_rows(path: str) -> Iterator[Mapping[str, Any]]:
    """Yields the rows of the manifest.

    Raises:
      SourceError: The manifest cannot be read.
    """
    try:
        data = storage.read_input(path, MAX_BYTES)
    except storage.StorageError as e:
        raise SourceError(f"The manifest {path!r} cannot be read: {type(e).__name__}: {e}.") from e
    yield from parse(path, data)


def parse(path: str, data: bytes) -> Iterator[Mapping[str, Any]]:
    """Parses the bytes of a manifest, in the format that its extension says.

    Yields:
      The rows, as mappings from column to value.

    Raises:
      SourceError: The bytes are not in that format, or the columns path and label are missing.
    """
    try:
        if path.lower().endswith(".parquet"):
            yield from _parquet_rows(path, data)
            return
        text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
        if path.lower().endswith(".csv"):
            reader = csv.DictReader(text)
            _check_columns(path, reader.fieldnames or [])
            yield from reader
            return
        lines = enumerate(_lines(data), start=1)
        yield from (_json_row(line, number) for number, line in lines if line.strip())
    except SourceError:
        raise
    except Exception as e:  # pyarrow, csv and codecs each raise their own types
        raise SourceError(f"The manifest {path!r} cannot be read: {type(e).__name__}: {e}.") from e


def _parquet_rows(path: str, data: bytes) -> Iterator[Mapping[str, Any]]:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
    names = file.schema_arrow.names
    _check_columns(path, names)
    for batch in file.iter_batches(columns=[name for name in COLUMNS if name in names]):
        yield from batch.to_pylist()


def _lines(data: bytes) -> Iterator[str]:
    """Yields the lines of UTF-8 data.

    Only a line feed ends a line, and no other character that Python treats as a line end.
    """
    for line in io.BytesIO(data.removeprefix(codecs.BOM_UTF8)):
        yield line.decode("utf-8").removesuffix("\n")


def _check_columns(path: str, columns: Iterable[str]) -> None:
    missing = {"path", "label"} - set(columns)
    if missing:
        raise SourceError(
            f"The manifest {path!r} should have the columns path and label (and may have split, group, weight). "
            f"Missing: {', '.join(sorted(missing))}. Found: {', '.join(columns) or 'none'}."
        )


def _json_row(line: str, number: int) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise SourceError(f"Line {number} of the manifest is not JSON: {e}. Received: {line[:80]!r}") from e
    if not isinstance(row, dict):
        raise SourceError(f"Line {number} of the manifest should be a JSON object. Received: {line[:80]!r}")
    return row
