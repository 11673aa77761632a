"""Draws the plots of a run as PNG files.

It uses Matplotlib's object interface, which needs no global state and no display.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, MaxNLocator, ScalarFormatter

from trainer.evaluation.assessment import Assessment
from trainer.evaluation.scores import calibration, class_scores
from trainer.tasks.shown_result import Chart, number
from trainer.tasks.task import Result

BLUE, ORANGE, GRAY = "#2f6db3", "#d9772b", "#8a8f98"
MAX_WRITTEN_CLASSES = 20  # above this the numbers in the cells cannot be read
MAX_NAMED_CLASSES = 60  # above this a picture that shows all names cannot be read, and in the end not be drawn
NO_SCORES = ("epoch", "images_per_second", "loss")  # columns of the history
DPI = 110
MAX_CURVES = 8  # above this the lines cannot be distinguished


def write_all(
    folder: Path, history: Mapping[str, Sequence[float]], scores: Mapping[str, Assessment | Result], best: int
) -> None:
    """Draws all plots of a run into a folder.

    It writes curves.png, and for each split confusion-SPLIT.png, recall-SPLIT.png and probabilities-SPLIT.png. There is
    no confusion matrix of more than class_scores.MAX_MATRIX_CLASSES classes. Of other tasks it writes charts-SPLIT.png.

    Args:
      best: number of the kept epoch, counted from 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _save(curves(history, best), folder / "curves.png")
    for split, result in scores.items():
        if isinstance(result, Result):
            if charts := result.report().charts:
                _save(of_charts(charts, split), folder / f"charts-{split}.png")
            continue
        if len(result.labels) <= class_scores.MAX_MATRIX_CLASSES:
            _save(confusion(result, split), folder / f"confusion-{split}.png")
        _save(recalls(result, split), folder / f"recall-{split}.png")
        _save(probabilities(result, split), folder / f"probabilities-{split}.png")


def curves(history: Mapping[str, Sequence[float]], best: int) -> Figure:
    """Plots the loss and the score of each epoch for train and validation.

    A line marks the kept epoch.
    """
    score = next((name for name in history if name not in NO_SCORES and not name.startswith("val_")), "score")
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", score), strict=True):
        for key, label, color in ((name, "train", GRAY), (f"val_{name}", "validation", BLUE)):
            if key in history:
                axes.plot(history["epoch"], history[key], label=label, color=color, marker=".")
        axes.axvline(best, color=ORANGE, linestyle="--", linewidth=1, label=f"kept: epoch {best}")
        axes.set(xlabel="epoch", title=name.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # epochs are integers
        axes.legend(frameon=False)
        _plain_axes(axes)
    return figure


def rate_test(
    path: Path, rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, suggestion: float | None
) -> None:
    """Draws the losses of a range test of learning rates into a PNG file.

    Args:
      rates: float64 (N,). losses, smoothed: float64 (N,), of the steps with these rates.
      suggestion: the rate that a line marks; None for no line.
    """
    figure = Figure(figsize=(7, 4.3), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color=GRAY, linewidth=0.8, label="of the batch")
    axes.plot(rates, smoothed, color=BLUE, linewidth=1.6, label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color=ORANGE, linestyle="--", linewidth=1, label=f"suggestion: {suggestion:g}")
    low, high = float(smoothed.min()), float(max(smoothed[0], smoothed.max()))
    axes.set(
        xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - 0.1 * (high - low), high + 0.3 * (high - low))
    )
    axes.legend(frameon=False)
    _plain_axes(axes)
    _save(figure, path)


def of_charts(charts: Sequence[Chart], split: str) -> Figure:
    """Plots the charts of a report, at most three in a row."""
    columns = min(3, len(charts))
    rows = -(-len(charts) // columns)
    figure = Figure(figsize=(4.4 * columns, 4.3 * rows), layout="constrained")
    places = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes, chart in zip(places, charts, strict=False):
        for line in chart.series:
            label = line.name if line.value is None else f"{line.name}: {number(line.value)}"
            if line.points:
                axes.plot(line.x, line.y, ".", color=BLUE, alpha=0.5, markersize=3, label=label)
            else:
                axes.plot(
                    line.x, line.y, label=label, linewidth=1.2, marker="." if len(line.x) <= calibration.BINS else None
                )
        if chart.diagonal:
            ends = (max(chart.x_range[0], chart.y_range[0]), min(chart.x_range[1], chart.y_range[1]))
            axes.plot(ends, ends, color=GRAY, linestyle=":", linewidth=1)
        axes.set(xlabel=chart.axes[0], ylabel=chart.axes[1], title=f"{split}: {chart.title}")
        axes.title.set_fontsize(10)
        _plain_axes(axes)
        if chart.instead:
            axes.text(0.5, 0.5, chart.instead, transform=axes.transAxes, ha="center", va="center", wrap=True)
        if len(chart.series) > 1 or (chart.series and not chart.series[0].points):
            axes.legend(frameon=False, fontsize=8)
    for axes in places[len(charts) :]:
        axes.set_axis_off()
    return figure


def confusion(scores: Assessment, split: str) -> Figure:
    """Plots the confusion matrix twice: as records and as shares of each true class.

    The names of the classes are left out where there are more than MAX_NAMED_CLASSES.
    """
    size = min(14.0, max(4.0, 0.5 * len(scores.labels) + 3))
    # Inches above and below: the layout leaves too little for the titles of square axes.
    figure = Figure(figsize=(2 * size, size), layout=ConstrainedLayoutEngine(h_pad=0.12))
    shares = scores.matrix / np.maximum(1, scores.matrix.sum(axis=1, keepdims=True))
    for axes, values, title, form in zip(
        figure.subplots(1, 2),
        (scores.matrix, shares),
        ("records", "share of the true class"),
        ("d", ".2f"),
        strict=True,
    ):
        axes.imshow(values, cmap="Blues", vmin=0, vmax=max(float(values.max()), 1e-9))
        if len(scores.labels) <= MAX_NAMED_CLASSES:
            ticks = range(len(scores.labels))
            axes.set_xticks(ticks, scores.labels, rotation=45, ha="right")
            axes.set_yticks(ticks, scores.labels)
        axes.set(xlabel="predicted", ylabel="true", title=f"{split}: {title}")
        _write_cells(axes, values, form)
    return figure


def recalls(scores: Assessment, split: str) -> Figure:
    """Plots the recall and the support of each class.

    A line marks the mean recall, which is the balanced accuracy. Of more than MAX_NAMED_CLASSES classes, those with
    the lowest recall are shown.
    """
    support = scores.matrix.sum(axis=1)
    recall, shown = class_scores.recall(scores.matrix), np.arange(len(scores.labels))
    if len(shown) > MAX_NAMED_CLASSES:  # a class without records has no recall, which sorts behind all others
        shown = np.argsort(recall, kind="stable")[:MAX_NAMED_CLASSES]
    figure = Figure(figsize=(7, max(2.2, 0.4 * len(shown) + 1.4)), layout="constrained")
    axes = figure.subplots()
    values, support = np.nan_to_num(recall[shown]), support[shown]
    bars = axes.barh([scores.labels[c] for c in shown], values, color=BLUE)
    texts = [f"{v:.2f} (n = {n})" if n else "no records" for v, n in zip(values, support, strict=True)]
    axes.bar_label(bars, texts, padding=6, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}, zorder=5)
    mean = class_scores.balanced_accuracy(scores.matrix)
    if not np.isnan(mean):
        axes.axvline(mean, color=ORANGE, linestyle="--", label=f"balanced accuracy {mean:.3f}")
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    few = f", the lowest {len(shown)} of {len(scores.labels):,} classes" if len(shown) < len(scores.labels) else ""
    axes.set(xlim=(0, 1.15), xlabel=f"recall on {split}{few}")
    axes.invert_yaxis()
    _plain_axes(axes)
    return figure


def probabilities(scores: Assessment, split: str) -> Figure:
    """Plots ROC curves, precision-recall curves and the reliability plot.

    There are curves of at most MAX_CURVES classes, those with the lowest average precision.
    """
    figure = Figure(figsize=(13, 4.3))
    # The margins are fixed, because an automatic layout takes longer than the drawing.
    figure.subplots_adjust(0.05, 0.12, 0.99, 0.92, wspace=0.22)
    roc, precision_recall, reliability = figure.subplots(1, 3)
    for label_id, c in scores.curves_of_the_lowest(MAX_CURVES):
        label = scores.labels[label_id]
        roc.plot(c.false_positive_rate, c.true_positive_rate, label=f"{label}: AUC {c.auc:.3f}", linewidth=1.2)
        precision_recall.step(c.recall, c.precision, label=f"{label}: AP {c.average_precision:.3f}", linewidth=1.2)
    roc.plot([0, 1], [0, 1], color=GRAY, linestyle=":", linewidth=1)
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title=f"{split}: ROC")
    precision_recall.set(xlabel="recall", ylabel="precision", title="precision and recall", ylim=(0, 1.03))
    reliability.plot([0, 1], [0, 1], color=GRAY, linestyle=":", linewidth=1)
    for before, color, marker in ((True, GRAY, "o"), (False, BLUE, "s")):
        bins = [b for b in scores.reliability(before) if b.records]
        error = calibration.calibration_error(bins)
        name = "as trained" if before else f"temperature {scores.fitted.temperature:.3g}"
        reliability.plot(
            [b.confidence for b in bins], [b.accuracy for b in bins],
            color=color, marker=marker, markersize=4, label=f"{name}: ECE {error:.3f}",
        )  # fmt: skip
    reliability.set(xlabel="probability of the answer", ylabel="share of right answers", title="reliability")
    for axes in (roc, precision_recall, reliability):
        _plain_axes(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)
    return figure


def _write_cells(axes: Axes, values: np.ndarray, form: str) -> None:
    if len(values) > MAX_WRITTEN_CLASSES:
        return
    for (row, column), value in np.ndenumerate(values):
        color = "white" if value > 0.6 * values.max() else "black"
        axes.text(column, row, format(value, form), ha="center", va="center", color=color, fontsize=9)


def _plain_axes(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _names(figure: Figure) -> list[Text]:
    """Returns the texts of a figure, but for the numbers at its axes."""
    numbers = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        labels = axis.get_ticklabels(which="both")  # they are made when they are asked for
        if isinstance(axis.get_major_formatter(), LogFormatter | ScalarFormatter):
            numbers |= {id(label) for label in labels}
    return [text for text in figure.findobj(Text) if id(text) not in numbers]


def _save(figure: Figure, path: Path) -> None:
    # `savefig` would draw a figure twice, once to find its margins. Finding them alone takes a third of a drawing.
    figure.set_dpi(DPI)
    canvas, margins = FigureCanvasAgg(figure), figure.get_layout_engine()
    for text in _names(figure):
        text.set_parse_math(False)  # a class may be called "$5", and what is between two such signs is no formula
    if margins is not None:
        margins.execute(figure)
        figure.set_layout_engine("none")
    write: Callable[..., None] = canvas.print_png
    write(path, metadata={"Software": None})  # without the version: equal runs have equal files
