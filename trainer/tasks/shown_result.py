"""Describes what is shown of a result: headlines, tables, charts and pictures.

A kind of task fills these in. `trainer.reporting` draws them as text, as HTML, as PNG and for TensorBoard, and knows no
kind.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trainer.evaluation.scores.intervals import Interval

Cell = str | int | float


class Headline(NamedTuple):
    """Holds one score of a split.

    remark: what stands beside it, such as the score of a constant answer.
    """

    name: str
    value: float
    interval: Interval | None
    remark: str = ""


class Table(NamedTuple):
    """Holds a table of which each row has one cell for each column.

    text: a sentence above it.
    """

    title: str
    text: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]


class Series(NamedTuple):
    """Holds one line of a chart, or its points.

    value: stands behind the name in the legend; None for none.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    points: bool = False
    value: float | None = None


class Chart(NamedTuple):
    """Holds series over the same axes, (x, y) with their least and greatest value.

    diagonal: whether the line from corner to corner is drawn. instead: a sentence in place of the drawing, if there is
    nothing to draw.
    """

    title: str
    text: str
    axes: tuple[str, str]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    series: Sequence[Series]
    diagonal: bool = False
    instead: str = ""


class Example(NamedTuple):
    """Describes a record that is shown with its picture.

    position: of the record, in the order of `dataset.load` without shuffling.
    """

    position: int
    answer: str
    truth: str


@dataclasses.dataclass(frozen=True)
class Report:
    """Holds all that is shown of a split but its pictures.

    sentence: what the page says first. about_intervals: a sentence about how the intervals were made. slices: scores of
    parts of the split, if columns travel along.
    """

    sentence: str
    headlines: Sequence[Headline]
    tables: Sequence[Table]
    charts: Sequence[Chart]
    about_intervals: str
    slices: Table | None = None


def number(value: float) -> str:
    """Formats a number with three digits or more; a dash if it is undefined."""
    if math.isnan(value):
        return "–"
    size = abs(value)
    if size and size < 0.01:
        return f"{value:.3g}"
    return f"{value:.3f}" if size < 100 else f"{value:.1f}" if size < 10_000 else f"{value:,.0f}"


def reach(interval: Interval) -> str:
    """Formats an interval, or "" if it is undefined."""
    return "" if math.isnan(interval.low) else f"{number(interval.low)} to {number(interval.high)}"


def text(cell: Cell) -> str:
    """Formats the cell of a table."""
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else number(cell)
