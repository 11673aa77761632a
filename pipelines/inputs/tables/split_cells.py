"""Finds columns of a table that state splits under another heading.

Such a heading is Usage, subset or "data set".
"""

from __future__ import annotations

import collections
import itertools
import re
import shlex
from collections.abc import Collection

from pipelines.core.elements import TRAIN_SPLIT
from pipelines.core.errors import TableError
from pipelines.core.text import listed, plural
from pipelines.inputs.layouts.split_names import split_in
from pipelines.inputs.tables.formats.table_file import Table

ROWS_SEEN = 200  # rows that show whether a column may state splits; of such a column all rows are read
LONGEST = 40  # characters of a split's name
_MARKS = re.compile(r"is[ _-]?(train|test|val|dev)\w*|(train|test|val|dev)\w*[ _-]?(mask|flag)", re.IGNORECASE)


def refuse(table: Table, read: Collection[int], path: str) -> None:
    """Refuses a table with a column of splits that is not read.

    All its cells that are not empty have names of splits, and train and another split are among them. Or it marks the
    rows of a split, such as is_train.

    Args:
      read: The columns that are read.
      path: The table's path, for the message.

    Raises:
      TableError: It has such a column.
    """
    for index, heading in enumerate(table.columns):
        if index in read or index in table.images:
            continue
        if _MARKS.fullmatch(heading.strip()) and (cells := _marks(table, index)):
            raise TableError(
                f"The column {heading!r} of {path!r} tells by {listed(cells, 3)} which rows are of a split. It is not "
                "read. Write a column of the names of splits, such as train and test, and give it with --split-column. "
                "Or draw new splits of all rows: --split-column none."
            )
        names = _names(table, index, ROWS_SEEN)
        if names and not table.images:
            names = _names(table, index, None)
        splits = {split_in(name) for name in names}
        if len(splits) > 1 and TRAIN_SPLIT in splits:
            said = listed((f"{name} ({plural(count, 'row')})" for name, count in sorted(names.items())), 6)
            column = shlex.quote(heading if heading.strip() and table.columns.count(heading) == 1 else str(index + 1))
            raise TableError(
                f"The column {heading!r} of {path!r} has names of splits: {said}. Take the splits from it: "
                f"--split-column {column}. Or draw new splits of all rows: --split-column none."
            )


def _marks(table: Table, index: int) -> list[str]:
    """Returns the distinct cells of a column of 0 and 1, or of true and false.

    It returns [] if its first rows have other cells, or one of the two only.
    """
    rows = itertools.islice(table.rows((index,)), ROWS_SEEN)
    cells = {"" if row.why or row.cells[0] is None else str(row.cells[0]).strip().lower() for row in rows} - {""}
    return sorted(cells) if cells in ({"0", "1"}, {"0.0", "1.0"}, {"false", "true"}) else []


def _names(table: Table, index: int, most: int | None) -> collections.Counter[str]:
    """Returns the names of splits in a column and how many rows have each.

    There are none if another cell is among its first rows.

    Args:
      most: How many rows are read; None reads all.
    """
    names: collections.Counter[str] = collections.Counter()
    for row in itertools.islice(table.rows((index,)), most):
        text = "" if row.why or row.cells[0] is None else str(row.cells[0]).strip()
        if not text:
            continue
        if len(text) > LONGEST or "/" in text or not split_in(text):
            return collections.Counter()
        names[text] += 1
    return names
