"""Says in sentences how an input folder is read, before any image is read."""

from __future__ import annotations

import collections
import shlex
from collections.abc import Iterator

from pipelines import storage
from pipelines.core.elements import TRAIN_SPLIT
from pipelines.core.text import listed, plural, utf8_text
from pipelines.inputs import containers
from pipelines.inputs.layouts import layout_question
from pipelines.inputs.layouts.folder_tree import Folder
from pipelines.inputs.layouts.layout import LABEL_RULES, Layout
from pipelines.inputs.layouts.split_names import split_of
from pipelines.inputs.rules import remedy_for_file
from pipelines.inputs.tables import id_lists

NAMED = 8  # names in a sentence
_LISTS_OF_CLASSES = ("classes.txt", "labels.txt", "label.labels.txt")  # they name no image
_RULES = {
    "top": "class/file",
    "leaf": "the folder that holds an image is its class",
    "parent": "the folder above the one that holds an image is its class",
    "path": "all folders of the path are the class",
}


def describe(tree: Folder, layout: Layout, path: str, has_lists: bool = False) -> tuple[str, ...]:
    """Returns the sentences.

    Example:
      >>> from pipelines.inputs.layouts import folder_tree
      >>> tree = folder_tree.build((f"photos/{name}/1.jpg", None) for name in ("cat", "dog"))
      >>> describe(tree, Layout((("photos", ""),)), "in")
      ("Reads 'in' as class/file below 'photos': 2 images of 2 classes.",)

    Args:
      tree: the folders of the input.
      layout: how they are read.
      path: the input as the user named it.
      has_lists: whether lists state the splits of the images.
    """
    images: collections.Counter[str] = collections.Counter()  # folder of a split -> images
    by_split: dict[str, set[str]] = {}
    unlabelled = 0
    deep: list[str] = []
    for folder in tree.tree():
        if not folder.images:
            continue
        place = layout.place(f"{folder.path}/file".lstrip("/"))
        if place.aside:
            continue
        if layout.label_from in LABEL_RULES and not place.label:
            unlabelled += folder.images
            continue
        by_split.setdefault(place.split, set()).add(place.label)
        below = next((top for top, _ in layout.splits if not top or f"{folder.path}/".startswith(f"{top}/")), "")
        images[below] += folder.images
        if layout.label_from == "top" and "/" in folder.path[len(below) :].strip("/"):
            deep.append(utf8_text(folder.path))
    labels = set().union(*by_split.values())
    lines = [_first(layout, path, images, labels)]
    if len(labels) == 1 and layout.label_from in LABEL_RULES:
        lines.append(f"There is only one class, {next(iter(labels))!r}: no classifier can be trained on it.")
    if deep:
        lines.append(f"Folders below a class folder are read as part of the class: {listed(deep, 3)}.")
    if len(by_split) > 1 and layout.label_from in LABEL_RULES:
        lines += _unlike(by_split)
    named = sorted(label for label in labels if split_of(label))
    if named and layout.label_from != "path":
        lines.append(
            f"Note that the class {listed(map(repr, named), NAMED)} is called like a split. If it is one, name the "
            "folders of the splits with --split-names."
        )
    if unlabelled:
        lines.append(f"{plural(unlabelled, 'image')} in no class folder: not used, because there is no label.")
    folders = {folder.path: folder for folder in tree.tree()}
    for name, why in layout.aside:
        lines.append(f"Leaves aside {utf8_text(name)!r} ({plural(folders[name].total, 'image')}). {why}")
    lines += _not_read(tree, path, has_lists, draws_splits=set(by_split) == {""})
    if tree.others:
        kinds = (f"{count} {ending or 'without ending'}" for ending, count in tree.others.most_common())
        lines.append(f"Files whose endings are not those of images: {listed(kinds, NAMED)}.")
    return tuple(lines)


def _not_read(tree: Folder, path: str, has_lists: bool, draws_splits: bool) -> Iterator[str]:
    """Yields what is said of lists and tables beside the images.

    It is one kind, the likeliest to be meant.

    Args:
      has_lists: whether lists state the splits of the images. draws_splits: whether no folder states them.
    """
    is_packed = path.lower().endswith(containers.SUFFIXES)  # a table in a container is not read
    tables = [(folder, name) for folder in tree.tree() for name in folder.tables]
    of_ids = [folder.path for folder, name in tables if name == id_lists.LABELS]
    if of_ids and not (has_lists or is_packed):
        yield (
            f"Not read: {id_lists.LABELS} and the lists beside it, which state the classes and perhaps the splits by "
            f"ids of the images. Read them with --input {shlex.quote(_below(path, of_ids[0], id_lists.PATHS))}."
        )
    elif tree.split_lists and draws_splits and not has_lists:
        yield (
            "Splits are drawn. Not read, although the names speak of splits: "
            f"{listed((repr(utf8_text(name)) for name in tree.split_lists), 4)}. If they are "
            f"lists of paths: --split-lists train=FILE,test=FILE. {_tables_of_splits(path, tree, is_packed)}"
        )
    elif not is_packed and (
        found := [_below("", folder.path, name) for folder, name in tables if name.lower() not in _LISTS_OF_CLASSES]
    ):
        readable = [name for name in found if not remedy_for_file(name)]
        how = (
            "A table that states the labels of these images is read with --input, such as "
            f"{shlex.quote(_below(path, readable[0]))}."
            if readable
            else remedy_for_file(found[0])
        )
        yield f"Not read: {listed((repr(utf8_text(name)) for name in found), 3)}. {how}"


def _tables_of_splits(path: str, tree: Folder, is_packed: bool) -> str:
    """Returns what is said of files that speak of splits and may be tables.

    Args:
      is_packed: whether they are in a container.
    """
    tables = [name for name in tree.split_lists if name.lower().endswith((".csv", ".tsv", ".jsonl"))]
    pattern = layout_question.pattern_of_lists(tables) if tables and not is_packed else ""
    if pattern:
        return f"If they are tables of paths and labels: --input {shlex.quote(_below(path, pattern))}."
    return "Else give a table with the columns path, label and split."


def _below(*parts: str) -> str:
    """Returns a path of those parts that are not empty."""
    return storage.join(*filter(None, parts))


def _unlike(by_split: dict[str, set[str]]) -> list[str]:
    """Returns a sentence for each split whose classes are others than those of train."""
    train = by_split.get(TRAIN_SPLIT, set())
    lines = []
    for split, labels in by_split.items():
        more, fewer = sorted(labels - train), sorted(train - labels)
        if split != TRAIN_SPLIT and more:
            lacks = f", and lacks {listed(map(repr, fewer), NAMED)}" if fewer else ""
            lines.append(f"{split} has classes that train lacks: {listed(map(repr, more), NAMED)}{lacks}.")
        elif split != TRAIN_SPLIT and fewer:
            lines.append(f"{split} lacks classes that train has: {listed(map(repr, fewer), NAMED)}.")
    return lines


def _first(layout: Layout, path: str, images: collections.Counter[str], labels: set[str]) -> str:
    total = plural(images.total(), "image")
    classes = f" of {plural(len(labels), 'class', 'classes')}" if layout.label_from in LABEL_RULES else ""
    rule = _RULES.get(layout.label_from, f"the label is what {layout.label_from!r} finds in the path")
    [(top, split), *more] = layout.splits
    if not more and not split:
        below = f" below {utf8_text(top)!r}" if top else ""
        between = " as " if layout.label_from == "top" else ": "
        return f"Reads {utf8_text(path)!r}{between}{rule}{below}: {total}{classes}."
    splits = (f"{split} is {utf8_text(top)!r} ({plural(images[top], 'image')})" for top, split in layout.splits)
    rule = "split/class/file" if layout.label_from == "top" else f"splits; {rule}"
    return f"Reads {utf8_text(path)!r} as {rule}: {listed(splits, NAMED)}; {total}{classes}."
