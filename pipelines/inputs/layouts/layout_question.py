"""Formats the questions about an input folder that is not plain to read."""

from __future__ import annotations

import fnmatch
import posixpath
import re
import shlex
from collections.abc import Iterable, Sequence

from pipelines.core.errors import LayoutError
from pipelines.core.text import listed, plural
from pipelines.inputs.layouts import label_pattern
from pipelines.inputs.layouts.folder_tree import MOST_UNREAD, UNREAD_ENDINGS, Folder
from pipelines.inputs.layouts.split_names import SPLIT_NAMES, split_in, split_of

NAMED = 5  # folders that a sentence names
TABLE = "give a table with the columns path and label as --input"
AS_CLASSES = "read these folders as classes with --layout class"


def ask(path: str, what: str, choices: Sequence[str], tree: Folder | None = None) -> LayoutError:
    """Returns the error that asks how to read an input.

    Args:
      path: the input.
      what: a sentence that says why it is not plain.
      choices: what the user may do, each with its option.
      tree: the whole input, whose tables are named.
    """
    ways = " ".join(f"({'abcdefgh'[i]}) {choice};" for i, choice in enumerate(choices))
    tables = [] if tree is None else [posixpath.join(f.path, name) for f in tree.tree() for name in f.tables]
    hint = f" Tables that are there: {listed(tables, 3)}." if tables else ""
    if tree is not None and not tables and tree.split_lists:
        hint = f" Lists that are there: {listed(tree.split_lists, 4)}."
        hint += _how_to_read(path, tree.split_lists)
    if pattern := _pattern_of(tables):
        hint += f" Several are read as one by a pattern: --input {shlex.quote(posixpath.join(path, pattern))}."
    if tree is not None and tree.unread and sum(tree.others[ending] for ending in UNREAD_ENDINGS) <= MOST_UNREAD:
        hint += (
            f" Files that may hold the labels and are not read: {listed(tree.unread, 3)}. Write the paths and labels "
            "as CSV, a .mat for example with scipy.io.loadmat in Python."
        )
    return LayoutError(f"How to read {path!r} is not plain. {what} Choose: {ways[:-1]}.{hint}")


def _how_to_read(path: str, lists: Sequence[str]) -> str:
    """Returns how lists of the images of each split are read as a table.

    Their lines may have labels. It is "" if their names show no pattern.
    """
    found = pattern_of_lists(lists)
    if not found:
        return ""
    return (
        f" If a line is the path of an image and its label: --input {shlex.quote(posixpath.join(path, found))} "
        "--no-heading, with --image-root FOLDER where the paths begin elsewhere."
    )


def pattern_of_lists(lists: Sequence[str]) -> str:
    """Returns the pattern of several files whose names differ in the split, or "".

    Example:
      >>> pattern_of_lists(["meta/test.csv", "meta/train.csv"])
      'meta/*.csv'
    """
    first = lists[0]
    stem = posixpath.basename(first)
    for split in sorted(SPLIT_NAMES, key=len, reverse=True):  # validation before valid
        pattern = re.sub(rf"(?<![a-z]){split}(?![a-z])", "*", stem, flags=re.IGNORECASE)
        found = posixpath.join(posixpath.dirname(first), pattern)
        if pattern != stem and sum(fnmatch.fnmatchcase(other, found) for other in lists) > 1:
            return found
    return ""


def _pattern_of(tables: Iterable[str]) -> str:
    """Returns the pattern of equally named tables in several folders, or "".

    Example:
      >>> _pattern_of(["train/_classes.csv", "valid/_classes.csv", "all.csv"])
      '*/_classes.csv'
    """
    places: dict[tuple[str, str], int] = {}
    for table in tables:
        folder, name = posixpath.split(table)
        if folder:
            place = posixpath.join(posixpath.dirname(folder), "*")
            places[place, name] = places.get((place, name), 0) + 1
    return next((posixpath.join(*place) for place, count in places.items() if count > 1), "")


def told(folder: Folder) -> str:
    """Returns a folder's path with the number of its images."""
    return f"{folder.path or 'the input'} ({plural(folder.total, 'image')})"


def names_of(folders: Iterable[Folder]) -> str:
    """Returns the names of the first of these folders."""
    return listed((folder.name for folder in folders), NAMED)


def below(path: str, folder: Folder) -> str:
    """Returns the option that takes a folder below the input as the input."""
    return f"--input {shlex.quote(posixpath.join(path, folder.path).rstrip('/'))}"


def exclude(folders: Sequence[Folder]) -> str:
    """Returns the option that leaves folders out."""
    named = ",".join(escaped(folder.path) for folder in folders)
    return f"--exclude {shlex.quote(named)}"


def quoted(folder: Folder) -> str:
    """Returns the path of a folder as a list of names holds it, for a shell."""
    return shlex.quote(escaped(folder.path))


def leave_out(folders: Sequence[Folder]) -> str:
    return f"leave {listed((folder.path for folder in folders), NAMED)} out with {exclude(folders)}"


def split_names(splits: Iterable[tuple[str, str]]) -> str:
    """Returns the option that names the folder of each split."""
    named = ",".join(f"{escaped(folder)}={split}" for folder, split in splits)
    return f"--split-names {shlex.quote(named)}"


def label_list(folder: Folder, split: str, root: Folder) -> str:
    """Returns the choice to take the labels of a folder from a list.

    The list is a table beside it or above it, if there is one.

    Args:
      folder: the folder of a split. split: its split.
      root: the tree of the input.
    """
    tables = [(f.path, name) for f in root.tree() for name in f.tables if not f.path or _is_in(folder.path, f.path)]
    file = "FILE"
    if tables:
        near, name = max(tables, key=lambda table: (split_in(table[1].rpartition(".")[0]) == split, len(table[0])))
        file = escaped(posixpath.join(near, name))
    named = shlex.quote(f"{escaped(folder.path)}={file}")
    return f"take its labels from a table of names and labels with --label-lists {named}"


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def from_names(path: str, flat: Sequence[Folder], entered: bool) -> list[str]:
    """Returns the choice to take the labels from the names of the files.

    Args:
      path: the input.
      flat: folders that hold images directly.
      entered: whether the option --input is needed as well, for one of the folders.
    """
    folder = next((f for f in flat if split_of(f.name) == "train"), flat[0])
    found = label_pattern.propose(folder.names)
    if found is None:
        numbered = bool(folder.names) and bool(re.match(r"\d+_", folder.names[0]))
        example = r"'(\d+)_[^/]*$'" if numbered else "'([a-z]+)[^/]*$'"
        return [
            "take the labels from the paths, if they hold them, with --label-from and a regular expression such as "
            f"{example}"
        ]
    pattern, labels = found
    option = f"{below(path, folder)} " if entered else ""
    return [
        f"take the labels from the names of the files with {option}--label-from {shlex.quote(pattern)}, which finds "
        f"{listed(labels, NAMED)}"
    ]


def escaped(path: str) -> str:
    """Returns a path as a list of names holds it; see --exclude."""
    return path.replace(",", "\\,")
