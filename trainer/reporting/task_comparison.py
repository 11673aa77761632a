"""Writes a comparison of runs that answer labels or numbers.

It is written as text, as JSON and as a page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trainer.evaluation.scores import class_scores
from trainer.evaluation.scores.intervals import Interval
from trainer.reporting import class_page
from trainer.reporting.text_columns import columns
from trainer.tasks.answer_comparison import Comparison, Difference
from trainer.tasks.shown_result import number, reach

ONE_SEED = (
    "There is only one run of a setting: the intervals are about these runs, and another seed may reverse the "
    "difference. Train several seeds of each."
)


def text(found: Comparison) -> str:
    """Renders the comparison as text for a terminal.

    It lists every run, then every setting with several seeds, then every score of a setting against the first one.
    """
    names = list(found.scores[0])
    rows = [("run", *(f"{name.replace('_', ' ')} (95 %)" for name in names))]
    for run, scores, intervals in zip(found.runs, found.scores, found.intervals, strict=True):
        rows.append((run.name, *(f"{number(scores[n])} {reach(intervals[n])}" for n in names)))
    lines = [f"{found.split}, {found.records:,} records, {found.kind}", "", *columns(rows)]
    several = [setting for setting in found.settings if len(setting.runs) > 1]
    if several:
        rows = [("setting", "runs", *(f"{name.replace('_', ' ')}, mean ± sd" for name in names))]
        for setting in several:
            spreads = (setting.spreads[n] for n in names)
            cells = (f"{number(s.mean)} ± {number(s.deviation or 0.0)}" for s in spreads)
            rows.append((setting.name, str(len(setting.runs)), *cells))
        lines += ["", *columns(rows)]
    second = ""
    for d in found.differences:
        if d.second != second:
            second = d.second
            lines += ["", f"{d.second}, against {d.first}:"]
        seeds = f", over seeds {reach(d.seeds_interval)}" if d.seeds_interval else ""
        score = d.score.replace("_", " ")
        seeds += f", over folds {reach(d.folds_interval)}" if d.folds_interval else ""
        lines.append(f"  {score} {d.value:+.4g}, 95 % over records {reach(d.interval)}{seeds}: {d.verdict}")
    return "\n".join([*lines, *(["", f"note: {note(found)}"] if note(found) else [])])


def note(found: Comparison) -> str:
    """Returns a note on the limits of intervals and verdicts, "" for none."""
    return ONE_SEED if any(len(setting.runs) == 1 for setting in found.settings) else ""


def html(found: Comparison) -> str:
    """Renders the comparison as an HTML page.

    Like the page of an evaluation, it loads nothing from elsewhere.
    """
    made = class_page.environment()
    made.filters.update(number=number, reach=reach)
    others = list(dict.fromkeys(d.second for d in found.differences))
    differences = [
        {"name": name, "scores": [_shown(d) for d in found.differences if d.second == name]} for name in others
    ]
    return made.get_template("task_compare.html.j2").render(
        found=found, names=list(found.scores[0]), note=note(found), differences=differences,
        first=found.differences[0].first if found.differences else "",
    )  # fmt: skip


def _shown(found: Difference) -> dict[str, Any]:
    """Returns a difference for the page.

    Scores have units of their own, so each row has a scale of its own: "band", "line" and "at" are per cent of it, and
    50 is no difference.
    """
    drawn = [interval for interval in (found.interval, found.seeds_interval) if interval is not None]
    scale = max((abs(end) for interval in drawn for end in interval if not math.isnan(end)), default=0.0)
    places = [_places(interval, scale) for interval in drawn] if scale and not math.isnan(found.value) else []
    return {
        "name": found.score.replace("_", " "),
        "value": found.value,
        "interval": found.interval,
        "seeds": found.seeds_interval,
        "folds": found.folds_interval,
        "verdict": found.verdict,
        "band": places[0] if places else None,
        "line": places[1] if len(places) > 1 else None,
        "at": _places([found.value], scale)[0] if places else None,
    }


def _places(values: Sequence[float] | Interval, scale: float) -> list[float]:
    return [min(100.0, max(0.0, 50 + 50 * float(value) / scale)) for value in values]


def _ends(interval: Interval | None) -> list[Any] | None:
    return [class_scores.plain(end) for end in interval] if interval else None


def to_dict(found: Comparison) -> dict[str, Any]:
    """Returns the comparison as plain numbers for the output of --json."""
    return {
        "split": found.split,
        "task": found.kind,
        "records": found.records,
        "runs": [
            {
                "run": run.name,
                "seed": run.config.get("seed"),
                **{name: class_scores.plain(value) for name, value in scores.items()},
                **{f"{name}_interval": [class_scores.plain(end) for end in ends] for name, ends in intervals.items()},
            }
            for run, scores, intervals in zip(found.runs, found.scores, found.intervals, strict=True)
        ],
        "differences": [
            {
                "first": d.first,
                "second": d.second,
                "score": d.score,
                "difference": class_scores.plain(d.value),
                "interval": [class_scores.plain(end) for end in d.interval],
                "interval_over_seeds": _ends(d.seeds_interval),
                "interval_over_folds": _ends(d.folds_interval),
                "verdict": d.verdict,
            }
            for d in found.differences
        ],
    }
