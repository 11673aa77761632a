"""What there is to read: a folder per class, split folders, a glob or a manifest."""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Iterator

from pipelines import storage
from pipelines.config import PrepareConfig
from pipelines.core.elements import Source
from pipelines.core.errors import NothingUsableError, SourceError
from pipelines.core.summary import Rejected
from pipelines.inputs import folders, manifest
from pipelines.inputs.rules import MANIFEST_SUFFIXES, is_manifest, reject

LOOKED_AT = 1000  # inputs, before anything heavy is imported


def list_sources(config: PrepareConfig) -> Iterator[Source | Rejected]:
    """Everything under the configured input.

    Raises:
      SourceError: there is no such input, a manifest cannot be read, or it names no image at all.
    """
    if is_manifest(config.input):
        found = manifest.list_rows(config)
    elif is_glob(config.input):
        found = folders.list_glob(config)
    else:
        found = folders.list_folder(config)
    empty = True
    for item in found:
        empty = False
        if isinstance(item, Source) and not (item.label.isprintable() and item.label.strip()):
            yield Rejected(item.uri, repr(item.label), "", "", "list", "bad-label", "A label should be printable text.")
        else:
            yield item
    if empty:
        raise SourceError(f"The input {config.input!r} holds no file.")


def is_glob(path: str) -> bool:
    """Whether to match the path; a folder may be called like a glob."""
    return any(c in path for c in "*?[") and not os.path.isdir(path)


def check(config: PrepareConfig) -> None:
    """Fails at once, with a sentence, where the input is not there; cheap enough to call before anything heavy."""
    path = config.input
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as e:
        raise SourceError(f"The path of --input should be UTF-8. Received: {path!r}") from e
    if storage.is_remote(path):
        _check_remote(path)
    elif is_glob(path) and not is_manifest(path):
        pass
    elif is_manifest(path):
        if not os.path.isfile(path):
            raise SourceError(f"No manifest {path!r}: expected a CSV, JSONL or Parquet file with path and label.")
    elif not os.path.isdir(path):
        what = "a file that is no manifest" if os.path.exists(path) else "nothing"
        raise SourceError(
            f"--input should be a folder of class folders, a manifest ({', '.join(MANIFEST_SUFFIXES)}) or a glob. "
            f"There is {what} at {path!r}."
        )
    if not storage.is_remote(path):
        _check_first(config)


def _check_remote(path: str) -> None:
    """One request tells whether there is something; what it is, the job will see."""
    if is_manifest(path):
        if not storage.exists(path):
            raise SourceError(f"No manifest {path!r}: expected a CSV, JSONL or Parquet file with path and label.")
    elif storage.is_empty(folders.glob_base(path) if is_glob(path) else path):
        raise SourceError(
            f"--input should be a folder of class folders, a manifest ({', '.join(MANIFEST_SUFFIXES)}) or a glob. "
            f"There is nothing below {path!r}."
        )


def _check_first(config: PrepareConfig) -> None:
    """Lists the beginning of the input, and fails if not one of it is an image with a label."""
    rejects: list[Rejected] = []
    some = manifest.first_items(config, LOOKED_AT) if is_manifest(config.input) else list_sources(config)
    for item in itertools.islice(some, LOOKED_AT):
        if isinstance(item, Rejected):
            rejects.append(item)
        elif not storage.is_remote(item.uri) and not os.path.lexists(item.uri):
            rejects.append(reject(item.uri, "missing", "There is no such file.", item.label))
        else:
            return
    common = collections.Counter(r.reason for r in rejects).most_common(3)
    raise NothingUsableError(
        f"None of the first {len(rejects)} inputs in {config.input!r} can be used: "
        f"{', '.join(f'{reason} {count}' for reason, count in common)}. "
        f"For example {rejects[0].uri!r}: {rejects[0].detail}"
    )


def has_groups(config: PrepareConfig) -> bool:
    """Whether the input can hold groups: only manifests name them."""
    return is_manifest(config.input)
