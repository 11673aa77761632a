"""Decides the types of the columns that --keep names, and reads their cells.

A type is that of all rows of a table: a column is integer or float if every cell that is not empty is such a number,
and text otherwise. Numbers with zeros before them, such as postal codes, are text. The decimal sign may be a comma, in
all cells of a column.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipelines.contract import metadata
from pipelines.contract.metadata import FLOAT, INTEGER, MOST_DIFFERENT, TEXT, MetadataColumn, Value
from pipelines.core.errors import TableError
from pipelines.core.text import cut, is_label, listed, plural
from pipelines.inputs.tables.formats.table_file import Inside
from pipelines.tasks import regression

RESERVED = ("image", "key", "label", "target", "weight")  # features that every reader knows by these names
MOST_CHARACTERS = 4096  # of a cell
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[+-]?(0|[1-9][0-9]*|(?=\.[0-9]))(\.[0-9]*)?([eE][+-]?[0-9]{1,4})?")
_WORDS = {INTEGER: "integer", FLOAT: "float", TEXT: "text"}
_SHOWN = 40  # characters of a cell that a sentence repeats


class BadCellError(ValueError):
    """Says what a cell should hold, as a part of a sentence."""


def name_of(heading: str, path: str) -> str:
    """Returns the name of a column that travels along.

    Raises:
      TableError: It has no name, or one that a record uses already.
    """
    name = heading.strip()
    if not name or not is_label(name):
        raise TableError(
            f"--keep needs columns with a heading of plain text. {path!r} has the heading {cut(heading, 60)!r}: give "
            "the column another."
        )
    if name in RESERVED:
        raise TableError(
            f"--keep {name}: a record has a feature of this name already. Give the column of {path!r} another heading, "
            f"such as {name}_of_table, or leave it out: the names {', '.join(RESERVED)} are taken."
        )
    return name


class Deciding:
    """Finds out the type of one column from its cells."""

    def __init__(self, name: str):
        self.name = name
        self.rows = self.missing = self._integers = self._floats = self._commas = 0
        self._shows_decimals = False  # whether a comma cannot separate thousands
        self._odd = ""  # the first cell that is no number, not even one with a comma
        self._comma = ""  # the first cell that is a number with a comma
        self._texts: set[str] = set()

    def add(self, cell: Any, row: str) -> None:
        """Takes the cell of a row, of which messages say so.

        Raises:
          TableError: It is a list, an image or the like.
        """
        try:
            text = _text(cell)
        except BadCellError as e:
            raise TableError(f"--keep {self.name}: {row} {e}. Leave the column out.") from e
        self.rows += 1
        if not text:
            self.missing += 1
        elif _is_integer(text):
            self._integers += 1
        elif _is_float(text):
            self._floats += 1
        elif _is_float(regression.with_point(text)):
            self._commas += 1
            self._comma = self._comma or text
            self._shows_decimals = self._shows_decimals or regression.has_decimal_commas([text])
        else:
            self._odd = self._odd or text
        if text and len(self._texts) <= MOST_DIFFERENT:
            self._texts.add(text)

    @property
    def dtype(self) -> str:
        """Returns the type of all cells so far. A column without a value is text."""
        if self._odd or not self._integers + self._floats + self._commas:
            return TEXT
        if self._commas:
            return FLOAT if self._shows_decimals and not self._floats else TEXT
        return FLOAT if self._floats else INTEGER

    def told(self) -> str:
        """Returns how the column is read, in words."""
        filled = self.rows - self.missing
        numbers = self._integers + self._floats
        parts = [plural(self.missing, "cell") + " empty"] if self.missing else []
        if self.dtype == FLOAT and self._commas:
            parts.insert(0, "with a comma as the decimal sign")
        if self.dtype == TEXT and filled:
            many = len(self._texts) > MOST_DIFFERENT
            parts.insert(0, f"more than {MOST_DIFFERENT:,} values" if many else plural(len(self._texts), "value"))
            if self._commas and not self._odd:
                parts.append(self._told_commas())
            elif numbers:
                others, odd = filled - numbers, cut(self._odd, _SHOWN)
                verb = "is" if others == 1 else "are"
                parts.append(f"{others:,} of {plural(filled, 'cell')} {verb} no number, such as {odd!r}")
        return f"{self.name!r} as {_WORDS[self.dtype]}{f' ({listed(parts, 9)})' if parts else ''}"

    def _told_commas(self) -> str:
        """Returns why numbers with commas are text, in words."""
        shown = cut(self._comma, _SHOWN)
        if self._floats:
            return f"some cells have a decimal point, and others a comma, such as {shown!r}: write all with a point"
        return (
            f"the comma of {shown!r} may be a decimal sign, or separate thousands: write such numbers with a point, or "
            "without a comma"
        )

    def is_identifier(self) -> bool:
        """Tells whether nearly each row has a text of its own, or there are very many."""
        return self.dtype == TEXT and len(self._texts) > MOST_DIFFERENT


def told(columns: Sequence[Deciding]) -> tuple[str, ...]:
    """Returns the sentences that say how columns are read; none without columns."""
    if not columns:
        return ()
    sentences = [f"Keeps {listed([column.told() for column in columns], 100, '; ')}."]
    many = [repr(column.name) for column in columns if column.is_identifier()]
    if many:
        sentences.append(
            f"The text column {listed(many, 9)} has more than {MOST_DIFFERENT:,} different values: it travels along, "
            "and evaluation shows no slices of it. If a coarser one is meant, put it into a column of the table."
        )
    return tuple(sentences)


def values(cells: Iterable[Any], columns: Sequence[MetadataColumn]) -> Iterator[Value]:
    """Yields the values of the cells of a row.

    Raises:
      BadCellError: A cell has another type than the column, or is too long.
    """
    for cell, column in zip(cells, columns, strict=True):
        text = _text(cell)
        if not text:
            yield None
        elif column.dtype == INTEGER and _is_integer(text):
            yield int(text)
        elif column.dtype == FLOAT and (_is_integer(text) or _is_float(regression.with_point(text))):
            yield float(regression.with_point(text)) + 0.0  # -0.0 is 0
        elif column.dtype == TEXT:
            yield text
        else:
            raise BadCellError(
                f"should have a number as its {column.name}, as when the run began. Received: {cut(text, 80)!r}"
            )


def _text(cell: Any) -> str:
    """Returns a cell as text; an empty one as "".

    Raises:
      BadCellError: It is no text, number, date or nothing.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        cell = repr(cell)
    if isinstance(cell, (datetime.date, datetime.time)):
        cell = cell.isoformat()
    if isinstance(cell, Inside) or not isinstance(cell, (str, int, decimal.Decimal)):
        what = "an image" if isinstance(cell, Inside) else f"a {type(cell).__name__}"
        raise BadCellError(f"has {what} in it, and only texts and numbers travel along")
    text = str(cell).strip()
    if len(text) > MOST_CHARACTERS:
        raise BadCellError(f"has {len(text):,} characters in it, and at most {MOST_CHARACTERS:,} travel along")
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise BadCellError("has bytes in it that are no text")
    return text


def _is_integer(text: str) -> bool:
    if len(text) > 20 or not _INTEGER.fullmatch(text):
        return False
    return metadata.LEAST_INTEGER <= int(text) <= metadata.GREATEST_INTEGER


def _is_float(text: str) -> bool:
    """Tells whether a text is a number with a fraction or an exponent.

    Float32 can hold it. A whole number beyond 64 bits is none: it is an identifier, and would lose its digits.
    """
    if len(text) > 400 or not _FLOAT.fullmatch(text) or _INTEGER.fullmatch(text):
        return False
    try:
        return math.isfinite(metadata.as_float32(float(text)))
    except OverflowError:
        return False
