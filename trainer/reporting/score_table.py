"""Formats the scores of a split as text for a terminal."""

from __future__ import annotations

import math

import numpy as np

from trainer.evaluation.assessment import Assessment
from trainer.evaluation.cautions import cautions
from trainer.evaluation.scores import class_scores, intervals
from trainer.evaluation.scores.intervals import Interval
from trainer.evaluation.scores.threshold import PLAIN
from trainer.tasks import slice_table
from trainer.tasks.shown_result import Table, number, reach, text
from trainer.tasks.task import Result

MOST_SLICES = 10  # the worst ones
MAX_ROWS = 60  # above this the lines leave the screen, and those of the whole split with them


def table(found: Assessment | Result) -> str:
    """Formats the scores of a split as text for a terminal, those of its parts first."""
    return _of_report(found) if isinstance(found, Result) else _of_classes(found)


def _of_report(found: Result) -> str:
    report = found.report()
    lines = [line for shown in report.tables for line in [*rows(shown), ""]]
    lines += _slices(report.slices)
    width = max(len(headline.name) for headline in report.headlines)
    for name, value, interval, remark in report.headlines:
        told = [f"{name:<{width}}  {number(value)}"]
        told += [reach(interval)] if interval else []
        lines.append("  ".join([*told, f"({remark})"]))
    return "\n".join([*lines, *(f"note: {sentence}" for sentence in found.cautions())])


def _slices(shown: Table | None) -> list[str]:
    """Formats the worst slices, and an empty line behind them; nothing without slices."""
    return [] if shown is None else [shown.text, *(rows(shown, MOST_SLICES) if shown.rows else ()), ""]


def rows(shown: Table, most: int = MAX_ROWS) -> list[str]:
    """Formats a table; of more than `most` rows, the first ones."""
    cells = [list(shown.columns), *([text(cell) for cell in row] for row in shown.rows[:most])]
    widths = [max(len(row[i]) for row in cells) for i in range(len(shown.columns))]
    lines = []
    for row in cells:
        rest = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([f"{row[0]:<{widths[0]}}", *rest]))
    if len(shown.rows) > most:
        lines.append(f"These are the first {most} of {len(shown.rows):,} rows; the report lists all.")
    return lines


def _of_classes(found: Assessment) -> str:
    """Formats the scores of each class and of the split as text for a terminal.

    The scores of the split stand next to those of always answering one class. Of more than MAX_ROWS classes, those with
    the lowest recall are shown.
    """
    width = max(len("class"), *(len(label) for label in found.labels))
    lines = [f"{'class':<{width}}  precision  recall  (95 %)         F1    AUC     AP  support"]
    matrix, support, recall = found.matrix, found.matrix.sum(axis=1), class_scores.recall(found.matrix)
    scores = class_scores.precision(matrix), recall, class_scores.f1(matrix)
    columns = zip(range(len(support)), found.labels, *scores, found.areas, support, strict=True)
    shown = set(range(len(support)))
    if len(support) > MAX_ROWS:  # a class without records has no recall, which sorts behind all others
        shown = set(np.argsort(recall, kind="stable")[:MAX_ROWS].tolist())
    for c, label, p, r, f, areas, n in columns:
        if c not in shown:
            continue
        recalled = _reach(intervals.wilson(int(matrix[c, c]), int(n)))
        auc, ap = areas or (math.nan, math.nan)
        lines.append(
            f"{label:<{width}}  {_cell(p):>9}  {_cell(r):>6}  {recalled:<11}  {_cell(f):>5}  {_cell(auc):>5}  "
            f"{_cell(ap):>5}  {n:>7}"
        )
    if len(shown) < len(support):
        lines.append(f"These {len(shown)} of {len(support):,} classes have the lowest recall; the report lists all.")
    if parts := _slices(slice_table.of_classes(found)):
        lines += ["", *parts]
    majority, rate = class_scores.majority_baseline(matrix)
    whole = {name: _reach(interval) for name, interval in found.intervals.items()}
    lines += [
        f"accuracy           {_cell(class_scores.accuracy(matrix))} {whole['accuracy']}  "
        f"(always answering {found.labels[majority]!r}: {_cell(rate)})",
        f"balanced accuracy  {_cell(class_scores.balanced_accuracy(matrix))} {whole['balanced_accuracy']}  "
        f"(always answering one class: {_cell(class_scores.chance(matrix))})",
        f"macro F1           {_cell(class_scores.macro_f1(matrix))} {whole['macro_f1']}  "
        f"mean AUC {_cell(found.mean_of_curves('auc'))}  loss {_cell(found.scores.loss)}",
        *_grade_lines(found),
        *_calibration_lines(found),
        *_abstention_lines(found),
        *(f"note: {sentence}" for sentence in cautions(found)),
    ]
    return "\n".join(lines)


def _grade_lines(found: Assessment) -> list[str]:
    """Formats the scores of grades; nothing of classes without an order."""
    if found.grades is None:
        return []
    own = found.grades
    return [
        f"quadratic kappa    {_cell(own.kappa)} {_reach(own.kappa_interval)}  (always answering one grade: 0)",
        f"mean error         {_cell(own.error)} {_reach(own.error_interval)} grades  "
        f"(always answering the middle one: {_cell(own.constant_error)})",
    ]


def _calibration_lines(found: Assessment) -> list[str]:
    if not found.fitted.split:
        return [f"calibration error  {_cell(found.calibration_scores()['ece'])}  (nothing fitted: no validation split)"]
    before, after = (found.calibration_scores(b) for b in (True, False))
    lines = [
        f"calibration error  {_cell(after['ece'])}  (by chance alone: {_cell(after['ece_by_chance'])}; before "
        f"temperature {found.fitted.temperature:.3g}, fitted on "
        f"{found.fitted.split!r}: {_cell(before['ece'])})"
    ]
    chosen, by_threshold = found.fitted.threshold, found.at_threshold
    if chosen is not None and by_threshold is not None:
        recall = class_scores.recall(by_threshold.matrix)[chosen.label_id]
        plain = class_scores.recall(found.matrix)[chosen.label_id]
        lines.append(
            f"threshold          {chosen.label!r} from probability {chosen.probability:.3g}: balanced accuracy "
            f"{_cell(class_scores.balanced_accuracy(by_threshold.matrix))}, recall of {chosen.label!r} {_cell(recall)} "
            f"(from {PLAIN}: {_cell(class_scores.balanced_accuracy(found.matrix))}, {_cell(plain)})"
        )
    return lines


def _abstention_lines(found: Assessment) -> list[str]:
    own = found.abstaining
    if own is None:
        return []
    return [
        f"abstaining         below probability {own.probability:.3g}: {own.answered:,} of {own.records:,} answered "
        f"({_cell(own.coverage)}), error among them {_cell(own.error)} {_reach(own.reach)}  "
        f"(without: {_cell(1 - class_scores.accuracy(found.matrix))})"
    ]


def _reach(interval: Interval) -> str:
    return "-" if math.isnan(interval.low) else f"{interval.low:.3f}-{interval.high:.3f}"


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
