"""Renders the evaluation page of a task without classes.

What `class_page` says about untrusted input and the content security policy holds for this page, too.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from pipelines.core import html_page
from trainer.reporting import svg_paths
from trainer.reporting.pictures import Picture
from trainer.tasks.shown_result import Chart, Series, Table, number, reach, text
from trainer.tasks.task import Result

TICKS = 5  # about so many on an axis


def render(
    title: str,
    facts: Mapping[str, str],
    results: Sequence[tuple[Result, Sequence[Picture]]],
    folds: Table | None = None,
) -> str:
    """Renders the page as a string that can be encoded as UTF-8.

    Args:
      title: heading of the page, which names what was evaluated.
      facts: name -> text, for the end of the page.
      results: one per split, in the order of the page, with the pictures of its worst answers.
      folds: the scores of each fold of a cross-validation.
    """
    made = html_page.environment(pathlib.Path(__file__).parent / "templates")
    made.filters.update(number=number, reach=reach, n="{:,}".format, cell=text)
    views = [_view(found, pictures) for found, pictures in results]
    return made.get_template("task.html.j2").render(title=title, facts=facts, views=views, folds=folds)


def _view(found: Result, pictures: Sequence[Picture]) -> dict[str, Any]:
    report = found.report()
    return {
        "split": found.split,
        "records": found.records,
        "report": report,
        "cautions": found.cautions(),
        "charts": [_chart(chart) for chart in report.charts],
        "pictures": pictures,
    }


def _chart(chart: Chart) -> dict[str, Any]:
    return {
        "title": chart.title,
        "text": chart.text,
        "axes": chart.axes,
        "diagonal": chart.diagonal,
        "instead": chart.instead,
        "ticks": {"x": _ticks(chart.x_range), "y": _ticks(chart.y_range)},
        "lines": [
            {"name": s.name, "value": s.value, "points": s.points, "path": _path(s, chart)} for s in chart.series
        ],
    }


def _ticks(ends: tuple[float, float]) -> list[dict[str, Any]]:
    """Returns round numbers in a range, with their places from 0 to 100."""
    low, high = ends
    values = [value for value in map(float, MaxNLocator(TICKS).tick_values(low, high)) if low <= value <= high]
    return [{"at": 100 * (value - low) / (high - low), "text": f"{value:g}"} for value in values]


def _path(series: Series, chart: Chart) -> str:
    x, y = (
        (np.asarray(values, np.float64) - low) / (high - low)
        for values, (low, high) in ((series.x, chart.x_range), (series.y, chart.y_range))
    )
    if series.points:  # a line of no length with round ends is a dot
        return "".join(f"M{100 * a:.1f} {100 - 100 * b:.1f}h0" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    return svg_paths.polyline(x, y) if len(x) else ""
