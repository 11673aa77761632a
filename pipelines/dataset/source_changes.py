"""Finds what changed in a dataset's inputs since the dataset was prepared.

Inputs are compared by content; sizes and times do not matter. The ledger and the rejects name every input with its
SHA-256. Inputs that were never read have none. Hidden files and files outside any class folder do not count as inputs.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import itertools
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from pipelines import contract as contracts
from pipelines import storage
from pipelines.contract import Contract, json_fields, ledger, metadata
from pipelines.contract.json_fields import FieldError, Fields
from pipelines.contract.metadata import MetadataColumn, Value
from pipelines.contract.task import CLASSES, MULTI_LABEL, REGRESSION
from pipelines.core.console import progress
from pipelines.core.elements import HARMLESS, Source
from pipelines.core.errors import SourceError
from pipelines.core.files import members, reading
from pipelines.core.summary import Rejected
from pipelines.core.text import cut, listed, utf8_text
from pipelines.inputs import classes_file, listing, path_patterns
from pipelines.inputs.layouts.layout import Aside, Layout, check_label_from
from pipelines.inputs.rules import LAYOUTS, InputSpec, TableSpec
from pipelines.inputs.tables import manifest_paths, record_files
from pipelines.storage import StorageError

WORDS = {CLASSES: "class", MULTI_LABEL: "labels", REGRESSION: "numbers"}  # what an input is labelled with
NAMED, MOST_CHARACTERS = 3, 40  # columns that a change names, and characters of a cell
THREADS = 8  # they read and hash; most of the time they wait for a disk or a network
MAX_SUMMARY_BYTES = 1 << 30
MAX_FILE_BYTES = 256 << 20  # where the dataset does not say how much of a file was read
_SETTINGS = {"input": str, "layout": str, "allow_outside": bool, "max_file_bytes": int, "include": list,
             "exclude": list, "path_column": str, "label_column": str, "split_column": str, "group_column": str,
             "weight_column": str, "heading": bool, "delimiter": str, "table_encoding": str, "image_root": str,
             "suffix": str, "path_prefix": list, "find_images": bool, "windows_paths": bool, "single_label": bool,
             "split_lists": list, "classes": dict, "labels": str, "label_separator": str, "label_columns": list,
             "target": list, "keep": list, "unlabelled": list, "corrections": str, "min_confidence": float,
             "join": list, "label_lists": list, "split_names": list, "path_from": str}  # fmt: skip
# Reasons that say nothing about the file, because its processing failed: such an input cannot be compared. With any
# other reason, an input that can be used now has changed.
_LOST = ("timeout", "crashed")


class Known(NamedTuple):
    """Holds what the dataset says about one input.

    Attributes:
      digest: SHA-256 in hex, "" if the input was never read.
      label: Its label.
      reason: Why it was rejected, "" if it was not.
      metadata: Column -> value of what travels along.
    """

    digest: str
    label: str
    reason: str
    metadata: Mapping[str, Any] = MappingProxyType({})


class Change(NamedTuple):
    """Describes one input that changed.

    Attributes:
      kind: "changed", "gone" or "new".
      input: The input's path below the source.
      detail: What changed.
    """

    kind: str
    input: str
    detail: str


class Drift(NamedTuple):
    """Holds all changes, in order of kind and path.

    Attributes:
      changes: The changes.
      compared: Number of inputs that are listed as images now.
      not_comparable: How many of them could not be compared by content.
    """

    changes: list[Change]
    compared: int
    not_comparable: int


def find(directory: str, path: str = "") -> Drift:
    """Compares the inputs as they are now with those that the dataset was made of.

    Args:
      directory: The dataset directory.
      path: Where the input is now; "": where it was.

    Raises:
      ContractError, LedgerError: The dataset does not say what it was made of.
      SourceError: There is no such input.
    """
    contract = contracts.load(directory, storage.reading_text)
    settings, read_as = _settings(directory)
    spec = _input_spec(settings, read_as, path, contract)
    table = dataclasses.replace(_resolved(_table(settings)), join=spec.table.join)
    was = dataclasses.replace(spec, path=settings.get("input") or spec.path, table=table)
    known = _known(directory, contract, _base(was))
    progress.begin("comparing", len(known))
    base = _base(spec)
    sources: dict[str, Source] = {}
    rejected: dict[str, Rejected] = {}
    try:
        for item in listing.list_sources(spec):
            if isinstance(item, Rejected):
                rejected[_key(item.uri, base)] = item
            else:
                sources[_key(item.uri, base)] = item
    except SourceError as e:
        raise SourceError(f"{e} If the input is elsewhere now, name it: --source PATH.") from e
    found = list(_compared(sources, known, settings.get("max_file_bytes", MAX_FILE_BYTES), spec))
    changes = [change for change, _ in found if change is not None]
    changes += _only_listed(known, sources, rejected, WORDS[spec.table.task])
    return Drift(sorted(changes), len(found), sum(not comparable for _, comparable in found))


def _compared(
    sources: dict[str, Source], known: dict[str, Known], max_file_bytes: int, spec: InputSpec
) -> Iterator[Any]:
    """Compares every input that can be listed.

    Yields:
      The input's Change or None, and whether its content could be compared.
    """
    remaining, inside, task = iter(sources.items()), listing.bounds(spec), spec.table.task
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        while part := list(itertools.islice(remaining, 64 * THREADS)):
            digests = pool.map(lambda item: _digest(item[1].uri, max_file_bytes, inside), part)
            for (key, source), (digest, problem) in zip(part, digests, strict=True):
                progress.advance(1)
                change, is_comparable = _change(key, source, known.get(key), digest, problem, WORDS[task])
                if change is None and is_comparable:
                    change = _of_columns(key, source, known[key], spec.metadata)
                yield change, is_comparable


def _digest(uri: str, limit: int, inside: str) -> tuple[str, str]:
    """Returns (SHA-256 in hex, "") or ("", why the file cannot be read)."""
    try:
        return hashlib.sha256(storage.read_input(uri, limit, inside)).hexdigest(), ""
    except StorageError as e:
        return "", e.reason


def _of_columns(key: str, source: Source, was: Known, columns: Sequence[MetadataColumn]) -> Change | None:
    """Compares what travels along with an input whose content and label are the same.

    It is known of records only: the lists of rejects and of unused images do not have it.
    """
    if was.reason:
        return None
    told = [
        f"{column.name!r} was {_cell(before)} and is {_cell(now)}"
        for column, now in zip(columns, source.metadata, strict=False)
        for before in [was.metadata.get(column.name)]
        if not metadata.same(metadata.stored(before, column.dtype), metadata.stored(now, column.dtype))
    ]
    return Change("changed", key, f"its column {listed(told, NAMED)}") if told else None


def _cell(value: Value) -> str:
    return "empty" if value is None else cut(str(value), MOST_CHARACTERS)


def _change(
    key: str, source: Source, was: Known | None, digest: str, problem: str, word: str
) -> tuple[Change | None, bool]:
    if was is None:
        return Change("new", key, f"cannot be read: {problem}" if problem else f"of {word} {source.label}"), True
    if not was.digest:
        if problem or was.reason in _LOST:
            return None, False
        kind = "new" if was.reason == "missing" else "changed"
        return Change(kind, key, f"it can be used now; it was rejected as {was.reason}"), True
    if problem == "missing":
        return Change("gone", key, f"it was {was.digest[:12]}… of {word} {was.label}"), True
    if problem:
        return Change("changed", key, f"it cannot be read any more: {problem}"), True
    if digest != was.digest:
        return Change("changed", key, f"its content was {was.digest[:12]}… and is {digest[:12]}…"), True
    if utf8_text(source.label) != was.label:
        return Change("changed", key, f"its {word} was {was.label} and is {utf8_text(source.label)}"), True
    return None, True


def _only_listed(
    known: dict[str, Known], sources: dict[str, Source], rejected: dict[str, Rejected], word: str
) -> Iterator[Change]:
    """Yields the changes that the listing shows without reading a file.

    These are inputs that are no longer listed, inputs that are rejected now while they are listed, and inputs that are
    rejected for the first time.
    """
    for key, was in known.items():
        if key in sources or (was.reason in HARMLESS and not was.digest):
            continue
        if key not in rejected:
            yield Change("gone", key, f"of {word} {was.label}" if was.label else "it was rejected before")
        elif was.digest:
            yield Change("changed", key, f"it is rejected now: {rejected[key].reason}")
    for key, item in rejected.items():
        if key not in known and key not in sources and item.reason not in HARMLESS:
            yield Change("new", key, f"it would be rejected: {item.reason}")


def _known(directory: str, contract: Contract, base: str) -> dict[str, Known]:
    known: dict[str, Known] = {}
    for name in (ledger.REJECTED, ledger.UNUSED):
        for r in ledger.rejects(directory, name, storage.reading):
            known[_key(r.uri, base)] = Known(r.digest, r.label, r.reason)
    for split in contract.all_splits.values():
        for shard in split.shards:
            for line in ledger.lines(directory, shard.file, storage.reading):
                if not line.copy or _key(line.uri, base) not in known:
                    known[_key(line.uri, base)] = Known(line.digest, line.label, "", line.metadata)
    return known


def _key(uri: str, base: str) -> str:
    """Returns the path below the input, so that a moved input can be compared.

    The path of a file elsewhere stays complete.
    """
    uri = members.readable(uri)  # where a member lies in its container makes no difference
    return utf8_text(uri.removeprefix(f"{base}/") if base else uri)


def _base(spec: InputSpec) -> str:
    """Returns the folder that the paths of an input's files begin with."""
    path = spec.path
    if os.path.isdir(path):
        return path.rstrip("/")
    if record_files.is_table(path):
        folder = manifest_paths.folder(path, spec.table)
        return folder.rstrip("/") if storage.is_remote(folder) else posixpath.normpath(folder) if folder else ""
    return path_patterns.base(path) if listing.is_glob(path) else path.rstrip("/")


def _input_spec(settings: Mapping[str, Any], read_as: Layout | None, path: str, contract: Contract) -> InputSpec:
    """Returns how the input was listed."""
    source = path or settings.get("input", "")
    if not source:
        raise SourceError("stats/summary.json does not say where the input is. Name it: --source PATH.")
    layout = settings.get("layout", "auto")
    if layout not in LAYOUTS:
        raise SourceError(
            f"stats/summary.json should name a layout of {', '.join(LAYOUTS)}. Received: {layout!r}. Another version "
            "made it: compare with that version."
        )
    table = _resolved(_moved(_table(settings), settings.get("input", ""), path))
    return InputSpec(
        source,
        layout,
        include=_texts(settings.get("include", [])),
        exclude=_texts(settings.get("exclude", [])),
        split_names=_pairs(settings, "split_names"),
        allow_outside=settings.get("allow_outside", False),
        table=dataclasses.replace(table, join=_joined(settings, source)),
        classes=classes_file.from_json(settings.get("classes")),
        split_lists=_lists(settings, source, "split_lists"),
        unlabelled=_texts(settings.get("unlabelled", [])),
        corrections=settings.get("corrections", ""),
        min_confidence=settings.get("min_confidence", 0.0),
        known_labels=contract.labels,
        label_lists=tuple((folder, file) for file, folder in _lists(settings, source, "label_lists")),
        read_as=read_as if not record_files.is_table(source) else None,
        metadata=contract.metadata,  # a cell that does not fit the type of its column now is a change, too
    )


def _lists(settings: Mapping[str, Any], source: str, option: str) -> tuple[tuple[str, str], ...]:
    """Returns (file, split) of lists of splits, or (file, folder) of labels.

    A list below the input may have moved with it.
    """
    found = []
    for name, file in _pairs(settings, option):
        inside = os.path.join(source, file)
        found.append((inside if not os.path.exists(file) and os.path.exists(inside) else file, name))
    return tuple(found)


def _pairs(settings: Mapping[str, Any], option: str) -> tuple[tuple[str, str], ...]:
    """Returns the pairs of texts of an option."""
    found = (_texts(pair) for pair in settings.get(option, []))
    return tuple((pair[0], pair[1]) for pair in found if len(pair) == 2)


def _joined(settings: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """Returns the tables that are joined with the input, which may have moved with it."""
    folder = posixpath.dirname(source)
    files = _texts(settings.get("join", []))
    inside = [os.path.join(folder, file) for file in files]
    return tuple(
        other if not os.path.exists(file) and os.path.exists(other) else file
        for file, other in zip(files, inside, strict=True)
    )


def _moved(table: TableSpec, old: str, new: str) -> TableSpec:
    """Returns how a table is read that may lie elsewhere now.

    Images that were below its folder have moved with it.
    """
    folder = posixpath.dirname(old)
    if not new or not folder or not f"{table.image_root}/".startswith(f"{folder}/"):
        return table
    rest = table.image_root[len(folder) :].strip("/")
    return dataclasses.replace(table, image_root=posixpath.join(posixpath.dirname(new) or ".", rest))


def _resolved(table: TableSpec) -> TableSpec:
    """Returns how a table is read, with the complete path of its images' folder."""
    if not table.image_root or storage.is_remote(table.image_root):
        return table
    return dataclasses.replace(table, image_root=os.path.abspath(table.image_root))


def _table(settings: Mapping[str, Any]) -> TableSpec:
    """Returns how a table was read, without the tables that were joined with it.

    What the dataset does not say is as the options have it by default.
    """
    given = {("encoding" if name == "table_encoding" else name): value for name, value in settings.items()}
    given["targets"] = _texts(settings.get("target", []))
    given["keep"] = _texts(settings.get("keep", []))
    given["label_columns"] = _texts(settings.get("label_columns", []))
    known = {field.name: given[field.name] for field in dataclasses.fields(TableSpec) if field.name in given}
    known.pop("join", None)
    pairs = known.pop("path_prefix", [])
    known["path_prefix"] = tuple((str(pair[0]), str(pair[1])) for pair in pairs if len(_texts(pair)) == 2)
    return TableSpec(**known)


def _texts(values: list[Any]) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str))


def _layout(summary: Mapping[str, Any]) -> Layout | None:
    """Returns how the input folder was read when the dataset was made.

    None: it is no folder.

    Raises:
      FieldError: it is damaged.
    """
    if summary.get("layout") is None:
        return None
    noted = Fields(summary).plain("layout")
    try:
        splits = tuple((str(folder), str(split)) for folder, split in noted["splits"])
        aside = tuple(Aside(str(folder), str(why)) for folder, why in noted["aside"])
        return Layout(splits, check_label_from(noted["label_from"]), aside)
    except (KeyError, TypeError, ValueError) as e:
        raise FieldError(f"stats/summary.json should say how the input was read. Received: {noted!r}") from e


def _settings(directory: str) -> tuple[dict[str, Any], Layout | None]:
    """Returns the settings with which the inputs were listed, and the layout.

    What cannot be read from the dataset is left out.
    """
    try:
        with storage.reading(storage.join(directory, "stats", "summary.json")) as file:
            text = reading.at_most(file, MAX_SUMMARY_BYTES).decode("utf-8")
        summary = json_fields.parse(text)
        settings = Fields(summary).plain("settings")
        read_as = _layout(summary)
    except (OSError, UnicodeDecodeError, FieldError):
        return {}, None
    return {name: settings[name] for name, kind in _SETTINGS.items() if type(settings.get(name)) is kind}, read_as
