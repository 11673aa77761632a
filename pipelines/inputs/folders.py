"""Lists folders and globs, where the label is the name of a folder."""

from __future__ import annotations

import collections
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pipelines import storage
from pipelines.core.elements import UNLABELLED, Source
from pipelines.core.errors import SourceError
from pipelines.core.summary import Rejected
from pipelines.core.text import listed
from pipelines.inputs import containers, label_lists, path_patterns, remote_files, unlabelled, walk
from pipelines.inputs.containers import Entry
from pipelines.inputs.label_lists import LabelLists
from pipelines.inputs.layouts import find_layout, folder_tree, other_files
from pipelines.inputs.layouts.folder_tree import Folder
from pipelines.inputs.layouts.layout import LABEL_RULES, Layout, Place
from pipelines.inputs.layouts.split_names import SPLIT_PATTERN
from pipelines.inputs.rules import InputSpec, reject
from pipelines.inputs.walk import Problem

NAMED = 10  # classes that an error names


def list_folder(spec: InputSpec) -> Iterator[Source | Rejected]:
    """Yields everything in the input folder or container, read as `spec.read_as` says.

    If that is None, it is found out first.

    Raises:
      SourceError: As `walk.walk`.
      LayoutError: As `find_layout.find`.
    """
    layout = spec.read_as
    if layout is None:
        entries: Iterable[Entry] = list(_entries(spec))  # a store is listed once
        tree = _tree(entries)
        unlabelled.detach(tree, spec)
        label_lists.detach(tree, spec)
        layout = find_layout.find(tree, spec)
    else:
        entries = _entries(spec)
    lists = LabelLists(spec.label_lists)
    for key, uri, problem in entries:
        item = _read_key(key, uri, problem, _Places(layout, lists), spec)
        if item is not None:
            yield item
    yield from lists.missing()


class _Places(NamedTuple):
    """Says where paths of an input belong: by their folders, or by lists of labels."""

    layout: Layout
    lists: LabelLists

    def place(self, key: str) -> Place:
        return self.lists.place(key) or self.layout.place(key)


def survey(spec: InputSpec) -> tuple[Folder, Layout, tuple[str, ...]]:
    """Returns the tree of an input folder or container, and how it is read.

    The third are sentences about the folders that are not in the tree: those of the images without a label, and those
    whose labels are in lists.

    Raises:
      SourceError: As `walk.walk`.
      LayoutError: As `find_layout.find`, `unlabelled.detach` and `label_lists.detach`.
    """
    tree = _tree(_entries(spec))
    if storage.is_remote(spec.path):
        remote_files.refuse_folder(tree, spec.path)
    told = (*unlabelled.told(unlabelled.detach(tree, spec)), *label_lists.told(label_lists.detach(tree, spec), spec))
    return tree, find_layout.find(tree, spec), told


def images_of_classes(tree: Folder, layout: Layout) -> dict[str, int]:
    """Returns class -> number of files that may be its images.

    The result is empty if the names of the files are part of the labels.
    """
    images: collections.Counter[str] = collections.Counter()
    if layout.label_from in LABEL_RULES:
        for folder in tree.tree():
            label = layout.place(f"{folder.path}/file".lstrip("/")).label
            if label and folder.images:
                images[label] += folder.images
    return dict(images)


def lost_classes(tree: Folder, layout: Layout) -> dict[str, str]:
    """Returns the classes that have no image in any split, and why.

    Such a folder is empty or cannot be entered. Folders that hold other files alone are taken for no class.
    """
    if layout.label_from != "top":
        return {}
    whole: set[str] = set()
    lost: dict[str, str] = {}
    for path, _ in layout.splits:
        level = tree
        for name in path.split("/") if path else ():
            level = level.folders.get(name, Folder())
        for name, folder in level.folders.items():
            if folder.total:
                whole.add(name)
            elif folder.problem is not None:
                lost[name] = folder.problem.sentence.rstrip(".")
            elif folder.is_empty:
                lost[name] = "The folder is empty"
    return {name: why for name, why in sorted(lost.items()) if name not in whole}


def lost_error(lost: Mapping[str, str], where: str) -> SourceError:
    """Returns the error that names classes without any image, and why."""
    named = listed((f"{name!r} ({why})" for name, why in lost.items()), NAMED)
    return SourceError(
        f"These class folders of {where!r} would give no image, so their classes would be missing: {named}. Mend or "
        "remove them, or permit it with --allow-lost-classes."
    )


def _root(spec: InputSpec) -> str:
    return spec.path.rstrip("/") or "/"


def _tree(entries: Iterable[Entry]) -> Folder:
    """Builds the tree of folders; members that would leave a container are not in it."""
    return folder_tree.build(
        (entry.key, entry.problem) for entry in entries if not containers.leaves(entry.uri, entry.problem)
    )


def _entries(spec: InputSpec) -> Iterator[Entry]:
    """Yields every file that --include and --exclude leave.

    The key of each is its path below the input.
    """
    root = _root(spec)
    found: Iterable[Entry]
    if containers.is_container(root):
        found = containers.entries(root)
    elif storage.is_remote(root):  # listed once: a million objects take a thousand requests
        found = (Entry(key, storage.join(root, key), None) for key in _list_remote(root))
    else:
        below = walk.walk(root, spec.allow_outside, lambda key: not _is_excluded(spec, key), empty_folders=True)
        found = (Entry(key, storage.join(root, key), problem) for key, problem in below)
    for entry in found:
        if _is_excluded(spec, entry.key):
            continue
        if spec.include and not path_patterns.selects(spec.include, entry.key.split("/")):
            continue
        yield entry


def _is_excluded(spec: InputSpec, key: str) -> bool:
    return bool(spec.exclude) and path_patterns.selects(spec.exclude, key.split("/"))


def _read_key(
    key: str, uri: str, problem: Problem | None, places: _Places, spec: InputSpec
) -> Source | Rejected | None:
    """Returns the source or the reject that a path is.

    None: it is an empty folder and no class.
    """
    parts = key.split("/")
    has_no_label = unlabelled.is_below(key, spec.unlabelled)
    place = Place(UNLABELLED, "") if has_no_label else places.place(key)
    if problem is not None and problem.folder:
        inside = places.place(f"{key}/file")
        if problem.reason == walk.EMPTY and (place.label or not inside.label or inside.aside):
            return None
        place = inside
    split, label = place.split, place.label
    if containers.leaves(uri, problem):
        return reject(uri, containers.OUTSIDE, problem.sentence if problem else "")
    if any(part.startswith(".") for part in parts):
        return reject(uri, "hidden", "The name starts with a dot.", label)
    if folder_tree.is_left_out(parts) or other_files.is_system_file(parts[-1]):
        return reject(uri, "system-file", "The system or a program made it; it is no image of the input.")
    if place.aside:
        return reject(uri, "left-aside", place.why)
    if problem is not None:
        return reject(uri, problem.reason, problem.sentence, label)
    if other_files.holds_no_picture(parts[-1]):
        return reject(uri, "other-file", "Its ending says that it is no image.")
    if has_no_label:
        return unlabelled.source(key, uri, spec)
    if not label:
        return reject(uri, "no-label", place.why)
    if split and not re.fullmatch(SPLIT_PATTERN, split):
        return reject(uri, "bad-split", f"A split's name should be letters, digits and _. Received: {split!r}", label)
    return Source(key, uri, label, split, "", 1.0)


def _list_remote(folder: str, beginning: str = "") -> list[str]:
    try:
        return storage.files_below(folder, beginning)
    except OSError as e:
        raise SourceError(f"The input cannot be listed: {e}") from e


def list_glob(pattern: str, allow_outside: bool) -> Iterator[Source | Rejected]:
    """Yields the files that a glob matches.

    *, ? and [...] match within a name, and ** matches any folders. The label is the name of the file's folder. Beam's
    own matching is not used, because it omits names with a backslash and does not recognize links and FIFOs.

    Raises:
      SourceError: The glob matches no file, or as `walk.walk`.
    """
    fixed = path_patterns.base(pattern)
    if storage.is_remote(pattern):
        rest = pattern[len(fixed) + 1 :]
        names = rest.split("/")
        keys = _list_remote(fixed, re.split(r"[*?[]", rest, maxsplit=1)[0])
        found: Iterable[tuple[str, Problem | None]] = (
            (key, None) for key in keys if path_patterns.matches(names, key.split("/"))
        )
    else:
        fixed = fixed or ("/" if pattern.startswith("/") else "")
        names = pattern[len(fixed) :].lstrip("/").split("/")
        everything = walk.walk(
            fixed or ".", allow_outside, lambda key: path_patterns.matches(names, key.split("/"), True)
        )
        found = ((key, problem) for key, problem in everything if path_patterns.matches(names, key.split("/")))
    empty = True
    for key, problem in found:
        empty = False
        uri = storage.join(fixed, key)
        label = posixpath.basename(posixpath.dirname(uri))
        if any(part.startswith(".") for part in key.split("/")):
            yield reject(uri, "hidden", "The name starts with a dot.", label)
        elif problem is not None:
            yield reject(uri, problem.reason, problem.sentence, label)
        elif not label:
            yield reject(uri, "no-label", "A glob takes the label from the file's folder; there is none.")
        else:
            yield Source(key, uri, label, "", "", 1.0)
    if empty:
        raise SourceError(f"--input {pattern!r} matches no file.")
