"""Writes a comparison of runs as text for a terminal, as JSON and as a page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from trainer.evaluation.compare import Comparison, Difference, Setting, Spread, spread
from trainer.evaluation.run_predictions import Answers
from trainer.evaluation.scores import class_scores, intervals
from trainer.evaluation.scores.intervals import Interval
from trainer.reporting import class_page
from trainer.reporting.text_columns import columns

SCORES = ("accuracy", "balanced_accuracy")
ONE_SEED = (
    "There is only one run of a setting: the intervals and tests are about these runs, and another seed may reverse "
    "the difference. "
    "Train several seeds of each."
)
ONE_SETTING = (
    "These runs differ only in the seed: if one is better, the reason is its seed and not a setting. "
    "Compare with runs of other options."
)
OTHER_SEEDS = (
    "Some settings do not have two runs of equal seeds: it is not known how much other seeds would change the "
    "difference. Train "
    "both with the same seeds."
)


def text(found: Comparison) -> str:
    """Renders the comparison as text for a terminal.

    It lists every run, then the spread of settings with several seeds, then every setting against the first one.
    """
    label, rate = found.majority
    chance = class_scores.chance(found.runs[0].matrix)
    lines = [
        f"{found.split}, {len(found.runs[0].keys):,} records; always answering {label!r}: accuracy {rate:.3f}, "
        f"balanced accuracy {chance:.3f}",
        "",
    ]
    rows = [("run", *(f"{name.replace('_', ' ')} (95 %)" for name in SCORES))]
    for run in found.runs:
        rows.append((run.name, *(f"{getattr(run, s):.3f} {_reach(reach(run)[s])}" for s in SCORES)))
    lines += columns(rows)
    several = [setting for setting in found.settings if len(setting.runs) > 1]
    if several:
        rows = [("setting", "runs", *(f"{name.replace('_', ' ')}, mean ± sd (least-greatest)" for name in SCORES))]
        for setting in several:
            rows.append((setting.name, str(len(setting.runs)), *(_spread(spreads(setting)[s]) for s in SCORES)))
        lines += ["", *columns(rows)]
    for difference in found.differences:
        lines += ["", *_difference(difference)]
    return "\n".join([*lines, *(["", f"note: {note(found)}"] if note(found) else [])])


def to_dict(found: Comparison) -> dict[str, Any]:
    """Returns the comparison as plain numbers for the output of --json."""
    label, rate = found.majority
    return {
        "split": found.split,
        "records": len(found.runs[0].keys),
        "majority_baseline": {"label": label, "accuracy": rate},
        "runs": [
            {
                "run": run.name,
                "seed": run.config.get("seed"),
                **{s: getattr(run, s) for s in SCORES},
                **{f"{s}_interval": list(reach(run)[s]) for s in SCORES},
                "recall": run.recalls,
            }
            for run in found.runs
        ],
        "settings": [
            {
                "setting": setting.name,
                "runs": [run.name for run in setting.runs],
                **{name: dataclasses.asdict(value) for name, value in spreads(setting).items()},
            }
            for setting in found.settings
        ],
        "differences": [
            {
                "first": d.first,
                "second": d.second,
                "balanced_accuracy": d.balanced_accuracy,
                "balanced_accuracy_interval": list(d.balanced_interval),
                "equal_seeds": d.seeds,
                "balanced_accuracy_interval_over_seeds": list(d.seeds_interval) if d.seeds_interval else None,
                "balanced_accuracy_interval_over_folds": list(d.folds_interval) if d.folds_interval else None,
                "accuracy": d.accuracy,
                "accuracy_interval": list(d.accuracy_interval),
                "verdict": verdict(d),
                "mcnemar": [dataclasses.asdict(test) for test in d.tests],
            }
            for d in found.differences
        ],
    }


def html(found: Comparison) -> str:
    """Renders the comparison as an HTML page.

    Like the page of an evaluation, it loads nothing from elsewhere.
    """
    label, rate = found.majority
    return class_page.environment().get_template("compare.html.j2").render(
        found=found, label=label, rate=rate, chance=class_scores.chance(found.runs[0].matrix), scores=SCORES,
        reach=[reach(run) for run in found.runs], spreads=[spreads(setting) for setting in found.settings],
        classes=list(found.runs[0].recalls), verdicts=[verdict(d) for d in found.differences],
        note=note(found), scale=_scale(found.differences),
    )  # fmt: skip


def reach(run: Answers) -> dict[str, Interval]:
    """Computes the 95 % interval of each of SCORES for this run alone."""
    found = intervals.of_matrix(run.matrix)
    return {name: found[name] for name in SCORES}


def spreads(setting: Setting) -> dict[str, Spread]:
    """Computes the spread of each of SCORES and of the recall of each class."""
    found = {name: spread([getattr(run, name) for run in setting.runs]) for name in SCORES}
    names = setting.runs[0].recalls
    return found | {f"recall of {n}": spread([run.recalls[n] for run in setting.runs]) for n in names}


def verdict(difference: Difference) -> str:
    """Returns the verdict on the balanced accuracies.

    It is "better" or "worse" only if no available interval contains 0.
    """
    every = (difference.balanced_interval, difference.seeds_interval, difference.folds_interval)
    found = [interval for interval in every if interval]
    if all(low > 0 for low, _ in found):
        return "better"
    if all(high < 0 for _, high in found):
        return "worse"
    return "no clear difference"


def note(found: Comparison) -> str:
    """Returns a note on the limits of intervals and verdicts, "" for none."""
    if len(found.settings) < 2:
        return ONE_SETTING
    if any(len(setting.runs) == 1 for setting in found.settings):
        return ONE_SEED
    return "" if all(d.seeds_interval for d in found.differences) else OTHER_SEEDS


def _difference(found: Difference) -> list[str]:
    lines = [
        f"{found.second}, against {found.first}: {verdict(found)}",
        f"  balanced accuracy {found.balanced_accuracy:+.3f}, 95 % over records {_signed(found.balanced_interval)}"
        + (f", over {found.seeds} seeds {_signed(found.seeds_interval)}" if found.seeds_interval else "")
        + (f", over folds {_signed(found.folds_interval)}" if found.folds_interval else ""),
        f"  accuracy {found.accuracy:+.3f}, 95 % over records {_signed(found.accuracy_interval)}",
    ]
    for test in found.tests:
        adjusted = "" if math.isclose(test.p, test.adjusted) else f", {test.adjusted:.2g} after Holm's correction"
        lines.append(
            f"  McNemar: {test.only_first} right in {test.first} alone, {test.only_second} in {test.second} alone: "
            f"p = {test.p:.2g}{adjusted}"
        )
    return lines


def _scale(differences: Sequence[Difference]) -> float:
    """Returns the greatest distance from 0 that a chart of differences shows."""
    ends = [end for d in differences for end in (*d.balanced_interval, *(d.seeds_interval or ()))]
    return max([0.05, *(float(abs(end)) for end in ends)])


def _spread(found: Spread) -> str:
    deviation = "" if found.deviation is None else f" ± {found.deviation:.3f}"
    return f"{found.mean:.3f}{deviation} ({found.least:.3f}-{found.greatest:.3f})"


def _reach(interval: Interval) -> str:
    return f"{interval.low:.3f}-{interval.high:.3f}"


def _signed(interval: Interval) -> str:
    return f"{interval.low:+.3f} to {interval.high:+.3f}"
