"""Finds the tables of an input that is a pattern, such as photos/*/_classes.csv.

Each table states the images of its own folder, and its name or that of its folder may tell the split.
"""

from __future__ import annotations

import glob
import os
import posixpath
from collections.abc import Sequence
from typing import NamedTuple

from pipelines import storage
from pipelines.core.errors import SourceError, TableError
from pipelines.core.text import listed, plural, utf8_text
from pipelines.inputs import path_patterns
from pipelines.inputs.layouts import split_names
from pipelines.inputs.tables.formats.table_file import Table


class Place(NamedTuple):
    """Says where one of several tables lies.

    Attributes:
      path: Its path.
      below: Its path below the folder where the pattern begins.
      split: The split that its name or the name of its folder tells, or "".
    """

    path: str
    below: str
    split: str

    @property
    def folder(self) -> str:
        """Returns the table's folder below the one where the pattern begins."""
        return posixpath.dirname(self.below)


def is_pattern(path: str) -> bool:
    """Tells whether the path of a table is a pattern of several."""
    return any(c in path for c in "*?[") and not storage.is_remote(path) and not os.path.isfile(path)


def find(path: str) -> list[Place]:
    """Returns the tables that a pattern finds, by path.

    Raises:
      SourceError: it finds none.

    Example:
      >>> find("none/*/_classes.csv")
      Traceback (most recent call last):
      ...
      pipelines.core.errors.SourceError: There is no table of the pattern 'none/*/_classes.csv'.
    """
    files = sorted(name for name in glob.glob(path, recursive=True) if os.path.isfile(name))
    if not files:
        raise SourceError(f"There is no table of the pattern {utf8_text(path)!r}.")
    base = path_patterns.base(path)
    below = {name: posixpath.relpath(name, base or ".") for name in files}
    splits = split_names.splits_of_files(below)
    return [Place(name, below[name], splits.get(name, "")) for name in files]


def check_alike(tables: Sequence[Table], places: Sequence[Place]) -> None:
    """Raises TableError if the tables have not the same columns."""
    first = set(tables[0].columns)
    for table, place in zip(tables[1:], places[1:], strict=True):
        if other := sorted(first ^ set(table.columns)):
            raise TableError(
                f"The tables {places[0].path!r} and {place.path!r} should have the same columns, because they are read "
                f"as one. Only one of them has {listed(map(repr, other), 5)}. Prepare them one by one, or mend them."
            )


def describe(path: str, table: Table, places: Sequence[Place], takes_splits: bool) -> str:
    """Returns the beginning of the sentence that says how the tables are read."""
    of_splits = ", ".join(f"{place.below!r} as {place.split}" for place in places) if takes_splits else ""
    said = f"Reads {plural(len(places), 'table')} of {utf8_text(path)!r} as {table.form}"
    return f"{said}, {of_splits}" if of_splits else said
