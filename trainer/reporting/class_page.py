"""Renders the page of an evaluation as one self-contained file, evaluation.html.

Like the report of a dataset it loads nothing from elsewhere. Styles are inline, pictures are data URIs, and charts are
SVG. A content security policy forbids scripts and the network. Names of classes, keys and files are untrusted input, so
the template escapes all of them. Characters that could reverse the direction of the text or break the file are shown as
escape sequences.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.core import html_page
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.cautions import cautions
from trainer.evaluation.scores import abstention, calibration, class_scores, intervals
from trainer.evaluation.scores.threshold import PLAIN
from trainer.reporting import svg_paths
from trainer.reporting.svg_paths import Line
from trainer.tasks import slice_table
from trainer.tasks.shown_result import Table, number, text

if TYPE_CHECKING:
    import jinja2

    from trainer.evaluation.grad_cam import Looks
    from trainer.evaluation.mistakes import Mistake  # this import needs TensorFlow; comparing runs does not

MOST_CELLS = 20  # classes; with more classes the page lists the most common confusions instead of a matrix
MOST_CONFUSIONS = 40
MOST_LINES = 8  # classes in a chart


@dataclasses.dataclass(frozen=True)
class Row:
    """Describes one class in the table. Undefined numbers are NaN."""

    label: str
    support: int
    recall: float
    reach: intervals.Interval
    precision: float
    f1: float
    auc: float
    average_precision: float


@functools.cache
def environment() -> jinja2.Environment:
    """Returns the jinja2 environment of the pages.

    It escapes all text that is not markup, and raises an error for a name that is not defined.
    """
    made = html_page.environment(pathlib.Path(__file__).parent / "templates")
    made.filters.update(score=score, n="{:,}".format, percent=percent, cell=text, number=number)
    return made


def render(
    title: str,
    facts: Mapping[str, str],
    assessments: Sequence[Assessment],
    mistakes: Mapping[str, Sequence[Mistake]],
    folds: Table | None = None,
    looks: Mapping[str, Looks] | None = None,
) -> str:
    """Renders the page as a string that can be encoded as UTF-8.

    Args:
      title: heading of the page, which names what was evaluated.
      facts: name -> text, for the end of the page.
      assessments: one per split, in the order of the page. mistakes: split -> wrong answers to show with pictures.
      folds: the scores of each fold of a cross-validation.
      looks: split -> where the network looked.
    """
    drawn = looks or {}
    views = [_view(found, mistakes.get(found.split, ())) | {"looks": drawn.get(found.split)} for found in assessments]
    return environment().get_template("evaluation.html.j2").render(
        title=title, facts=facts, views=views, folds=folds, bins=calibration.BINS, resamples=intervals.RESAMPLES
    )  # fmt: skip


def score(value: float, digits: int = 3) -> str:
    """Formats a score with `digits` digits, or a dash if it is undefined."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def percent(share: float) -> str:
    """Formats a share as a percentage: 0.934 -> 93 %.

    Shares below 1 % keep up to two significant digits, so that they do not become 0 %.
    """
    return f"{100 * share:.2g} %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def _view(found: Assessment, mistakes: Sequence[Mistake]) -> dict[str, Any]:
    """Returns the values that the template shows for one split."""
    matrix = found.matrix
    majority, rate = class_scores.majority_baseline(matrix)
    return {
        "split": found.split,
        "records": found.records,
        "labels": found.labels,
        "accuracy": class_scores.accuracy(matrix),
        "balanced_accuracy": class_scores.balanced_accuracy(matrix),
        "macro_f1": class_scores.macro_f1(matrix),
        "intervals": found.intervals,
        "grades": found.grades,
        "majority": found.labels[majority],
        "majority_rate": rate,
        "chance": class_scores.chance(matrix),
        "auc": found.mean_of_curves("auc"),
        "average_precision": found.mean_of_curves("average_precision"),
        "cautions": cautions(found),
        "rows": rows(found),
        "slices": slice_table.of_classes(found),
        "matrix": matrix.tolist() if len(matrix) <= MOST_CELLS else None,
        "confusions": confusions(found),
        "fitted": found.fitted,
        "before": found.calibration_scores(before=True),
        "after": found.calibration_scores(),
        "reliability": {name: svg_paths.reliability(found.reliability(before)) for name, before in _SIDES.items()},
        "roc": _lines(found, svg_paths.roc),
        "precision_recall": _lines(found, svg_paths.precision_recall),
        "share": float(matrix.sum(axis=1)[found.fitted.threshold.label_id] / max(1, found.records))
        if found.fitted.threshold
        else 0.0,
        "threshold": _threshold(found),
        "abstaining": _abstaining(found),
        "mistakes": mistakes,
        "wrong": found.records - int(matrix.trace()),
    }


_SIDES = {"as trained": True, "calibrated": False}


def rows(found: Assessment) -> list[Row]:
    """Returns the rows of the table of classes.

    The class with the lowest recall is first. Classes without records are last.
    """
    matrix = found.matrix
    support, recall = matrix.sum(axis=1), class_scores.recall(matrix)
    precision, f1 = class_scores.precision(matrix), class_scores.f1(matrix)
    made = []
    for c, (label, areas) in enumerate(zip(found.labels, found.areas, strict=True)):
        auc, area = areas or (math.nan, math.nan)
        reach = intervals.wilson(int(matrix[c, c]), int(support[c]))
        made.append(Row(label, int(support[c]), float(recall[c]), reach, float(precision[c]), float(f1[c]), auc, area))
    return sorted(made, key=lambda row: (math.isnan(row.recall), row.recall))


def confusions(found: Assessment) -> list[tuple[str, str, int, float]]:
    """Returns the most common confusions, the one with the most records first.

    An item is (true class, answer, records, their share of the true class).
    """
    matrix = found.matrix
    cells = [(t, a) for t, a in zip(*matrix.nonzero(), strict=True) if t != a]
    cells.sort(key=lambda cell: -int(matrix[cell]))
    support = matrix.sum(axis=1)
    return [
        (found.labels[t], found.labels[a], int(matrix[t, a]), float(matrix[t, a] / support[t]))
        for t, a in cells[:MOST_CONFUSIONS]
    ]


def _lines(found: Assessment, path: Any) -> list[Line]:
    """Draws one curve per class.

    With two classes and a threshold it is that of the class to find only. Otherwise these are at most MOST_LINES
    classes, those with the lowest average precision.
    """
    chosen = found.fitted.threshold
    known = found.curves_of_the_lowest(MOST_LINES if chosen is None else len(found.labels))
    return [
        path(found.labels[c], curve) for c, curve in sorted(known) if chosen is None or c == chosen.label_id
    ]  # fmt: skip


def _abstaining(found: Assessment) -> dict[str, Any]:
    """Returns the risk-coverage curve and rows of thresholds, the chosen one first."""
    chosen, own = found.fitted.abstention, found.abstaining
    return {
        "line": Line("", svg_paths.risk_coverage(found), 0.0),
        "chosen": own,
        "rows": [*([own] if own else []), *found.at_coverages()],
        "sentence": "" if chosen is None else abstention.sentence(chosen),
    }


def _threshold(found: Assessment) -> dict[str, Any] | None:
    """Returns the scores of the plain answer and of the chosen threshold for a table.

    None without a threshold.
    """
    chosen, by_threshold = found.fitted.threshold, found.at_threshold
    if chosen is None or by_threshold is None:
        return None
    columns = []
    for probability, matrix in ((PLAIN, found.matrix), (chosen.probability, by_threshold.matrix)):
        reach = intervals.of_matrix(matrix)["balanced_accuracy"]
        columns.append(
            {
                "probability": probability,
                "accuracy": class_scores.accuracy(matrix),
                "balanced_accuracy": class_scores.balanced_accuracy(matrix),
                "reach": reach,
                "recall": class_scores.recall(matrix).tolist(),
                "precision": class_scores.precision(matrix).tolist(),
            }
        )
    return {"label": chosen.label, "columns": columns, "at": chosen.probability, "lines": svg_paths.thresholds(found)}
