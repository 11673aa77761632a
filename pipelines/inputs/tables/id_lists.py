"""Reads lists that are joined by ids, as CUB-200-2011 and NABirds have them.

Each is a text file without a heading, whose lines have an id, a blank and a value: images.txt the paths,
image_class_labels.txt the ids of the classes, classes.txt their names, and train_test_split.txt 1 for train and 0 for
test.
"""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Iterator, Mapping, Sequence

from pipelines import storage
from pipelines.core.errors import SourceError, TableError
from pipelines.core.text import cut
from pipelines.inputs.rules import TableSpec
from pipelines.inputs.tables.formats import table_file, text_encoding
from pipelines.inputs.tables.formats.table_file import Row, Table

PATHS, LABELS, NAMES, SPLITS = "images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt"
COLUMNS = ("id", "path", "label", "split")
_SPLIT_OF = {"1": "train", "0": "test"}


def is_set(path: str, spec: TableSpec) -> bool:
    """Tells whether a table is the first of such lists.

    It is not, if options say how its own columns are read.
    """
    if posixpath.basename(path) != PATHS or not spec.heading or spec.join:
        return False
    return storage.exists(_beside(path, LABELS))


def image_folder(path: str) -> str:
    """Returns the folder in which the paths begin.

    It is the folder images beside the lists, or else their own.
    """
    folder = _beside(path, "images")
    return posixpath.dirname(path) if storage.is_empty(folder) else folder


def table(path: str, spec: TableSpec) -> tuple[Table, int]:
    """Opens the lists as one table.

    Args:
      path: The list of the paths.

    Returns:
      The table, and the number of bytes of the lists.

    Raises:
      SourceError: A list cannot be read.
      TableError: Two classes have one name, or a list has two values of one id.
    """
    used = [PATHS, LABELS, *(name for name in (NAMES, SPLITS) if storage.exists(_beside(path, name)))]
    data = {name: table_file.load(_beside(path, name)) for name in used}
    values = {name: _values(_beside(path, name), data[name], spec.encoding) for name in used if name != PATHS}
    _check_names(path, values)
    form = [f"a list of paths by ids, with {LABELS!r} as label"]
    form += [f"{NAMES!r} as the names of the classes"] if NAMES in used else []
    form += [f"{SPLITS!r} as split, where 1 is train and 0 is test"] if SPLITS in used else []
    columns = COLUMNS if SPLITS in used else COLUMNS[:-1]
    rows = functools.partial(_rows, path, data[PATHS], spec.encoding, values)
    return Table(", ".join(form), columns, rows), sum(map(len, data.values()))


def _beside(path: str, name: str) -> str:
    return storage.join(folder, name) if (folder := posixpath.dirname(path)) else name


def _lines(path: str, data: bytes, encoding: str) -> Iterator[tuple[int, str, str]]:
    """Yields the number, the id and the value of each line that is not empty."""
    try:
        text = data.decode(encoding or text_encoding.find(data, path))
    except UnicodeDecodeError as e:
        raise SourceError(f"The list {path!r} cannot be read: {e}.") from e
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            key, _, value = line.strip().partition(" ")
            yield number, key, value.strip()


def _values(path: str, data: bytes, encoding: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for number, key, value in _lines(path, data, encoding):
        if values.setdefault(key, value) != value:
            raise TableError(
                f"Line {number} of {path!r} has {cut(value, 80)!r} for the id {cut(key, 80)!r}, and an earlier line "
                f"has {cut(values[key], 80)!r}. Each id should have one value."
            )
    return values


def _check_names(path: str, values: Mapping[str, Mapping[str, str]]) -> None:
    """Refuses two classes of one name, which would become one."""
    names = values.get(NAMES, {})
    ids: dict[str, str] = {}
    for key in dict.fromkeys(values[LABELS].values()):
        name = names.get(key, key)
        if ids.setdefault(name, key) != key:
            raise TableError(
                f"{_beside(path, NAMES)!r} gives the classes {ids[name]!r} and {key!r} the name {cut(name, 80)!r}. "
                "Each class needs another name: mend it."
            )


def _rows(
    path: str, data: bytes, encoding: str, values: Mapping[str, Mapping[str, str]], indices: Sequence[int]
) -> Iterator[Row]:
    names, splits = values.get(NAMES), values.get(SPLITS)
    for number, key, image in _lines(path, data, encoding):
        why = ""
        label = values[LABELS].get(key, "")
        if not label:
            why = f"has the id {cut(key, 80)!r}, which has no class in {LABELS!r}"
        elif names is not None and label not in names:
            why = f"has the class {cut(label, 80)!r}, which has no name in {NAMES!r}"
        split = "" if splits is None else splits.get(key, "")
        if splits is not None and split not in _SPLIT_OF:
            why = why or f"should have 1 or 0 in {SPLITS!r}. Received: {cut(split, 80)!r}"
        cells = [key, image, label if names is None else names.get(label, ""), _SPLIT_OF.get(split, "")]
        yield Row(number, [cells[index] for index in indices], why)
