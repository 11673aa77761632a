"""Builds the tree of an input's folders, with the number of images in each."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence

from pipelines.inputs.layouts import other_files
from pipelines.inputs.walk import EMPTY, Problem

# Files beside images that often say which of them are for training and which for test.
_SPLIT_LIST = re.compile(
    r"(.*[^a-z])?(train|training|trainval|val|valid|validation|test|testing|splits?)([^a-z].*)?\.(txt|csv|tsv|jsonl?)",
    re.IGNORECASE,
)
MOST_LISTS = 6  # of which the names are kept
# Names of text files that may be tables of labels, such as list_attr_celeba.txt.
_TEXT_TABLE = re.compile(
    r"(.*[_-])?(attr|attributes?|labels?|annotations?|category|classes|targets?|tags)([_-].*)?\.txt", re.IGNORECASE
)
TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".xlsx")
UNREAD_ENDINGS = (".mat", ".json")
MOST_UNREAD = 10  # of more such files, each may belong to an image
SAMPLE = 32
MOST_TABLES = 3  # tables of one folder that a message may name


@dataclasses.dataclass(eq=False)
class Folder:
    """Describes one folder of an input.

    Attributes:
      name: its own name; "" for the input.
      path: its path relative to the input.
      images: number of files directly in it whose names do not show that they hold no picture.
      total: number of such files in it and below it.
      names: names of some of the files directly in it, evenly chosen; at most 2 * SAMPLE.
      others: ending -> number of files in it and below it that hold no picture; files of the system do not count.
      tables: the first names of files directly in it that may be tables of labels.
      split_lists: of the input only: the first paths in it that may be lists of the images of a split.
      unread: of the input only: the first paths in it of files of MATLAB, and of JSON, that may hold labels.
      folders: name -> folder directly in it; hidden and system folders are left out.
      problem: why it cannot be entered, or None.
    """

    name: str = ""
    path: str = ""
    images: int = 0
    total: int = 0
    names: list[str] = dataclasses.field(default_factory=list)
    others: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    tables: list[str] = dataclasses.field(default_factory=list)
    split_lists: list[str] = dataclasses.field(default_factory=list)
    unread: list[str] = dataclasses.field(default_factory=list)
    folders: dict[str, Folder] = dataclasses.field(default_factory=dict)
    problem: Problem | None = None

    @property
    def with_images(self) -> list[Folder]:
        """Returns the folders in it that hold images at any depth, by name."""
        return [folder for _, folder in sorted(self.folders.items()) if folder.total]

    @property
    def is_empty(self) -> bool:
        """Tells whether it holds nothing but files of the system, at any depth."""
        return not self.total and not self.others

    def add_image(self, name: str) -> None:
        """Adds an image directly in the folder, and keeps the names of some."""
        step = 1 << max(0, (self.images // SAMPLE).bit_length() - 1)  # 1, 2, 4, … as more come
        if self.images % step == 0:
            self.names.append(name)
            if len(self.names) > 2 * SAMPLE:
                del self.names[::2]
        self.images += 1

    def tree(self) -> Iterator[Folder]:
        """Yields the folder and all folders below it."""
        stack = [self]
        while stack:
            folder = stack.pop()
            yield folder
            stack += [below for _, below in sorted(folder.folders.items(), reverse=True)]


def build(found: Iterable[tuple[str, Problem | None]]) -> Folder:
    """Builds the tree of an input's folders.

    Args:
      found: (path relative to the input, problem) of every file, and of every folder that is empty or cannot be
        entered; see `walk.walk`.
    """
    root = Folder()
    ways: dict[str, list[Folder]] = {"": [root]}  # the files of a folder come together
    for key, problem in found:
        above, _, name = key.rpartition("/")
        parts = key.split("/")
        if is_left_out(parts):
            _path(root, itertools.takewhile(lambda part: not is_left_out([part]), parts[:-1]))
            continue
        if problem is not None and _is_of_a_folder(name, problem):
            _path(root, key.split("/"))[-1].problem = None if problem.reason == EMPTY else problem
            continue
        if above not in ways:
            ways[above] = _path(root, above.split("/"))
        way = ways[above]
        if other_files.is_system_file(name):
            continue
        if other_files.holds_no_picture(name):
            ending = os.path.splitext(name)[1].lower()
            for folder in way:
                folder.others[ending] += 1
            if len(root.split_lists) < MOST_LISTS and _SPLIT_LIST.fullmatch(name):
                root.split_lists.append(key)
            if ending in UNREAD_ENDINGS and len(root.unread) < MOST_LISTS:
                root.unread.append(key)
            if _may_be_table(name) and len(way[-1].tables) < MOST_TABLES:
                way[-1].tables.append(name)
            continue
        way[-1].add_image(name)
        for folder in way:
            folder.total += 1
    return root


def detached(tree: Folder, path: str) -> Folder | None:
    """Takes a folder out of a tree, and returns it without what is in it.

    Args:
      path: of the folder, below the input; "" is the input itself.

    Returns:
      None if there is no such folder with images.
    """
    way = [tree]
    for name in path.split("/") if path else ():
        if name not in way[-1].folders:
            return None
        way.append(way[-1].folders[name])
    folder = way[-1]
    if not folder.total:
        return None
    taken = Folder(folder.name, folder.path, folder.images, folder.total)
    for above in way[:-1]:
        above.total -= folder.total
        above.others -= folder.others
    for above, below in itertools.pairwise(reversed(way)):
        if above is folder or not (above.total or above.others or above.folders):
            del below.folders[above.name]
    if len(way) == 1:
        folder.images = folder.total = 0
        folder.folders, folder.names = {}, []
    return taken


def _is_of_a_folder(name: str, problem: Problem) -> bool:
    """Tells whether a problem is that of a folder, as far as one can tell.

    A link that leads nowhere and has no ending was a link to a folder, such as one on a disk that is not mounted.
    """
    return problem.folder or (problem.reason == "dangling-link" and not os.path.splitext(name)[1])


def _may_be_table(name: str) -> bool:
    """Tells whether a file may be a table of labels.

    One that shows how answers to a contest are sent in is none.
    """
    if "submission" in name.lower():
        return False
    return name.lower().endswith(TABLE_ENDINGS) or bool(_TEXT_TABLE.fullmatch(name))


def is_left_out(parts: Sequence[str]) -> bool:
    """Tells whether a path leads through a hidden folder or one of a system."""
    return any(part[:1] == "." or part in other_files.SYSTEM_FOLDERS for part in parts)


def _path(root: Folder, parts: Iterable[str]) -> list[Folder]:
    """Returns the folders from the root to the one with these names.

    Those that are missing are made.
    """
    way = [root]
    for part in parts:
        above = way[-1]
        if part not in above.folders:
            above.folders[part] = Folder(part, f"{above.path}/{part}".lstrip("/"))
        way.append(above.folders[part])
    return way
