"""Renders the report as one self-contained HTML page with findings and plots.

The page executes and loads nothing: plots are PNGs as data URIs, a content security policy forbids everything else, and
the template escapes all names and messages.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.core import html_page
from pipelines.core.text import printable
from trainer.doctor.finding import BARS, LINES, MATRIX, PICTURES, Chart
from trainer.doctor.output import figures
from trainer.doctor.output.text import Report
from trainer.doctor.subject.subject import Subject
from trainer.reporting.plots import BLUE, GRAY, ORANGE

COLORS = (BLUE, ORANGE, GRAY, "#4c9f70", "#8e5ea2", "#c45850")
MOST_NAMES = 40  # names below an axis; more would be illegible


def render(subject: Subject, report: Report) -> str:
    """Returns the page as a string that can be encoded as UTF-8."""
    environment = html_page.environment(Path(__file__).parent, keep="\n\t")
    return environment.get_template("page.html.j2").render(
        report=report,
        findings=[(finding, _drawn(finding.charts)) for finding in report.findings],
        charts=_drawn(figures.charts(subject)),
        proof_charts=_drawn(_of_proof(report)),
    )


def _drawn(charts: Sequence[Chart]) -> list[tuple[str, str]]:
    """Returns title and picture of the charts.

    Charts of examples that are no pictures are left out.
    """
    seen = (chart for chart in charts if chart.kind != PICTURES or all(map(figures.can_be_seen, chart.series.values())))
    return [(chart.title, draw(chart)) for chart in seen]


def _of_proof(report: Report) -> list[Chart]:
    """Returns the curves of both trainings, the mean of the seeds."""
    proof = report.proof
    if proof is None or proof.before is None or proof.after is None:
        return []
    series = {"as it is": proof.before.scores.mean(axis=0), "with the remedy": proof.after.scores.mean(axis=0)}
    return [Chart(f"{proof.score} by steps", LINES, series, [str(point) for point in proof.points])]


def draw(chart: Chart) -> str:
    """Draws a chart and returns it as the data URI of a PNG."""
    kinds = {BARS: _bars, LINES: _lines, MATRIX: _matrix}
    figure = kinds.get(chart.kind, _pictures)(chart)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=96, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _plain(text: str) -> str:
    return printable(text, "\n\t").replace("$", r"\$")  # matplotlib reads text between dollar signs as a formula


def _axes(chart: Chart, height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _bars(chart: Chart) -> Figure:
    figure, axes = _axes(chart)
    width = 0.8 / max(1, len(chart.series))
    for i, (name, values) in enumerate(chart.series.items()):
        axes.bar(np.arange(len(values)) + i * width, values, width, label=_plain(name), color=COLORS[i % len(COLORS)])
    if 0 < len(chart.labels) <= MOST_NAMES:
        middle = np.arange(len(chart.labels)) + 0.4 - width / 2
        axes.set_xticks(middle, [_plain(t)[:24] for t in chart.labels], rotation=45, ha="right")
    _legend(axes, chart.series)
    return figure


def _lines(chart: Chart) -> Figure:
    figure, axes = _axes(chart)
    for i, (name, values) in enumerate(chart.series.items()):
        axes.plot(np.arange(1, len(values) + 1), values, label=_plain(name), color=COLORS[i % len(COLORS)])
    if 0 < len(chart.labels) <= MOST_NAMES:
        step = max(1, len(chart.labels) // 12)
        axes.set_xticks(np.arange(1, len(chart.labels) + 1)[::step], [_plain(t) for t in chart.labels[::step]])
    _legend(axes, chart.series)
    return figure


def _matrix(chart: Chart) -> Figure:
    rows = list(chart.series)
    values = np.array([chart.series[row] for row in rows], float)
    figure, axes = _axes(chart, height=max(3.2, 0.35 * len(rows) + 1.5))
    axes.imshow(values, cmap="Blues", aspect="auto")
    if len(rows) <= MOST_NAMES:
        axes.set_xticks(range(len(chart.labels)), [_plain(t)[:24] for t in chart.labels], rotation=45, ha="right")
        axes.set_yticks(range(len(rows)), [_plain(t)[:24] for t in rows])
    return figure


def _pictures(chart: Chart) -> Figure:
    columns = min(8, max(1, len(chart.series)))
    rows = -(-len(chart.series) // columns)
    figure = Figure(figsize=(1.2 * columns, 1.4 * rows), layout="constrained")
    for axes in figure.subplots(rows, columns, squeeze=False).ravel():
        axes.set_axis_off()
    for axes, (caption, picture) in zip(figure.axes, chart.series.items(), strict=False):
        axes.imshow(figures.visible(picture))
        axes.set_title(_plain(caption)[:22], fontsize=7)
    return figure


def _legend(axes: Axes, series: Mapping[str, Any]) -> None:
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8)
