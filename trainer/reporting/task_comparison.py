"""Writes a comparison of runs that answer labels or numbers, as text and as JSON."""

from __future__ import annotations

from typing import Any

from trainer.evaluation.scores import metrics
from trainer.reporting.text_columns import columns
from trainer.tasks.compare import Comparison
from trainer.tasks.report import number, reach

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
    if any(len(setting.runs) == 1 for setting in found.settings):
        lines += ["", f"note: {ONE_SEED}"]
    return "\n".join(lines)


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
                **{name: metrics.plain(value) for name, value in scores.items()},
                **{f"{name}_interval": [metrics.plain(end) for end in ends] for name, ends in intervals.items()},
            }
            for run, scores, intervals in zip(found.runs, found.scores, found.intervals, strict=True)
        ],
        "differences": [
            {
                "first": d.first,
                "second": d.second,
                "score": d.score,
                "difference": metrics.plain(d.value),
                "interval": [metrics.plain(end) for end in d.interval],
                "interval_over_seeds": [metrics.plain(end) for end in d.seeds_interval] if d.seeds_interval else None,
                "interval_over_folds": [metrics.plain(end) for end in d.folds_interval] if d.folds_interval else None,
                "verdict": d.verdict,
            }
            for d in found.differences
        ],
    }
