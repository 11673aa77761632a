"""A manifest: CSV, JSONL or Parquet rows with path and label, and perhaps split, group and weight."""

from __future__ import annotations

import collections
import csv
import io
import json
import math
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines import storage
from pipelines.config import PrepareConfig
from pipelines.source import SPLIT_NAMES, Source, SourceError, reject
from pipelines.summary import Rejected


def list_rows(config: PrepareConfig) -> Iterator[Source | Rejected]:
    base = posixpath.dirname(config.input)
    rows = list(_rows(config.input))
    if not rows:
        raise SourceError(f"The manifest {config.input!r} has no rows.")
    meanings: dict[str, collections.Counter[tuple[str, str]]] = collections.defaultdict(collections.Counter)
    parsed: list[tuple[Source | Rejected, int]] = []
    for number, row in enumerate(rows, start=1):
        item = _parse_row(row, number, base, config)
        parsed.append((item, number))
        if isinstance(item, Source):
            meanings[item.key][item[2:4]] += 1
    seen: set[str] = set()
    for item, number in parsed:
        if isinstance(item, Rejected):
            yield item
        elif len(meanings[item.key]) > 1:
            detail = f"Row {number}: this path stands under more than one label or split: {sorted(meanings[item.key])}."
            yield reject(item.uri, "contradictory-rows", detail, item.label)
        elif item.key in seen:
            yield reject(item.uri, "repeated-row", f"Row {number} repeats an earlier one.", item.label)
        else:
            seen.add(item.key)
            yield item


def _parse_row(row: Mapping[str, Any], number: int, base: str, config: PrepareConfig) -> Source | Rejected:
    def text(column: str) -> str:
        value = row.get(column)
        return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value).strip()

    path, label, split = text("path"), text("label"), text("split").lower()
    if not path or not label:
        return reject(path or f"row {number}", "bad-row", f"Row {number} should have a path and a label.", label)
    try:
        weight = float(text("weight") or 1.0)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        detail = f"Row {number}: weight should be a number of at least 0. Received: {row.get('weight')!r}"
        return reject(path, "bad-row", detail, label)
    uri = path if storage.is_remote(path) or os.path.isabs(path) else posixpath.normpath(posixpath.join(base, path))
    if not config.allow_outside and not storage.is_remote(path) and _leaves(uri, base):
        return reject(path, "outside-input", f"Row {number} leaves the manifest's folder; see --allow-outside.", label)
    key = posixpath.normpath(path)
    return Source(key, uri, label, SPLIT_NAMES.get(split, split), text("group"), weight)


def _leaves(uri: str, base: str) -> bool:
    real_base = os.path.realpath(base or ".")
    return os.path.commonpath([os.path.realpath(uri), real_base]) != real_base


def _rows(path: str) -> Iterable[Mapping[str, Any]]:
    try:
        if path.lower().endswith(".parquet"):
            import pyarrow.parquet

            data = storage.read_input(path, 8 << 30)
            table = pyarrow.parquet.read_table(io.BytesIO(data))
            _check_columns(path, table.column_names)
            return table.to_pylist()
        text = storage.read_input(path, 8 << 30).decode("utf-8-sig")
        if path.lower().endswith(".csv"):
            reader = csv.DictReader(io.StringIO(text, newline=""))
            _check_columns(path, reader.fieldnames or [])
            return list(reader)
        return [_json_row(line, i) for i, line in enumerate(text.split("\n"), start=1) if line.strip()]
    except SourceError:
        raise
    except Exception as e:  # pyarrow, csv, codecs and storage each raise their own
        raise SourceError(f"The manifest {path!r} cannot be read: {type(e).__name__}: {e}.") from e


def _check_columns(path: str, columns: Iterable[str]) -> None:
    missing = {"path", "label"} - set(columns)
    if missing:
        raise SourceError(
            f"The manifest {path!r} should have the columns path and label (and may have split, group, weight). "
            f"Missing: {', '.join(sorted(missing))}. Found: {', '.join(columns) or 'none'}."
        )


def _json_row(line: str, number: int) -> Mapping[str, Any]:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise SourceError(f"Line {number} of the manifest should be a JSON object. Received: {line[:80]!r}")
    return row
