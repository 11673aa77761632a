"""Tells labels that are classes from lists of labels and from measured numbers.

Lists of labels would become a class for each combination, and measured numbers, texts and identifiers a class for each
image.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping

from pipelines.core.errors import TableError
from pipelines.core.text import cut, listed

FEWEST = 10  # rows below which nothing is said
MOST_LABELS = 100_000  # different labels that are looked at for lists
SEPARATORS = ("|", ";", ",", " ")
FEWEST_TEXTS = 20  # rows below which labels may all be different
_BOXED = re.compile(r"\S+( -?\d+(\.\d+)?){4}(( \S+)?( -?\d+(\.\d+)?){4})*")
_REMEDY = "If each is one class as it stands: --single-label."


def check(labels: Mapping[str, int], lists: int, path: str, column: str) -> None:
    """Checks that labels are classes.

    Args:
      labels: label -> number of rows.
      lists: Rows whose label is a list and no text.
      path: Of the manifest, for the message.
      column: Heading of the labels' column.

    Raises:
      TableError: They are lists of labels, or measured numbers.
    """
    rows = sum(labels.values()) + lists
    texts = sum(count for label, count in labels.items() if label[0] == "[" and label[-1] == "]")
    if lists + texts > rows / 2:
        raise TableError(
            f"The column {column!r} of {path!r} holds a list of labels for each image. If an image may have "
            f"several labels: --labels multi.{f' {_REMEDY}' if texts > lists else ''}"
        )
    if rows < FEWEST:
        return
    _check_numbers(labels, rows, path, column)
    _check_texts(labels, rows, path, column)
    if len(labels) > MOST_LABELS:
        return
    for separator in SEPARATORS:
        combined = combinations(labels, separator)
        if combined:
            sign = "blanks" if separator == " " else f"{separator!r}"
            several = sum(labels[label] for label in combined)
            raise TableError(
                f"The column {column!r} of {path!r} seems to hold several labels for an image, separated by {sign}, "
                f"in {several} of {rows} rows: {listed((repr(cut(label, 60)) for label in combined), 3)}. If an "
                f"image may have several labels: --labels multi. {_REMEDY}"
            )


def _argument(column: str) -> str:
    return column if column.isidentifier() else repr(column)


def _check_numbers(labels: Mapping[str, int], rows: int, path: str, column: str) -> None:
    numbers = {label: count for label, count in labels.items() if _is_number(label)}
    once = sum(count == 1 for count in numbers.values())
    broken = sum(count for label, count in numbers.items() if not float(label).is_integer())
    said = ""
    if once > 0.9 * rows:
        said = f"{once} of {rows} labels in the column {column!r} of {path!r} are numbers that occur once"
    elif len(numbers) > 20 and broken > 0.9 * rows:
        said = f"{broken} of {rows} labels in the column {column!r} of {path!r} are numbers with fractions"
    if said:
        raise TableError(
            f"{said}: this looks like regression. If numbers are to be predicted: --target {_argument(column)}. Or put "
            f"them into a few ranges, and name these in a column: --label-column COLUMN. {_REMEDY}"
        )


def _check_texts(labels: Mapping[str, int], rows: int, path: str, column: str) -> None:
    """Refuses labels with boxes behind them, and those that nearly all occur once.

    Raises:
      TableError: They are such.
    """
    boxed = [label for label in labels if _BOXED.fullmatch(label)]
    if sum(labels[label] for label in boxed) > 0.9 * rows:
        raise TableError(
            f"The labels in the column {column!r} of {path!r} are followed by the four numbers of boxes, such as "
            f"{cut(boxed[0], 60)!r}. Write a column with the label alone, and name it: --label-column COLUMN. If the "
            f"images are in a folder beside class folders: --label-lists FOLDER=FILE. {_REMEDY}"
        )
    once = [label for label, count in labels.items() if count == 1]
    if rows >= FEWEST_TEXTS and len(once) > 0.9 * rows:
        raise TableError(
            f"{len(once)} of {rows} labels in the column {column!r} of {path!r} occur once, such as "
            f"{cut(once[0], 60)!r}: these look like texts or identifiers and not like classes. Name the column of the "
            f"classes: --label-column COLUMN. {_REMEDY}"
        )


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False


def combinations(labels: Mapping[str, int], separator: str) -> list[str]:
    """Returns the labels that are lists of others.

    There are none if the separator seems to be a part of names.

    At least half of the labels with the separator must consist of parts that occur in other labels. Blanks are common
    in names: with them, nearly all must, and some part must be a label of its own.
    """
    parts = {
        label: [part.strip() for part in label.split(separator)] for label in labels if separator in label
    }  # fmt: skip
    parts = {label: pieces for label, pieces in parts.items() if all(pieces) and len(pieces) > 1}
    in_labels = collections.Counter(part for pieces in parts.values() for part in set(pieces))
    alone = {label for label in labels if separator not in label}
    made_up = sorted(
        label for label, pieces in parts.items() if all(part in alone or in_labels[part] > 1 for part in pieces)
    )
    if separator == " " and (len(made_up) < 0.9 * len(parts) or not alone & set(in_labels)):
        return []
    return made_up if made_up and 2 * len(made_up) >= len(parts) else []
