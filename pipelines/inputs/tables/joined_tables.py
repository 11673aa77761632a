"""Joins other tables to a table, row by row, by an id that both have."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pipelines.core.errors import TableError
from pipelines.core.text import cut, listed
from pipelines.inputs.rules import TableSpec
from pipelines.inputs.tables import table_columns
from pipelines.inputs.tables.formats import table_file
from pipelines.inputs.tables.formats.table_file import Row, Table

_TOLD = 80  # characters of a cell that a sentence repeats
_NAMED = 8  # columns that a sentence names


class _Other(NamedTuple):
    """Holds a table that is joined.

    Attributes:
      path: Its path.
      key: The index of the column of the first table that has the ids.
      columns: Its headings, without that of the ids.
      rows: Id -> the other cells of its row.
    """

    path: str
    key: int
    columns: tuple[str, ...]
    rows: dict[str, tuple[Any, ...]]


def joined(table: Table, path: str, spec: TableSpec) -> Table:
    """Returns a table with the columns of those that --join names behind its own.

    The first column of such a table has the ids. The column of the same heading has them in the first table, or its
    first column where tables have no heading. A row whose id is not in a joined table is a bad row.

    Args:
      table: The first table. path: Its path.

    Raises:
      TableError: No column has these ids, or a joined table has two rows of one id that differ.
      SourceError: A table cannot be read.
    """
    if not spec.join:
        return table
    others = [_read(other, table, path, spec) for other in spec.join]
    columns = list(table.columns)
    for other in others:
        columns += other.columns
    if not spec.heading:
        columns = [str(number) for number in range(1, len(columns) + 1)]
    by = (f"{other.path!r} by {table.columns[other.key]!r}" for other in others)
    form = f"{table.form}, joined with {listed(by, _NAMED)}"
    return Table(form, tuple(columns), functools.partial(_rows, table, others))


def digest(paths: Sequence[str]) -> list[str]:
    """Returns the SHA-256 of each of these tables, in hex.

    Raises:
      SourceError: One cannot be read.
    """
    return [hashlib.sha256(table_file.load(path)).hexdigest() for path in paths]


def _read(path: str, table: Table, first: str, spec: TableSpec) -> _Other:
    opened = table_file.parse(path, table_file.load(path), spec, table_columns.KNOWN)
    if len(opened.columns) < 2:
        raise TableError(f"The table {path!r} of --join should have an id and other columns. It has one column.")
    key = 0
    if spec.heading:
        wanted = table_columns.plain(opened.columns[0])
        found = [i for i, name in enumerate(table.columns) if table_columns.plain(name) == wanted]
        if len(found) != 1:
            has = listed(map(repr, table.columns), _NAMED)
            raise TableError(
                f"The first column of {path!r}, {opened.columns[0]!r}, should have the ids that a column of the same "
                f"heading has in {first!r}. That has {has}. Put the column of the ids first and call it alike, or give "
                "--no-heading if the tables have none."
            )
        key = found[0]
    rows: dict[str, tuple[Any, ...]] = {}
    for row in opened.rows(range(len(opened.columns))):
        if row.why:
            raise TableError(f"Row {row.number} of {path!r}, a table of --join, {row.why}.")
        name, cells = _id(row.cells[0]), tuple(row.cells[1:])
        if rows.setdefault(name, cells) != cells:
            raise TableError(
                f"Row {row.number} of {path!r} and an earlier one have the id {cut(name, _TOLD)!r} and differ. A table "
                "of --join should have one row for each id."
            )
    return _Other(path, key, opened.columns[1:], rows)


def _rows(table: Table, others: Sequence[_Other], indices: Sequence[int]) -> Iterator[Row]:
    own = len(table.columns)
    keys = [other.key for other in others]
    asked = [index for index in indices if index < own]
    for row in table.rows((*asked, *keys)):
        if row.why:
            yield Row(row.number, [""] * len(indices), row.why)
            continue
        cells, why = dict(zip(asked, row.cells, strict=False)), ""
        at = own
        for other, cell in zip(others, row.cells[len(asked) :], strict=True):
            found = other.rows.get(_id(cell))
            if found is None:
                why = why or f"has the id {cut(_id(cell), _TOLD)!r}, which no row of {other.path!r} has"
            cells |= dict(enumerate(found or [""] * len(other.columns), start=at))
            at += len(other.columns)
        yield Row(row.number, [cells[index] for index in indices], why)


def _id(cell: object) -> str:
    return str(cell).strip()
