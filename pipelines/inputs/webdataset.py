"""Lists samples of webdataset, whose members of one name belong together.

`00012.jpg` and `00012.cls` are an image and its label. A dataset is one tar or many, which are called shards.
"""

from __future__ import annotations

import glob
import itertools
import json
import os
from collections.abc import Iterator, Sequence

from pipelines import storage
from pipelines.core.elements import Source
from pipelines.core.errors import SourceError, StorageError
from pipelines.core.summary import Rejected
from pipelines.core.text import plural
from pipelines.inputs import containers, path_patterns, shard_files
from pipelines.inputs.containers import Entry
from pipelines.inputs.layouts import other_files, split_names
from pipelines.inputs.rules import InputSpec, reject

LABEL, JSON = "cls", "json"
MAX_LABEL_BYTES = 1 << 20
# Members that belong to a sample and are no image of it: labels, indices, texts, arrays.
_COMPANIONS = frozenset({"cls", "cls2", "id", "index", "inx", "key", "npy", "npz", "pyd", "text", "ten", "tb"})


def shards(path: str) -> list[str]:
    """Returns the tars that an input names, by their paths; [] if it names none.

    Args:
      path: A local tar, a folder that holds tars and no picture, or a pattern such as train-{000..009}.tar.
    """
    if storage.is_remote(path):
        return []
    if os.path.isdir(path):
        return _in_folder(path)
    if not _is_tar(path):
        return []
    if os.path.isfile(path) or not any(character in path for character in "*?[{"):
        return [path] if os.path.isfile(path) else []
    expanded = path_patterns.expanded(path)
    return sorted({name for one in expanded for name in (glob.glob(one) if expanded == [path] else [one])})


def label_of(spec: InputSpec) -> str:
    """Returns the ending of the members that hold the labels.

    It is "" if the input is no webdataset. An option that says how a folder is read makes it none.

    Raises:
      SourceError: A shard cannot be read, or nothing says where the labels are.
    """
    found = shards(spec.path)
    if not found or spec.label_from != "auto" or spec.layout != "auto" or spec.split_names:
        return ""
    if absent := next((path for path in found if not os.path.isfile(path)), ""):
        raise SourceError(f"There is no shard {absent!r} to read.")
    samples = dict(_samples(containers.entries(found[0])))
    endings = {ending for parts in samples.values() for ending in parts}
    if LABEL in endings and not spec.table.label_column:
        return LABEL
    beside = [parts for parts in samples.values() if JSON in parts and _images(parts)]
    if beside and spec.table.label_column:
        return JSON
    if beside and (os.path.isdir(spec.path) or not any("/" in stem for stem in samples)):
        raise SourceError(
            f"{found[0]!r} seems to be a shard of webdataset with a .json beside each image. Name the key of it that "
            "holds the label with --label-column."
        )
    return ""


def describe(spec: InputSpec, ending: str) -> str:
    """Returns a sentence that says how the input is read."""
    found = shards(spec.path)
    splits = _splits(spec.path, found)
    where = f"the label from {spec.table.label_column!r} of .json" if ending == JSON else f"the label from .{ending}"
    said = f" Splits, by the names of the shards: {', '.join(sorted(set(splits.values())))}." if splits else ""
    return f"Reads {spec.path!r} as webdataset: {plural(len(found), 'shard')}, {where}.{said}"


def list_samples(spec: InputSpec, ending: str) -> Iterator[Source | Rejected]:
    """Yields the image of every sample, and what cannot be used.

    The members that belong to an image are part of it and are not listed.

    Args:
      ending: Of the members that hold the labels; see `label_of`.

    Raises:
      SourceError: A shard cannot be read.
    """
    found = shards(spec.path)
    splits = _splits(spec.path, found)
    for shard in found:
        entries = [entry for entry in containers.entries(shard) if _is_selected(spec, entry.key)]
        for entry in entries:
            if entry.problem is not None and not entry.problem.folder:
                yield reject(entry.uri, entry.problem.reason, entry.problem.sentence)
        before = "" if shard == spec.path else _below(shard, spec.path) + "/"
        for _, parts in _samples(entries):
            images = _images(parts)
            if not images:
                yield from (reject(e.uri, "other-file", "No image of its name is beside it.") for e in parts.values())
            for image in images[1:]:
                yield reject(
                    image.uri, "several-images", "The sample has another image. Choose one with --include '*.ENDING'."
                )
            for image in images[:1]:
                label, why = _label(parts.get(ending), spec.table.label_column if ending == JSON else "")
                if why:
                    yield reject(image.uri, "no-label", why)
                else:
                    yield Source(before + image.key, image.uri, label, splits.get(shard, ""), "", 1.0)


def _in_folder(path: str) -> list[str]:
    """Returns the tars below a folder; [] if there is a picture or a zip, too."""

    def is_other(name: str) -> bool:
        return containers.is_container(name) or not (name.startswith(".") or other_files.holds_no_picture(name))

    return shard_files.below(path, _is_tar, is_other, flat=False)


def _is_tar(path: str) -> bool:
    return path.lower().endswith(".tar")


def _is_selected(spec: InputSpec, key: str) -> bool:
    parts = key.split("/")
    if spec.exclude and path_patterns.selects(spec.exclude, parts):
        return False
    is_image = not _is_companion(parts[-1].rpartition(".")[2].lower())
    return not (is_image and spec.include) or path_patterns.selects(spec.include, parts)


def _samples(entries: Sequence[Entry]) -> Iterator[tuple[str, dict[str, Entry]]]:
    """Yields the name of each sample, and its members by their endings.

    The name ends at the first dot of the file's name, as webdataset has it.
    """
    usable = (entry for entry in entries if entry.problem is None)
    for stem, group in itertools.groupby(sorted(usable, key=lambda e: (_stem(e.key), e.key)), lambda e: _stem(e.key)):
        yield stem, {entry.key[len(stem) + 1 :].lower(): entry for entry in group}


def _stem(key: str) -> str:
    folder, slash, name = key.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _images(parts: dict[str, Entry]) -> list[Entry]:
    return [entry for ending, entry in parts.items() if not _is_companion(ending.rpartition(".")[2])]


def _is_companion(ending: str) -> bool:
    return ending in _COMPANIONS or other_files.holds_no_picture(f"x.{ending}")


def _label(entry: Entry | None, key: str) -> tuple[str, str]:
    """Returns the label that a member holds, and "", or "" and why there is none."""
    if entry is None:
        return "", "No member of its name holds a label."
    try:
        text = storage.read_input(entry.uri, MAX_LABEL_BYTES).decode("utf-8")
        value = json.loads(text)[key] if key else text.strip()
    except StorageError as e:
        return "", f"Its label cannot be read: {e.reason}."
    except (ValueError, TypeError, LookupError, RecursionError) as e:
        return "", f"Its label cannot be read: {type(e).__name__}: {e}."[:200]
    if isinstance(value, bool) or not isinstance(value, str | int):
        return "", f"Its label should be text or a whole number. Received: {type(value).__name__}."
    return (str(value), "") if str(value) else ("", "Its label is empty.")


def _splits(path: str, found: list[str]) -> dict[str, str]:
    return split_names.splits_of_files({shard: _below(shard, path) for shard in found})


def _below(shard: str, path: str) -> str:
    """Returns the path of a shard below the input folder, or its name."""
    return os.path.relpath(shard, path) if os.path.isdir(path) else os.path.basename(shard)
