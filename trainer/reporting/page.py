"""The page of an evaluation: one self-contained HTML file, evaluation.html.

As the dataset's report it loads nothing: styles are inline, pictures are data URIs, charts are SVG, and a content
security policy forbids scripts and the network. Names of classes, keys and files come from strangers: the template
escapes all of them, and characters that could turn the text around or break the file are shown as escapes.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from trainer.evaluation import calibration, intervals, metrics
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.cautions import cautions
from trainer.evaluation.threshold import PLAIN
from trainer.reporting import svg_paths
from trainer.reporting.svg_paths import Line

if TYPE_CHECKING:
    from trainer.evaluation.mistakes import Mistake  # needs TensorFlow, which comparing runs does not

MOST_CELLS = 20  # classes; of more, the commonest confusions are listed instead of a matrix
MOST_CONFUSIONS = 40
MOST_LINES = 8  # classes in a chart
# Lone surrogates (undecodable file names), controls, and the marks that reverse the direction of text.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


@dataclasses.dataclass(frozen=True)
class Row:
    """One class. Numbers are NaN where undefined."""

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
    """Escapes all that is not markup, and fails at a name that is not there."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    made.filters.update(score=score, n="{:,}".format, percent=percent, tail=tail)
    return made


def render(
    title: str, facts: Mapping[str, str], assessments: Sequence[Assessment], mistakes: Mapping[str, Sequence[Mistake]]
) -> str:
    """The page as a string that encodes to UTF-8.

    Args:
      title: what was evaluated.
      facts: name -> text, for the end of the page.
      assessments: one a split, in the order of the page. mistakes: split -> pictures.
    """
    views = [_view(found, mistakes.get(found.split, ())) for found in assessments]
    return environment().get_template("evaluation.html.j2").render(
        title=title, facts=facts, views=views, bins=calibration.BINS, resamples=intervals.RESAMPLES
    )  # fmt: skip


def score(value: float, digits: int = 3) -> str:
    """A score in three digits; a dash where it is undefined."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def percent(share: float) -> str:
    """0.934 -> 93 %; small shares keep a digit, so that they are not nothing."""
    return f"{100 * share:.2g} %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def tail(text: str, length: int = 30) -> str:
    """The end of a path, which tells it from its neighbours: at most `length` characters, cut at the front."""
    return text if len(text) <= length else "…" + text[1 - length :]


def _finalize(value: Any) -> Any:
    """What jinja puts into the page: text without characters that reorder or break it; markup and numbers pass."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _UNPRINTABLE.sub(lambda m: f"\\u{ord(m.group()):04x}", value)


def _view(found: Assessment, mistakes: Sequence[Mistake]) -> dict[str, Any]:
    """What the template shows of one split."""
    matrix = found.matrix
    majority, rate = metrics.majority_baseline(matrix)
    return {
        "split": found.split,
        "records": found.records,
        "labels": found.labels,
        "accuracy": metrics.accuracy(matrix),
        "balanced_accuracy": metrics.balanced_accuracy(matrix),
        "macro_f1": metrics.macro_f1(matrix),
        "intervals": found.intervals,
        "majority": found.labels[majority],
        "majority_rate": rate,
        "chance": metrics.chance(matrix),
        "auc": found.mean_of_curves("auc"),
        "average_precision": found.mean_of_curves("average_precision"),
        "cautions": cautions(found),
        "rows": rows(found),
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
        "mistakes": mistakes,
        "wrong": found.records - int(matrix.trace()),
    }


_SIDES = {"as trained": True, "calibrated": False}


def rows(found: Assessment) -> list[Row]:
    """The classes, the lowest recall first, those without records last."""
    matrix = found.matrix
    support, recall = matrix.sum(axis=1), metrics.recall(matrix)
    precision, f1 = metrics.precision(matrix), metrics.f1(matrix)
    made = []
    for c, (label, curve) in enumerate(zip(found.labels, found.curves, strict=True)):
        auc, area = (curve.auc, curve.average_precision) if curve else (math.nan, math.nan)
        reach = intervals.wilson(int(matrix[c, c]), int(support[c]))
        made.append(Row(label, int(support[c]), float(recall[c]), reach, float(precision[c]), float(f1[c]), auc, area))
    return sorted(made, key=lambda row: (math.isnan(row.recall), row.recall))


def confusions(found: Assessment) -> list[tuple[str, str, int, float]]:
    """True class, answer, records, and their share of the true class: of wrong answers, the commonest first."""
    matrix = found.matrix
    cells = [(t, a) for t, a in zip(*matrix.nonzero(), strict=True) if t != a]
    cells.sort(key=lambda cell: -int(matrix[cell]))
    support = matrix.sum(axis=1)
    return [
        (found.labels[t], found.labels[a], int(matrix[t, a]), float(matrix[t, a] / support[t]))
        for t, a in cells[:MOST_CONFUSIONS]
    ]


def _lines(found: Assessment, path: Any) -> list[Line]:
    """One a class: all of a few classes, of many those with the lowest average precision, of two the one to find."""
    chosen = found.fitted.threshold
    known = [(c, curve) for c, curve in enumerate(found.curves) if curve is not None]
    if chosen is not None:
        known = [(c, curve) for c, curve in known if c == chosen.label_id]
    known = sorted(sorted(known, key=lambda pair: pair[1].average_precision)[:MOST_LINES], key=lambda pair: pair[0])
    return [path(found.labels[c], curve) for c, curve in known]


def _threshold(found: Assessment) -> dict[str, Any] | None:
    """Beside each other what the plain answer and the chosen threshold make of the split."""
    chosen, by_threshold = found.fitted.threshold, found.at_threshold
    if chosen is None or by_threshold is None:
        return None
    columns = []
    for probability, matrix in ((PLAIN, found.matrix), (chosen.probability, by_threshold.matrix)):
        reach = intervals.percentiles(intervals.bootstrap(matrix).balanced_accuracy)
        columns.append(
            {
                "probability": probability,
                "accuracy": metrics.accuracy(matrix),
                "balanced_accuracy": metrics.balanced_accuracy(matrix),
                "reach": reach,
                "recall": metrics.recall(matrix).tolist(),
                "precision": metrics.precision(matrix).tolist(),
            }
        )
    return {"label": chosen.label, "columns": columns, "at": chosen.probability, "lines": svg_paths.thresholds(found)}
