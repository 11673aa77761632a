"""Composes the paths of images of several columns of a table.

Tables name an image by its folder and its name in two columns, or by a name that its file has only in part:
`{classname}/{img}`, `faces/{user}/{face}.{image}`, `{1.stem}_aligned.jpg`.
"""

from __future__ import annotations

import functools
import os
import string
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pipelines.inputs.rules import TableSpec
from pipelines.inputs.tables import table_columns
from pipelines.inputs.tables.formats.table_file import Row, Table

STEM = ".stem"  # behind the name of a column: its cells without the ending of a file


class _Part(NamedTuple):
    """Holds a part of a template.

    Attributes:
      text: What stands in each path.
      column: The heading of the column whose cell follows, or its number from 1; "" at the end.
      without_ending: Whether the ending of a file is cut off from the cell.
    """

    text: str
    column: str
    without_ending: bool


def check_template(template: str) -> str:
    """Returns a template if it can be used.

    Raises:
      ValueError: It names no column, or its braces are not closed.

    Example:
      >>> check_template("{classname}/{img}.jpg")
      '{classname}/{img}.jpg'
    """
    if template and not any(part.column for part in _parts(template)):
        raise ValueError(f"should name a column in braces, such as '{{folder}}/{{name}}.jpg'. Received: {template!r}.")
    return template


def composed(table: Table, path: str, spec: TableSpec) -> Table:
    """Returns a table with one more column, which has the paths.

    Its heading is the template.

    Args:
      table: The table. path: Its path.

    Raises:
      TableError: It does not have a column of the template.
    """
    if not spec.path_from:
        return table
    parts = _parts(spec.path_from)
    names = [part.column for part in parts if part.column]
    found = [table_columns.named(table.columns, "--path-from", [name], path)[0] for name in names]
    rows = functools.partial(_rows, table, parts, found)
    return Table(table.form, (*table.columns, spec.path_from), rows)


def _parts(template: str) -> list[_Part]:
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as e:
        raise ValueError(f"should have a column in each pair of braces: {e}. Received: {template!r}.") from e
    parts = []
    for text, name, form, conversion in parsed:
        if form or conversion or name == "":
            raise ValueError(
                f"should have the heading or the number of a column in braces. Received: {template!r}. A brace in a "
                "path is written twice."
            )
        stem = (name or "").endswith(STEM)
        parts.append(_Part(text, (name or "").removesuffix(STEM), stem))
    return parts


def _rows(table: Table, parts: Sequence[_Part], found: Sequence[int], indices: Sequence[int]) -> Iterator[Row]:
    own = [index for index in indices if index < len(table.columns)]
    for row in table.rows((*own, *found)):
        if row.why:
            yield Row(row.number, [""] * len(indices), row.why)
            continue
        cells: dict[int, Any] = dict(zip(own, row.cells, strict=False))
        texts = ["" if cell is None else str(cell).strip() for cell in row.cells[len(own) :]]
        why = "has an empty cell in a column of --path-from" if not all(texts) else ""
        cells[len(table.columns)] = _joined(parts, texts)
        yield Row(row.number, [cells[index] for index in indices], why)


def _joined(parts: Sequence[_Part], texts: Sequence[str]) -> str:
    rest = iter(texts)
    made = ""
    for part in parts:
        made += part.text
        if part.column:
            text = next(rest)
            made += os.path.splitext(text)[0] if part.without_ending else text
    return made
