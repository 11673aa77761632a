"""A manifest: CSV, JSONL or Parquet rows with path and label, and perhaps split, group and weight."""

from __future__ import annotations

import collections
import csv
import io
import json
import math
import os
import posixpath
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines import storage
from pipelines.config import PrepareConfig
from pipelines.source import SPLIT_NAMES, SPLIT_PATTERN, Source, SourceError, reject
from pipelines.summary import Rejected

MAX_WEIGHT = 3e38  # records hold float32
MAX_BYTES = 8 << 30
COLUMNS = ("path", "label", "split", "group", "weight")
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif",
)  # fmt: skip
# Where looking for images that no row names stops: a manifest may lie at the top of anything.
MOST_LOOKED_AT, LONGEST_LOOK = 2_000_000, 20.0  # files, seconds


class Unlisted(NamedTuple):
    """Images (by their extension) in the manifest's folder that no row names; first: the path of one, "" if none.

    complete: False if there were more files than were looked at.
    """

    images: int = 0
    first: str = ""
    complete: bool = True


def list_rows(config: PrepareConfig) -> Iterator[Source | Rejected]:
    """Every row as a source or a reject; rows that repeat or contradict one another are rejects, never a choice."""
    rows = list(read_rows(config.input))
    if not rows:
        raise SourceError(f"The manifest {config.input!r} has no rows.")
    yield from read_items(rows, config)


def read_items(rows: Sequence[Mapping[str, Any]], config: PrepareConfig) -> Iterator[Source | Rejected]:
    """A source or a reject for each row, in their order."""
    base = posixpath.dirname(config.input)
    meanings: dict[str, set[tuple[Any, ...]]] = collections.defaultdict(set)
    parsed: list[tuple[Source | Rejected, int]] = []
    for number, row in enumerate(rows, start=1):
        item = _parse_row(row, number, base, config)
        parsed.append((item, number))
        if isinstance(item, Source):
            meanings[item.key].add(item[2:])
    seen: set[str] = set()
    for item, number in parsed:
        if isinstance(item, Rejected):
            yield item
        elif len(meanings[item.key]) > 1:
            found = sorted(meanings[item.key])
            detail = f"Row {number}: this path has more than one label, split, group or weight: {found}."
            yield reject(item.uri, "contradictory-rows", detail, item.label)
        elif item.key in seen:
            yield reject(item.uri, "repeated-row", f"Row {number} repeats an earlier one.", item.label)
        else:
            seen.add(item.key)
            yield item


def _parse_row(row: Mapping[str, Any], number: int, base: str, config: PrepareConfig) -> Source | Rejected:
    values = {column: _text(row.get(column)) for column in COLUMNS}
    path, label, split = values["path"] or "", values["label"] or "", (values["split"] or "").lower()

    def bad(expected: str) -> Rejected:
        return reject(path or f"row {number}", "bad-row", f"Row {number} {expected}", label)

    for column, value in values.items():
        if value is None:
            return bad(f"should have plain text or a number as its {column}. Received: {row[column]!r:.80}")
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
    if not config.allow_outside and not storage.is_remote(uri) and _leaves(uri, base):
        return reject(path, "outside-input", f"Row {number} leaves the manifest's folder; see --allow-outside.", label)
    return Source(_key(uri, base), uri, label, SPLIT_NAMES.get(split, split), values["group"] or "", weight)


def _text(value: Any) -> str | None:
    """A cell as text; None where it is something else, or text that no file name and no UTF-8 can hold."""
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
    """The path relative to the manifest's folder where it is below that, however the row spells it."""
    if storage.is_remote(uri):
        return uri.removeprefix(base.rstrip("/") + "/")
    return posixpath.relpath(uri, base or ".")


def _leaves(uri: str, base: str) -> bool:
    real_base = os.path.realpath(base or ".")
    return os.path.commonpath([os.path.realpath(uri), real_base]) != real_base


def unlisted(config: PrepareConfig) -> Unlisted:
    """Looks through a local manifest's folder, unless none of its rows lies there. Hidden files do not count."""
    base = os.path.abspath(posixpath.dirname(config.input) or ".")
    try:
        paths = [_text(row.get("path")) for row in read_rows(config.input)]
    except SourceError:  # gone since it was read; the images that it named are done
        return Unlisted()
    listed = {os.path.abspath(_resolve(path, base)) for path in paths if path and not storage.is_remote(path)}
    if not any(path.startswith(f"{base}/") for path in listed):
        return Unlisted()
    output, until = os.path.abspath(config.output), time.monotonic() + LONGEST_LOOK
    count, looked_at, first = 0, 0, ""
    for folder, folders, names in os.walk(base):
        folders[:] = sorted(f for f in folders if f[0] != "." and os.path.join(folder, f) != output)
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name[0] != "." and name.lower().endswith(IMAGE_SUFFIXES) and path not in listed:
                count, first = count + 1, first or path
        looked_at += len(names)
        if looked_at > MOST_LOOKED_AT or time.monotonic() > until:
            return Unlisted(count, first, complete=False)
    return Unlisted(count, first)


def read_rows(path: str) -> Iterable[Mapping[str, Any]]:
    """The rows of the manifest; SourceError where it cannot be read."""
    try:
        return parse(path, storage.read_input(path, MAX_BYTES))
    except storage.StorageError as e:
        raise SourceError(f"The manifest {path!r} cannot be read: {type(e).__name__}: {e}.") from e


def parse(path: str, data: bytes) -> Iterable[Mapping[str, Any]]:
    """The rows in the bytes of a manifest, in the format that its name says; SourceError where they are not in it."""
    try:
        if path.lower().endswith(".parquet"):
            import pyarrow.parquet

            file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
            names = file.schema_arrow.names
            _check_columns(path, names)
            return list(file.read(columns=[name for name in COLUMNS if name in names]).to_pylist())
        text = data.decode("utf-8-sig")
        if path.lower().endswith(".csv"):
            reader = csv.DictReader(io.StringIO(text, newline=""))
            _check_columns(path, reader.fieldnames or [])
            return list(reader)
        return [_json_row(line, i) for i, line in enumerate(text.split("\n"), start=1) if line.strip()]
    except SourceError:
        raise
    except Exception as e:  # pyarrow, csv and codecs each raise their own
        raise SourceError(f"The manifest {path!r} cannot be read: {type(e).__name__}: {e}.") from e


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
