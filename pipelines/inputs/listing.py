"""Lists the inputs.

They are folders of classes, a glob, a manifest, shards of webdataset, or TFRecord and Parquet files.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from pipelines import storage
from pipelines.core.elements import UNLABELLED, Source
from pipelines.core.errors import ConfigError, NothingUsableError, SourceError
from pipelines.core.summary import Rejected
from pipelines.core.text import is_label
from pipelines.inputs import (
    array_files,
    classes_file,
    containers,
    folders,
    path_patterns,
    remote_files,
    walk,
    webdataset,
)
from pipelines.inputs.corrections import Corrections
from pipelines.inputs.layouts import layout_text
from pipelines.inputs.rules import MANIFEST_SUFFIXES, InputSpec, is_manifest, reject, remedy_for_file
from pipelines.inputs.split_lists import SplitLists
from pipelines.inputs.tables import manifest, manifest_paths, path_hints, record_files, several_tables
from pipelines.tasks.kinds import KINDS

LOOKED_AT = 1000  # inputs that are checked before anything heavy is imported


def list_sources(spec: InputSpec) -> Iterator[Source | Rejected]:
    """Yields everything under the input, as a source or a reject.

    Raises:
      SourceError: There is no such input, a manifest cannot be read, or the input holds no file at all.
      ConfigError: --classes does not have a label of the input, or a row of --corrections cannot be used, both when
        all is listed; or --group-from finds no group in a path.
    """
    if not spec.corrections:
        yield from _classed(spec)
        return
    corrected = Corrections(spec)
    lists = SplitLists(spec.split_lists) if spec.split_lists else None
    for item in _classed(spec):
        if isinstance(item, Rejected):
            corrected.see(item)
            yield item
            continue
        made = corrected.apply(item)
        if isinstance(made, Source) and _is_unlabelled(item) and not _is_unlabelled(made):
            made = lists.assign(made) if lists is not None else made
            if isinstance(made, Source) and spec.group_from:
                made = _grouped(made, spec.group_from)
        yield made
    corrected.check()


def _is_unlabelled(source: Source) -> bool:
    return source.split == UNLABELLED


def _classed(spec: InputSpec) -> Iterator[Source | Rejected]:
    """Yields everything under the input, with the classes of its labels."""
    if not spec.classes.stated:
        yield from _labelled(spec)
        return
    unknown: collections.Counter[str] = collections.Counter()
    kind = KINDS[spec.table.task]
    if not kind.is_one_class:
        for item in _labelled(spec):
            if isinstance(item, Source) and spec.unlabelled and _is_unlabelled(item):
                yield item
                continue
            unknown.update(label for label in kind.labels(item.label) if spec.classes.class_of(label) is None)
            yield classes_file.renamed(item, spec.classes, kind)
        classes_file.refuse_unknown(unknown, spec.classes)
        return
    for item in _labelled(spec):
        if isinstance(item, Source) and spec.unlabelled and _is_unlabelled(item):
            yield item
            continue
        of_class = classes_file.given(item, spec.classes)
        if of_class is None:
            unknown[item.label] += 1
        else:
            yield of_class
    classes_file.refuse_unknown(unknown, spec.classes)


def _labelled(spec: InputSpec) -> Iterator[Source | Rejected]:
    """Yields everything under the input, with the labels that it has there.

    Raises:
      SourceError: As `list_sources`.
    """
    is_table = record_files.is_table(spec.path)
    if is_table:
        found = manifest.list_rows(spec)
    elif ending := webdataset.label_of(spec):
        found = webdataset.list_samples(spec, ending)
    elif is_glob(spec.path):
        found = folders.list_glob(spec.path, spec.allow_outside)
    else:
        found = folders.list_folder(spec)
    empty = True
    lists = SplitLists(spec.split_lists) if spec.split_lists else None
    for item in found:
        empty = empty and isinstance(item, Rejected) and item.reason == walk.EMPTY
        if isinstance(item, Source) and spec.unlabelled and _is_unlabelled(item):
            if not KINDS[spec.table.task].is_unknown(item.label):
                raise SourceError(
                    f"With --unlabelled, the split {UNLABELLED} has the images without a label. {item.uri!r} states "
                    f"that split and has the label {item.label!r}: give its split another name."
                )
            if lists is not None:
                lists.assign(item)  # a list may name it, and need not
            yield item
            continue
        if lists is not None and isinstance(item, Source):
            if item.split and is_table:
                raise SourceError(
                    f"The table states the split {item.split!r} of {item.key!r}, and --split-lists gives it another "
                    "way. Add --split-column none to take the lists, or leave them out."
                )
            item = lists.assign(item)
        if isinstance(item, Source) and not is_label(item.label):
            yield Rejected(item.uri, repr(item.label), "", "", "list", "bad-label",
                           "A label should be text without control characters and marks of direction.")  # fmt: skip
        elif isinstance(item, Source) and spec.group_from:
            yield _grouped(item, spec.group_from)
        else:
            yield item
    if lists is not None:
        yield from lists.missing()
    if empty:
        raise SourceError(f"The input {spec.path!r} holds no file.")


def is_glob(path: str) -> bool:
    """Tells whether to treat the path as a glob.

    A folder or a container is never a glob, even if its name contains *, ? or [.
    """
    if not any(c in path for c in "*?[") or os.path.isdir(path):
        return False
    return not (containers.is_container(path) and os.path.isfile(path))


def bounds(spec: InputSpec) -> str:
    """Returns the local folder that the files of an input must lie in.

    It is "" if they may lie anywhere.

    The listing rejects what leads out of it. A link may be changed later, so whoever reads a file looks again.
    """
    path = spec.path
    if spec.allow_outside:
        return ""
    if is_manifest(path):
        folder = manifest_paths.folder(path, spec.table)
    elif is_glob(path):
        folder = path_patterns.base(path) or ("/" if path.startswith("/") else "")
    else:
        folder = path
    return "" if storage.is_remote(folder) else os.path.abspath(folder or ".")


class Reading(NamedTuple):
    """Says how an input is read.

    spec: what is listed, with the layout of a folder that was found out.
    told: sentences for the user.
    lost: class -> why it would have no image.
    images: class -> files that may be its images. It is empty where they are not known before the listing.
    labels: the same by label, before --classes gives each its class.
    """

    spec: InputSpec
    told: tuple[str, ...] = ()
    lost: Mapping[str, str] = MappingProxyType({})
    images: Mapping[str, int] = MappingProxyType({})
    labels: Mapping[str, int] = MappingProxyType({})


def check(spec: InputSpec, allow_lost_classes: bool = False) -> Reading:
    """Checks that the input can be used, and finds out how it is read.

    The input exists, and its beginning holds an image with a label. The check reads no image, and is cheap enough to
    run before anything heavy is imported.

    Args:
      allow_lost_classes: Whether a class folder may be empty, or one that cannot be entered.

    Raises:
      SourceError: There is no such input, it cannot be read, or a class would be missing.
      LayoutError: It is not plain how a folder is read.
      NothingUsableError: None of the first LOOKED_AT inputs is an image with a label; only local inputs are checked for
        that.
      ConfigError: --classes does not have the label of a folder; --group-from finds no group in a path, or a row of
        --corrections has no image, of local inputs.
    """
    reading = _check(spec, allow_lost_classes)
    if spec.corrections:
        reading = reading._replace(told=(*reading.told, Corrections(spec).describe()))
    if (spec.corrections or spec.group_from) and not storage.is_remote(spec.path):
        collections.deque(list_sources(reading.spec), 0)  # so that what has no image or no group is told at once
    if not spec.classes.stated:
        return reading
    return reading._replace(told=(*reading.told, *classes_file.describe(spec.classes, reading.labels or None)))


def _check(spec: InputSpec, allow_lost_classes: bool) -> Reading:
    path = spec.path
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as e:
        raise SourceError(f"The path of --input should be UTF-8. Received: {path!r}") from e
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":  # the same file would have another key than under other settings
        raise SourceError(f"Python takes names of files for {encoding} here (LC_ALL, PYTHONUTF8). Set PYTHONUTF8=1.")
    is_table = record_files.is_table(path)
    if not is_table and (ending := webdataset.label_of(spec)):
        _check_first(spec, list_sources(spec))
        return Reading(spec, (webdataset.describe(spec, ending),))
    if storage.is_remote(path):
        _check_remote(path)
    elif containers.is_container(path):
        if not os.path.isfile(path):
            raise SourceError(f"There is no container {path!r} to read.")
    elif is_glob(path) and not is_table:
        pass
    elif is_table:
        is_there = os.path.isfile(path) or several_tables.is_pattern(path)
        if is_manifest(path) and not record_files.find(path) and not is_there:
            raise SourceError(
                f"No manifest {path!r}: expected a table of paths and labels: CSV, TSV, JSONL or Parquet."
            )
    elif not os.path.isdir(path):
        what = "a file that is no manifest" if os.path.exists(path) else "nothing"
        raise SourceError(
            f"--input should be a folder of class folders, a container of one ({', '.join(containers.SUFFIXES)}), a "
            f"manifest ({', '.join(MANIFEST_SUFFIXES)}), TFRecord files or a glob. There is {what} at {path!r}. "
            f"{containers.remedy(path) or remedy_for_file(path) or _if_text(path)}".rstrip()
        )
    if is_table:
        looked = manifest.look(spec, LOOKED_AT)
        if not storage.is_remote(path):
            _check_first(spec, list_sources(spec) if spec.split_lists else looked.items, looked.paths)
        lists = (SplitLists(spec.split_lists).describe(),) if spec.split_lists else ()
        return Reading(dataclasses.replace(spec, metadata=looked.metadata), (*looked.told, *lists))
    told: tuple[str, ...] = ()
    lost: dict[str, str] = {}
    images: dict[str, int] = {}
    labels: dict[str, int] = {}
    if not is_glob(path):
        tree, layout, of_folders = folders.survey(spec)
        labels = folders.images_of_classes(tree, layout)
        lost = folders.lost_classes(tree, layout) if tree.total else {}
        classes_file.refuse_unknown(dict.fromkeys(lost, 0) | labels, spec.classes)
        images = {name: sum(counts) for name, counts in classes_file.by_class(labels, spec.classes).items()}
        lost = {name: why[0] for name, why in classes_file.by_class(lost, spec.classes).items() if name not in images}
        if lost and not allow_lost_classes:
            raise folders.lost_error(lost, path)
        spec = dataclasses.replace(spec, read_as=layout)
        told = (*layout_text.describe(tree, layout, path, bool(spec.split_lists)), *of_folders)
    if spec.split_lists:
        told = (*told, SplitLists(spec.split_lists).describe())
    if not storage.is_remote(path):
        _check_first(spec, list_sources(spec))
    return Reading(spec, told, lost, images, labels)


def _if_text(path: str) -> str:
    """Returns what to do with a text of another ending, which may be a table; or ""."""
    if not os.path.isfile(path):
        return ""
    with open(path, "rb") as file:
        start = file.read(4096)
    if not start or b"\0" in start or b"\n" not in start:
        return ""
    ending = ".jsonl" if start.lstrip().startswith(b"{") else ".tsv" if b"\t" in start else ".csv"
    return f"If it is a table, give it the ending of one: cp {shlex.quote(path)} {shlex.quote(path + ending)}"


def _check_remote(path: str) -> None:
    """Checks with one request that a remote input exists.

    The job finds out later what the input holds.
    """
    remote_files.refuse(path)
    if is_manifest(path):
        if is_glob(path) and not storage.exists(path):
            raise SourceError(
                f"A pattern of tables is read on a disk only, not in a store: {path!r}. Give one table, or copy them "
                "here."
            )
        if not storage.exists(path):
            raise SourceError(
                f"No manifest {path!r}: expected a table of paths and labels: CSV, TSV, JSONL or Parquet."
            )
    elif storage.is_empty(path_patterns.base(path) if is_glob(path) else path):
        raise SourceError(
            f"--input should be a folder of class folders, a manifest ({', '.join(MANIFEST_SUFFIXES)}) or a glob. "
            f"There is nothing below {path!r}."
        )


def _check_first(spec: InputSpec, some: Iterable[Source | Rejected], paths: Sequence[str] = ()) -> None:
    """Checks that the beginning of the input holds an image with a label.

    Args:
      some: What is listed first.
      paths: Of a manifest: the paths of its first rows.

    Raises:
      NothingUsableError: None of the first LOOKED_AT inputs is one.
    """
    rejects: list[Rejected] = []
    for item in itertools.islice(some, LOOKED_AT):
        if isinstance(item, Rejected):
            rejects.append(item)
        elif not storage.is_remote(item.uri) and not os.path.lexists(item.uri):
            rejects.append(reject(item.uri, "missing", "There is no such file.", item.label))
        else:
            return
    hint = ""
    if any(r.reason in ("missing", "outside-input") or "web" in r.detail for r in rejects):
        hint = f" {path_hints.explain(spec, paths)}".rstrip()
    if all(r.reason == "other-file" for r in rejects):
        hint += _other_files_hint([r.uri for r in rejects])
    hint += _containers_hint([r.uri for r in rejects])
    common = collections.Counter(r.reason for r in rejects).most_common(3)
    example = next(r for r in rejects if r.reason == common[0][0])
    raise NothingUsableError(
        f"None of the first {len(rejects)} inputs in {spec.path!r} can be used: "
        f"{', '.join(f'{reason} {count}' for reason, count in common)}. "
        f"For example {example.uri!r}: {example.detail}{hint}"
    )


def _containers_hint(paths: Sequence[str]) -> str:
    """Returns what to do with the containers of an input that holds no image.

    It begins with a blank, and is "" if there is none.
    """
    readable = [path for path in paths if containers.is_container(path)]
    packed = [path for path in paths if path in readable or containers.remedy(path)]
    said = ""
    if len(packed) > 1:
        said += (
            f" There are {len(packed)} containers. To read them together, unpack each into a folder of its name, and "
            "give the folder above these."
        )
    if readable:
        said += f" A container is read if it is the input itself: --input {shlex.quote(readable[0])}."
    elif len(packed) == 1:
        said += f" {containers.remedy(packed[0])}"
    return said


def _other_files_hint(paths: Sequence[str]) -> str:
    """Returns what to do with the files of an input that holds no image.

    It begins with a blank, and is "" if nothing is known.
    """
    said = ""
    if arrays := next(((path, what) for path in paths if (what := array_files.remedy(path))), None):
        said += f" {arrays[0]!r}: {arrays[1]}"
    if tables := [path for path in paths if is_manifest(path) and not path.lower().endswith(".txt")]:
        more = f"; there are {len(tables)} tables" if len(tables) > 1 else ""
        said += f" A table of images is read with --input, such as --input {shlex.quote(tables[0])}{more}."
    return said


def labels(reading: Reading) -> set[str]:
    """Returns the classes or labels that the input has, without reading an image.

    It lists a whole input whose classes are not known yet, and one with --corrections or --label-lists, which may give
    a class that has no folder.
    """
    if reading.images and not (reading.spec.corrections or reading.spec.label_lists):
        return set(reading.images)
    kind = KINDS[reading.spec.table.task]
    return {
        label
        for item in list_sources(reading.spec)
        if isinstance(item, Source) and not kind.is_unknown(item.label)
        for label in kind.labels(item.label)
    }


def has_groups(spec: InputSpec) -> bool:
    """Tells whether the input can hold groups: a manifest or --group-from names them."""
    return record_files.is_table(spec.path) or bool(spec.group_from)


def _grouped(source: Source, pattern: str) -> Source:
    """Returns a source with the group that --group-from finds in its path.

    A group that a manifest states stays.

    Raises:
      ConfigError: The pattern finds nothing: an image without a group could be in another split than its group.
    """
    if source.group:
        return source
    found = re.search(pattern, source.key)
    group = "" if found is None else found["group" if "group" in found.re.groupindex else 1 if found.re.groups else 0]
    if not group:
        raise ConfigError(
            f"--group-from {pattern!r} finds no group in the path {source.key!r}. Each image needs one: add an "
            "alternative to the pattern, or leave such images out with --exclude."
        )
    return source._replace(group=group)
