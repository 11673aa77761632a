"""What became of a dataset's inputs since it was prepared: by content, whatever sizes and times say.

The ledger and the rejects name every input with its SHA-256. Inputs that were never read have none; hidden files and
files outside any class folder are no inputs.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import itertools
import posixpath
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipelines import contract as contracts
from pipelines import storage
from pipelines.config import PrepareConfig
from pipelines.contract import json_fields
from pipelines.contract.json_fields import FieldError, Fields
from pipelines.core import progress
from pipelines.core.elements import HARMLESS, Source
from pipelines.core.errors import SourceError
from pipelines.core.summary import Rejected
from pipelines.core.text import utf8_text
from pipelines.inputs import folders, listing
from pipelines.inputs.rules import is_manifest
from pipelines.records import ledger
from pipelines.storage import StorageError

THREADS = 8  # that read and hash: most of the time they wait for a disk or a network
MAX_SUMMARY_BYTES = 1 << 30
_SETTINGS = {"input": str, "layout": str, "allow_outside": bool, "max_file_bytes": int}
# Rejects for what a file or a row was, and not for what went wrong on the way: a change shows when they can be used.
_LOST = ("timeout", "crashed")


class Known(NamedTuple):
    """What the dataset says of an input: digest in hex, "" if it was never read; why it was rejected, if it was."""

    digest: str
    label: str
    reason: str


class Change(NamedTuple):
    """One input that is not as it was. kind: "changed", "gone" or "new"; `input` is its path below the input."""

    kind: str
    input: str
    detail: str


class Drift(NamedTuple):
    """All changes, in order of kind and path; how many inputs were compared by content, and how many could not be."""

    changes: list[Change]
    compared: int
    not_comparable: int


def find(directory: str, path: str = "") -> Drift:
    """Compares the inputs as they are now with those that the dataset was made of.

    Args:
      path: where the input is now; "": where it was.

    Raises:
      ContractError, LedgerError: the dataset does not say what it was made of.
      SourceError: there is no such input.
    """
    contract = contracts.load(directory, storage.reading_text)
    config = _config(directory, path)
    known = _known(directory, contract, _base(_settings(directory).get("input") or config.input))
    progress.begin("comparing", len(known))
    base = _base(config.input)
    sources: dict[str, Source] = {}
    rejected: dict[str, Rejected] = {}
    try:
        for item in listing.list_sources(config):
            if isinstance(item, Rejected):
                rejected[_key(item.uri, base)] = item
            else:
                sources[_key(item.uri, base)] = item
    except SourceError as e:
        raise SourceError(f"{e} If the input is elsewhere now, name it: --source PATH.") from e
    found = list(_compared(sources, known, config))
    changes = [change for change, _ in found if change is not None]
    changes += _only_listed(known, sources, rejected)
    return Drift(sorted(changes), len(found), sum(not comparable for _, comparable in found))


def _compared(sources: dict[str, Source], known: dict[str, Known], config: PrepareConfig) -> Iterator[Any]:
    """(Change or None, whether the content could be compared) of every input that can be listed."""
    remaining = iter(sources.items())
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        while part := list(itertools.islice(remaining, 64 * THREADS)):
            digests = pool.map(lambda item: _digest(item[1].uri, config.max_file_bytes), part)
            for (key, source), (digest, problem) in zip(part, digests, strict=True):
                progress.advance(1)
                yield _change(key, source, known.get(key), digest, problem)


def _digest(uri: str, limit: int) -> tuple[str, str]:
    """(SHA-256 in hex, "") or ("", why it cannot be read)."""
    try:
        return hashlib.sha256(storage.read_input(uri, limit)).hexdigest(), ""
    except StorageError as e:
        return "", e.reason


def _change(key: str, source: Source, was: Known | None, digest: str, problem: str) -> tuple[Change | None, bool]:
    if was is None:
        return Change("new", key, f"cannot be read: {problem}" if problem else f"of class {source.label}"), True
    if not was.digest:
        if problem or was.reason in _LOST:
            return None, False
        kind = "new" if was.reason == "missing" else "changed"
        return Change(kind, key, f"it can be used now; it was rejected as {was.reason}"), True
    if problem == "missing":
        return Change("gone", key, f"it was {was.digest[:12]}… of class {was.label}"), True
    if problem:
        return Change("changed", key, f"it cannot be read any more: {problem}"), True
    if digest != was.digest:
        return Change("changed", key, f"its content was {was.digest[:12]}… and is {digest[:12]}…"), True
    if utf8_text(source.label) != was.label:
        return Change("changed", key, f"its class was {was.label} and is {utf8_text(source.label)}"), True
    return None, True


def _only_listed(
    known: dict[str, Known], sources: dict[str, Source], rejected: dict[str, Rejected]
) -> Iterator[Change]:
    """Inputs that are not listed any more or rejected while listing, and those that are rejected for the first time."""
    for key, was in known.items():
        if key in sources or (was.reason in HARMLESS and not was.digest):
            continue
        if key not in rejected:
            yield Change("gone", key, f"of class {was.label}" if was.label else "it was rejected before")
        elif was.digest:
            yield Change("changed", key, f"it is rejected now: {rejected[key].reason}")
    for key, item in rejected.items():
        if key not in known and key not in sources and item.reason not in HARMLESS:
            yield Change("new", key, f"it would be rejected: {item.reason}")


def _known(directory: str, contract: contracts.Contract, base: str) -> dict[str, Known]:
    known: dict[str, Known] = {}
    for name in (ledger.REJECTED, ledger.UNUSED):
        for r in ledger.rejects(directory, name):
            known[_key(r.uri, base)] = Known(r.digest, r.label, r.reason)
    for split in contract.splits.values():
        for shard in split.shards:
            for line in ledger.lines(directory, shard.file):
                if not line.copy or _key(line.uri, base) not in known:
                    known[_key(line.uri, base)] = Known(line.digest, line.label, "")
    return known


def _key(uri: str, base: str) -> str:
    """The path below the input, so that a moved one can be compared; the whole one where it lies elsewhere."""
    return utf8_text(uri.removeprefix(f"{base}/") if base else uri)


def _base(path: str) -> str:
    """What the paths of an input's files begin with."""
    if is_manifest(path):
        folder = posixpath.dirname(path)
        return folder.rstrip("/") if storage.is_remote(path) else posixpath.normpath(folder) if folder else ""
    return folders.glob_base(path) if listing.is_glob(path) else path.rstrip("/")


def _config(directory: str, path: str) -> PrepareConfig:
    kept = _settings(directory)
    source = path or kept.get("input", "")
    if not source:
        raise SourceError("stats/summary.json does not say where the input is. Name it: --source PATH.")
    return PrepareConfig(**{**kept, "input": source, "output": directory})


def _settings(directory: str) -> dict[str, Any]:
    """How the inputs were listed and read; less where that cannot be told."""
    try:
        with storage.reading(storage.join(directory, "stats", "summary.json")) as file:
            text = file.read(MAX_SUMMARY_BYTES).decode("utf-8")
        settings = Fields(json_fields.parse(text)).plain("settings")
    except (OSError, UnicodeDecodeError, FieldError):
        return {}
    return {name: settings[name] for name, kind in _SETTINGS.items() if type(settings.get(name)) is kind}
