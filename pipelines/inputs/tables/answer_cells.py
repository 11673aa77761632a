"""Reads the labels or the numbers of an image from the cells of a table.

Several labels stand in one column, as a list or with a separator between them, or each has a column of 0 and 1. A row
of a table of one class an image needs none of this: its label is a cell.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.contract.task import CLASSES, REGRESSION
from pipelines.core.errors import TableError
from pipelines.core.text import cut, listed, plural
from pipelines.inputs.rules import TableSpec
from pipelines.inputs.tables import label_kinds, table_columns
from pipelines.inputs.tables.formats.table_file import Table
from pipelines.tasks import multi_label, regression

ROWS_SEEN = 100_000  # rows that show what separates labels, and what the columns of 0 and 1 hold
NO_SEPARATOR, BLANK = "none", "space"  # values of --label-separator
_NAMED = 8
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
_NEGATIVE = ("-1", "-1.0")
_CONFIDENCES = frozenset({"confidence", "is_present", "present", "verified"})


@dataclasses.dataclass(frozen=True)
class AnswerCells:
    """Says how the answer of a row is read.

    columns: the columns that are read, by index.
    names: their headings.
    told: how they are read, in words.
    """

    columns: tuple[int, ...]
    names: tuple[str, ...]
    told: str

    @property
    def adds_up(self) -> bool:
        """Tells whether several rows of an image add up to its answer."""
        return False

    def read(self, cells: Sequence[Any]) -> tuple[str, str]:
        """Returns the text of the answer, and "" or what is wrong with it."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class _Numbers(AnswerCells):
    """Reads numbers; `commas` names the columns in which a comma is the decimal sign."""

    commas: tuple[str, ...] = ()

    def read(self, cells: Sequence[Any]) -> tuple[str, str]:
        found = regression.of_cells(cells, self.names, self.commas)
        return ("", found) if isinstance(found, str) else (regression.text_of(found), "")


@dataclasses.dataclass(frozen=True)
class _OneColumn(AnswerCells):
    """Reads labels from one column; `separator` is "" if a text is one label."""

    separator: str = ""

    @property
    def adds_up(self) -> bool:
        return True

    def read(self, cells: Sequence[Any]) -> tuple[str, str]:
        found = multi_label.of_cell(cells[0], self.separator)
        return ("", found) if isinstance(found, str) else (multi_label.text_of(found), "")


@dataclasses.dataclass(frozen=True)
class _Flags(AnswerCells):
    """Reads a column of yes and no for each label; `no` has the texts of no."""

    no: tuple[str, ...] = _NO

    def read(self, cells: Sequence[Any]) -> tuple[str, str]:
        labels = []
        for name, cell in zip(self.names, cells, strict=True):
            said = str(cell).strip().lower()
            if said in _YES:
                labels.append(name)
            elif said not in self.no:
                empty = "" if said else f". If an empty cell means no, write {self.no[0]} into it"
                return "", f"should have 1 or {self.no[0]} as its {name}. Received: {cell!r:.80}{empty}"
        return multi_label.text_of(labels), ""


@dataclasses.dataclass(frozen=True)
class _OneHot(AnswerCells):
    """Reads a class from columns of which one has yes; `no` has the texts of no."""

    no: tuple[str, ...] = _NO

    def read(self, cells: Sequence[Any]) -> tuple[str, str]:
        said = [str(cell).strip().lower() for cell in cells]
        for name, text, cell in zip(self.names, said, cells, strict=True):
            if text not in (*_YES, *self.no):
                return "", f"should have 1 or {self.no[0]} as its {name}. Received: {cell!r:.80}"
        found = [name for name, text in zip(self.names, said, strict=True) if text in _YES]
        if len(found) != 1:
            has = listed(map(repr, found), 3) if found else "none"
            return "", f"should have 1 in one of the columns of its class. It has it in {has}"
        return found[0], ""


def find(table: Table, spec: TableSpec, columns: Mapping[str, int], path: str) -> AnswerCells | None:
    """Finds out how the answers of a table are read; None: its label is a class.

    Args:
      columns: role -> index, of `table_columns.find`.

    Raises:
      TableError: It is not plain.
    """
    if spec.task == CLASSES and not spec.label_columns:
        return None
    if spec.task == REGRESSION:
        indices = table_columns.named(table.columns, "--target", spec.targets, path)
        names = _names(table, indices, path)
        rows = [row.cells for row in itertools.islice(table.rows(indices), ROWS_SEEN) if not row.why]
        commas = tuple(name for i, name in enumerate(names) if regression.has_decimal_commas(row[i] for row in rows))
        told = f"the {'number' if len(names) == 1 else 'numbers'} {_quoted(names)} as target"
        told += f", with a comma as the decimal sign of {_quoted(commas)}" if commas else ""
        return _Numbers(indices, names, told, commas)
    if "label" in columns and not spec.label_columns:
        return _in_one_column(table, columns, spec, path)
    if spec.label_columns:
        indices = table_columns.named(table.columns, "--label-columns", spec.label_columns, path)
    else:
        indices = table_columns.flags(table, columns)
    if len(indices) < 2 and not spec.label_columns:
        raise TableError(
            table_columns.spoiled_flags(table, columns, path) or table_columns.no_label(table, columns["path"], path)
        )
    names = _names(table, indices, path)
    no = _no(table, indices, names, path)
    if spec.task == CLASSES:
        return _OneHot(indices, names, f"the class from columns of 1 and {no[0]}: {_quoted(names)}", no)
    told = f"{plural(len(names), 'label')} from columns of 1 and {no[0]}: {_quoted(names)}"
    return _Flags(indices, names, told, no)


def _names(table: Table, indices: Sequence[int], path: str) -> tuple[str, ...]:
    names = tuple(table.columns[i].strip() for i in indices)
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice or not all(names):
        raise TableError(
            f"Columns of {path!r} that are labels or targets should have headings, each another one. "
            f"Received: {cut(twice[0], 60) if twice else ''!r}."
        )
    return names


def _quoted(names: Sequence[str]) -> str:
    return listed((repr(cut(name, 40)) for name in names), _NAMED)


def _no(table: Table, indices: Sequence[int], names: Sequence[str], path: str) -> tuple[str, ...]:
    """Returns the texts of no: those of 0, or those of -1 in a table without 0.

    Raises:
      TableError: It has both, or -1 and empty cells: then -1 may mean that a label is uncertain.
    """
    seen: set[tuple[str, str]] = set()
    is_partly_empty = False
    for row in itertools.islice(table.rows(indices), ROWS_SEEN):
        said = ["" if cell is None else str(cell).strip().lower() for cell in row.cells]
        if not row.why:
            seen.update(zip(names, said, strict=True))
            is_partly_empty = is_partly_empty or ("" in said and any(said))
    negative = sorted(name for name, said in seen if said in _NEGATIVE)
    if not negative:
        return _NO
    if is_partly_empty or any(said in _NO for _, said in seen):
        other = "empty cells" if is_partly_empty else "0"
        raise TableError(
            f"The columns of labels of {path!r} have both {other} and -1, -1 for example in {negative[0]!r}. Where -1 "
            "means that a label is uncertain, decide it: write 1 or 0 into these cells."
        )
    return _NEGATIVE


def _in_one_column(table: Table, columns: Mapping[str, int], spec: TableSpec, path: str) -> AnswerCells:
    index = columns["label"]
    heading = table.columns[index]
    separator = _separator(table, index, spec.label_separator, path)
    sign = "a blank" if separator == " " else repr(separator)
    told = f"{heading!r} as labels" + (f", separated by {sign}" if separator else "")
    if spec.label_separator and separator and not _occurs(table, index, separator):
        told += ", which stands in no cell,"
    told += _doubtful(table, columns)
    return _OneColumn((index,), (heading,), told, separator)


def _occurs(table: Table, index: int, separator: str) -> bool:
    rows = itertools.islice(table.rows((index,)), ROWS_SEEN)
    return any(isinstance(row.cells[0], str) and separator in row.cells[0] for row in rows)


def _doubtful(table: Table, columns: Mapping[str, int]) -> str:
    """Returns words about rows that may say that a label is absent, or "".

    Open Images has a column Confidence for that, with 0 where people saw that it has not.
    """
    found = [i for i, name in enumerate(table.columns) if name.strip().lower() in _CONFIDENCES]
    if not found or found[0] in columns.values():
        return ""
    rows = itertools.islice(table.rows(found[:1]), ROWS_SEEN)
    zeros = sum(str(row.cells[0]).strip() in ("0", "0.0") for row in rows)
    if not zeros:
        return ""
    return (
        f" (0 stands as {table.columns[found[0]]!r} in {plural(zeros, 'row')}, and the labels of such rows are read "
        "like the others: if 0 says that an image has not the label, take these rows out)"
    )


def _separator(table: Table, index: int, wanted: str, path: str) -> str:
    """Returns what stands between the labels of a cell; "" if nothing does.

    Raises:
      TableError: It is not plain.
    """
    if wanted:
        return {NO_SEPARATOR: "", BLANK: " "}.get(wanted, wanted)
    cells: collections.Counter[str] = collections.Counter()
    for row in itertools.islice(table.rows((index,)), ROWS_SEEN):
        cell = row.cells[0]
        if not row.why and isinstance(cell, str) and cell.strip() and not multi_label.is_list(cell):
            cells[cell.strip()] += 1
    found = [sign for sign in label_kinds.SEPARATORS if sign != " " and any(sign in cell for cell in cells)]
    if len(found) > 1:
        raise TableError(
            f"It is not plain what separates the labels in the column {table.columns[index]!r} of {path!r}: "
            f"{' or '.join(map(repr, found))}. Say it: --label-separator {found[0]!r}, or --label-separator none if "
            "each cell is one label."
        )
    if found:
        return found[0]
    if not any(" " in cell for cell in cells):
        return ""
    if label_kinds.combinations(cells, " "):
        return " "
    blank = next(cell for cell in cells if " " in cell)
    raise TableError(
        f"It is not plain whether blanks separate the labels in the column {table.columns[index]!r} of {path!r}, as in "
        f"{cut(blank, 60)!r}. Say it: --label-separator space, or --label-separator none if each cell is one label."
    )
