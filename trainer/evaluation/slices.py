"""Scores parts of a split: the records of one site, of one range of ages.

The columns are those that `prepare --keep` carries along. A slice is the records with one text, or with a number in one
part of its range. Slices with few records are left out, because their scores are mostly chance.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.contract.metadata import FLOAT, INTEGER, MISSING_INTEGER, TEXT, MetadataColumn
from trainer.config import SLICE_SIZE
from trainer.evaluation.scores import class_scores, intervals
from trainer.evaluation.scores.intervals import Interval

MOST_VALUES = 50  # different texts of a column; with more there are no slices of it
FEW_NUMBERS = 5  # different numbers; so few are a slice each
PARTS = 4  # of a range of more numbers, with about equally many records each
MISSING = "(missing)"


class Column(NamedTuple):
    """Holds the values of a column for N records of a split.

    values: int64, float32 or str (as objects), (N,), as records have them.
    """

    name: str
    dtype: str
    values: np.ndarray

    @property
    def missing(self) -> np.ndarray:
        """Returns which records have no value, bool (N,)."""
        if self.dtype == TEXT:
            return np.array([not value for value in self.values], bool)
        found: np.ndarray = np.isnan(self.values) if self.dtype == FLOAT else self.values == MISSING_INTEGER
        return found

    def texts(self) -> list[str]:
        """Returns the values as the cells of a table; "" where there is none."""
        if self.dtype == FLOAT:
            return ["" if np.isnan(value) else str(value) for value in self.values]  # the shortest text of a float32
        if self.dtype == INTEGER:
            return ["" if value == MISSING_INTEGER else str(value) for value in self.values.tolist()]
        return list(self.values)


class Metadata(NamedTuple):
    """Holds the columns of a split, and the fewest records of a slice."""

    columns: tuple[Column, ...] = ()
    smallest: int = SLICE_SIZE

    @property
    def features(self) -> list[str]:
        """Returns the names of the columns as records have them."""
        return [MetadataColumn(column.name, column.dtype).feature for column in self.columns]

    def rows(self, records: int) -> list[tuple[str, ...]]:
        """Returns the cells of each record."""
        if not self.columns:
            return [()] * records
        return list(zip(*(column.texts() for column in self.columns), strict=True))


NO_METADATA = Metadata()


class Score(NamedTuple):
    """Holds a score of some records. Both ends of the interval are NaN if it has none."""

    value: float
    interval: Interval


class Slice(NamedTuple):
    """Holds the scores of one slice.

    column, value: what its records have in common, in words. scores: name -> score; the first one decides which slice
    is worse. worse: whether the whole interval of that score is worse than the score of all records.
    """

    column: str
    value: str
    records: int
    scores: Mapping[str, Score]
    worse: bool


@dataclasses.dataclass(frozen=True)
class Slices:
    """Holds all slices of a split, the worst first.

    notes: sentences about what was left out.
    """

    smallest: int
    rows: tuple[Slice, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of metrics.json: plain numbers, None for undefined ones."""
        return {
            "smallest": self.smallest,
            "notes": list(self.notes),
            "slices": [
                {"column": row.column, "value": row.value, "records": row.records, "clearly_worse": row.worse}
                | {name: class_scores.plain(score.value) for name, score in row.scores.items()}
                | {
                    f"{name}_interval": [class_scores.plain(end) for end in score.interval]
                    for name, score in row.scores.items()
                }
                for row in self.rows
            ],
        }


def scored(
    metadata: Metadata,
    score: Callable[[np.ndarray], Mapping[str, Score]],
    whole: float,
    greater: bool = True,
    labels: np.ndarray | None = None,
) -> Slices:
    """Scores the slices of all columns.

    Args:
      score: returns the scores of the records at positions int64 (n,); the first one decides.
      whole: the deciding score of all records.
      greater: whether a greater value of it is better.
      labels: int64 (N,), the class of each record. A column that only repeats the classes has no slices.
    """
    rows, notes, left_out = [], [], []
    for column in metadata.columns:
        found, small, note = _slices(column, metadata.smallest)
        if labels is not None and _repeats(found, labels):
            found, small, note = [], 0, f"{column.name!r} repeats the classes: see the scores of each class instead."
        notes += [note] if note else []
        if small:
            left_out.append(f"{small} of {column.name!r}")
        for value, positions in found:
            scores = score(positions)
            low, high = next(iter(scores.values())).interval
            worse = high < whole if greater else low > whole
            rows.append(Slice(column.name, value, len(positions), scores, bool(worse)))
    if left_out:
        notes.insert(0, f"Parts with fewer than {metadata.smallest} records are left out: {', '.join(left_out)}.")
    sign = 1 if greater else -1

    def order(row: Slice) -> tuple[bool, float]:
        value = next(iter(row.scores.values())).value
        return math.isnan(value), sign * value

    return Slices(metadata.smallest, tuple(sorted(rows, key=order)), tuple(notes))


def _repeats(found: Sequence[tuple[str, np.ndarray]], labels: np.ndarray) -> bool:
    """Tells whether each of several slices is of one class only.

    So are the folders of a folder of class folders.
    """
    return len(found) > 1 and all(len(np.unique(labels[positions])) == 1 for _, positions in found)


def _slices(column: Column, smallest: int) -> tuple[list[tuple[str, np.ndarray]], int, str]:
    """Returns the slices of a column.

    They are (value, positions) of each slice, how many have too few records, and a note or "".
    """
    missing = column.missing
    known = np.flatnonzero(~missing)
    if column.dtype == TEXT:
        different = sorted(set(column.values[known].tolist()))
        if len(different) > MOST_VALUES:
            told = f"The text column {column.name!r} has {len(different):,} different values: it has no slices."
            return [], 0, f"{told} At most {MOST_VALUES} have some."
        groups = [(value, np.flatnonzero(column.values == value)) for value in different]
    else:
        groups = list(_ranges(column.values, known))
    if missing.any():
        groups.append((MISSING, np.flatnonzero(missing)))
    enough = [(value, positions) for value, positions in groups if len(positions) >= smallest]
    return enough, len(groups) - len(enough), ""


def _ranges(values: np.ndarray, known: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (value, positions) of the slices of numbers.

    Each number is one if there are few, else parts of their range with about equally many records.

    Args:
      known: the positions of the records that have a number.
    """
    if not len(known):
        return
    numbers = values[known]
    different = np.unique(numbers)
    if len(different) <= FEW_NUMBERS:
        for value in different:
            yield _number(value), known[numbers == value]
        return
    ends = np.unique(np.quantile(numbers, np.arange(1, PARTS) / PARTS, method="lower"))
    which = np.searchsorted(ends, numbers, side="left")  # a number that is an end belongs to the part below it
    for part in range(len(ends) + 1):
        inside = numbers[which == part]
        if len(inside):
            low, high = inside.min(), inside.max()
            yield _number(low) if low == high else f"{_number(low)} to {_number(high)}", known[which == part]


def _number(value: Any) -> str:
    return str(int(value)) if np.issubdtype(type(value), np.integer) else f"{float(value):.4g}"


def resampled_means(values: np.ndarray, cells: int) -> np.ndarray:
    """Returns the means of values (n, V) over bootstrap resamples, (R, V).

    Args:
      cells: as of `intervals.draws`.
    """
    return np.concatenate([draws @ values / len(values) for draws in intervals.draws(len(values), cells)])
