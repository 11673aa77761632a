"""What there is to read: a folder per class, split folders, a glob or a manifest, listed as references.

A reference names a file, its label and perhaps its split, group and weight; it is tens of bytes and all that the
pipeline shuffles. Everything that is listed is either a reference or a reject with a reason: nothing is skipped.
"""

from __future__ import annotations

import collections
import csv
import io
import json
import math
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pipelines import storage
from pipelines.config import PrepareConfig
from pipelines.summary import Rejected

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip
MANIFEST_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
# Listed and reported, but no fault of the data: they do not count towards --max-reject-rate.
HARMLESS = ("hidden", "no-label", "repeated-row")


class SourceError(ValueError):
    """The input as a whole cannot be used; the message says what was expected and what is there."""


class Source(NamedTuple):
    """One listed image. `key` is its path relative to the input, so that moving the folder changes nothing."""

    key: str
    uri: str
    label: str
    split: str  # "": to be assigned
    group: str  # "": none
    weight: float


class Ref(NamedTuple):
    """A source whose bytes were seen once: `digest` is their SHA-256 in hex."""

    key: str
    uri: str
    label: str
    split: str
    group: str
    weight: float
    digest: str


def is_manifest(path: str) -> bool:
    return path.lower().endswith(MANIFEST_SUFFIXES)


def has_groups(config: PrepareConfig) -> bool:
    """Whether the input can hold groups: only manifests name them."""
    return is_manifest(config.input)


def list_sources(config: PrepareConfig) -> Iterator[Source | Rejected]:
    """Everything under the configured input.

    Raises:
      SourceError: there is no such input, a manifest cannot be read, or it names no image at all.
    """
    if is_manifest(config.input):
        yield from _from_manifest(config)
    elif any(c in config.input for c in "*?["):
        if not os.path.isdir(config.input):
            yield from _from_glob(config.input)
            return
        yield from _from_folder(config)
    else:
        yield from _from_folder(config)


def check(config: PrepareConfig) -> None:
    """Fails at once, with a sentence, where the input is not there; cheap enough to call before anything heavy."""
    path = config.input
    if storage.is_remote(path) or any(c in path for c in "*?["):
        return
    if is_manifest(path):
        if not os.path.isfile(path):
            raise SourceError(f"No manifest {path!r}: expected a CSV, JSONL or Parquet file with path and label.")
    elif not os.path.isdir(path):
        what = "a file that is no manifest" if os.path.exists(path) else "nothing"
        raise SourceError(
            f"--input should be a folder of class folders, a manifest ({', '.join(MANIFEST_SUFFIXES)}) or a glob. "
            f"There is {what} at {path!r}."
        )


def _reject(uri: str, reason: str, detail: str, label: str = "") -> Rejected:
    return Rejected(_printable(uri), _printable(label), "", "", "list", reason, detail)


def _printable(text: str) -> str:
    """Text that UTF-8 can hold: bytes of a name that are not UTF-8 are shown as escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# ---------------------------------------------------------------- folders


def _from_folder(config: PrepareConfig) -> Iterator[Source | Rejected]:
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
            yield _reject(uri, *problem, label=key.split("/")[0] if "/" in key else "")
            continue
        parts = key.split("/")
        depth = 2 if split_layout else 1
        if any(part.startswith(".") for part in parts):
            yield _reject(uri, "hidden", "The name starts with a dot.")
        elif len(parts) <= depth:
            expected = "split/class/file" if split_layout else "class/file"
            yield _reject(uri, "no-label", f"Expected {expected} below the input.")
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


def _from_glob(pattern: str) -> Iterator[Source | Rejected]:
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
            yield _reject(uri, "no-label", "A glob takes the label from the file's folder; there is none.")


# ---------------------------------------------------------------- manifests


def _from_manifest(config: PrepareConfig) -> Iterator[Source | Rejected]:
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
            yield _reject(item.uri, "contradictory-rows", detail, item.label)
        elif item.key in seen:
            yield _reject(item.uri, "repeated-row", f"Row {number} repeats an earlier one.", item.label)
        else:
            seen.add(item.key)
            yield item


def _parse_row(row: Mapping[str, Any], number: int, base: str, config: PrepareConfig) -> Source | Rejected:
    def text(column: str) -> str:
        value = row.get(column)
        return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value).strip()

    path, label, split = text("path"), text("label"), text("split").lower()
    if not path or not label:
        return _reject(path or f"row {number}", "bad-row", f"Row {number} should have a path and a label.", label)
    try:
        weight = float(text("weight") or 1.0)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        detail = f"Row {number}: weight should be a number of at least 0. Received: {row.get('weight')!r}"
        return _reject(path, "bad-row", detail, label)
    uri = path if storage.is_remote(path) or os.path.isabs(path) else posixpath.normpath(posixpath.join(base, path))
    if not config.allow_outside and not storage.is_remote(path) and _leaves(uri, base):
        return _reject(path, "outside-input", f"Row {number} leaves the manifest's folder; see --allow-outside.", label)
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
