"""Reads lists of the labels of images that are in no class folders.

Data sets are published so that train has class folders, and the labels of validation are in a list: Tiny ImageNet's
`val_annotations.txt`, or `LOC_val_solution.csv` of ImageNet. A list is a table of names and labels. Boxes behind a
label are left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pipelines.core.errors import LayoutError, SourceError, TableError
from pipelines.core.summary import Rejected
from pipelines.core.text import cut, listed, plural, utf8_text
from pipelines.inputs.layouts.folder_tree import Folder, detached
from pipelines.inputs.layouts.layout import Place
from pipelines.inputs.layouts.split_names import split_in
from pipelines.inputs.rules import InputSpec, TableSpec, reject
from pipelines.inputs.split_lists import plain_name
from pipelines.inputs.tables import table_columns
from pipelines.inputs.tables.formats import table_file
from pipelines.inputs.tables.formats.table_file import Table

MOST_TOLD = 200  # characters of a name
NAMED = 8  # folders that an error names
# One object or more, each with its label and the four numbers of its box.
_BOXES = re.compile(r"(\S+)( -?\d+(\.\d+)?){4}( \1( -?\d+(\.\d+)?){4})*")


class _Line(NamedTuple):
    name: str
    label: str


class LabelLists:
    """Finds the label of an image in lists.

    Args:
      lists: (folder below the input, file) pairs.

    Raises:
      SourceError: A list cannot be read, or has no line.
    """

    def __init__(self, lists: Sequence[tuple[str, str]]) -> None:
        self._lists = [(plain_folder(folder), file, _read(file)) for folder, file in lists]
        self._named: list[dict[str, list[int]]] = []  # of each list: name -> numbers of lines
        for _, file, lines in self._lists:
            if not lines:
                raise SourceError(f"The list {file!r} of --label-lists has no line.")
            named: dict[str, list[int]] = {}
            for number, line in enumerate(lines):
                named.setdefault(plain_name(line.name), []).append(number)
            self._named.append(named)
        self._found: list[set[int]] = [set() for _ in self._lists]

    def place(self, key: str) -> Place | None:
        """Returns what the list of a path's folder says of an image.

        None: no list is about its folder.
        """
        for number, (folder, file, lines) in enumerate(self._lists):
            if folder and not key.startswith(f"{folder}/"):
                continue
            parts = plain_name(key).split("/")
            named = self._named[number]
            numbers = next((n for i in range(len(parts)) if (n := named.get("/".join(parts[i:])))), [])
            self._found[number].update(numbers)
            labels = sorted({lines[n].label for n in numbers})
            if len(labels) == 1:
                return Place(split_in(folder), labels[0])
            has = f"has the labels {listed(map(repr, labels), 3)} for it" if labels else "does not name it"
            return Place(split_in(folder), "", f"The list {file!r} of --label-lists {has}.")
        return None

    def missing(self) -> Iterator[Rejected]:
        """Yields the lines that name none of the images that were asked for.

        A first line that names none is a heading.
        """
        for (folder, file, lines), found in zip(self._lists, self._found, strict=True):
            for number, line in enumerate(lines):
                if number and number not in found:
                    detail = (
                        f"The list {file!r} of --label-lists names it, and {folder or 'the input'!r} has no such image."
                    )
                    yield reject(cut(line.name, MOST_TOLD), "missing", detail, line.label)


def detach(tree: Folder, spec: InputSpec) -> list[Folder]:
    """Takes the folders whose labels are in lists out of a tree.

    Returns:
      The folders.

    Raises:
      LayoutError: There is no such folder with images.
    """
    taken = []
    for named, _ in spec.label_lists:
        folder = detached(tree, plain_folder(named))
        if folder is None:
            have = listed((repr(f.path) for f in tree.tree() if f.path and f.images), NAMED) or "none"
            raise LayoutError(
                f"--label-lists names {named!r}, and there is no such folder with images below {spec.path!r}. Write "
                f"its path below the input. The folders with images are: {have}."
            )
        taken.append(folder)
    files = {os.path.abspath(file) for _, file in spec.label_lists}
    for folder in tree.tree():  # of a list that is read nobody has to be told that it is there
        place = os.path.join(spec.path, folder.path)
        folder.tables[:] = [name for name in folder.tables if os.path.abspath(os.path.join(place, name)) not in files]
    return taken


def told(folders: Sequence[Folder], spec: InputSpec) -> Iterator[str]:
    """Yields a sentence about each folder that was taken out."""
    for folder, (_, file) in zip(folders, spec.label_lists, strict=True):
        split = split_in(folder.path)
        yield (
            f"Takes the labels of {utf8_text(folder.path) or 'the input'!r} ({plural(folder.total, 'image')}"
            f"{f', {split}' if split else ''}) from {utf8_text(file)!r}."
        )


def plain_folder(folder: str) -> str:
    """Returns the path of a folder below the input without slashes around it.

    That of the input itself is "".
    """
    return folder.strip("/").removeprefix("./").removesuffix(".").rstrip("/")


def _read(file: str) -> list[_Line]:
    data = table_file.load(file)
    table, name, label = _columns(file, lambda spec: table_file.parse(file, data, spec, table_columns.KNOWN))
    lines = []
    for row in table.rows((name, label)):
        if row.why:
            raise TableError(f"Row {row.number} of {file!r}, a list of --label-lists, {row.why}.")
        cells = ["" if cell is None else str(cell).strip() for cell in row.cells]
        boxes = _BOXES.fullmatch(cells[1])
        if cells[0] and cells[1]:
            lines.append(_Line(cells[0], boxes[1] if boxes else cells[1]))
    return lines


def _columns(file: str, parsed: Callable[[TableSpec], Table]) -> tuple[Table, int, int]:
    """Returns a list, and the columns of its names and labels.

    These are the columns with plain headings, or else the first two.
    """
    try:
        table = parsed(TableSpec())
        found = table_columns.find(table, TableSpec(), file, lambda names: "")
        return table, found["path"], found["label"]
    except TableError:
        table = parsed(TableSpec(heading=False))
    if len(table.columns) < 2:
        raise TableError(
            f"The list {file!r} of --label-lists should have the name of an image and its label in each line. It has "
            "one column."
        )
    return table, 0, 1
