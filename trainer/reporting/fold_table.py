"""Makes a table of the scores of each fold and of their spread."""

from __future__ import annotations

from pipelines.core.text import plural
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.out_of_fold import Folds
from trainer.evaluation.scores import class_scores
from trainer.tasks.shown_result import Cell, Table
from trainer.tasks.task import Result


def scores(found: Assessment | Result) -> dict[str, float]:
    """Returns the scores of a result that are compared over folds, by name."""
    if isinstance(found, Result):
        return dict(found.scores)
    matrix = found.matrix
    return {
        "balanced_accuracy": class_scores.balanced_accuracy(matrix),
        "accuracy": class_scores.accuracy(matrix),
        "macro_f1": class_scores.macro_f1(matrix),
    }


def table(found: Folds) -> Table:
    """Returns a row for each fold, and one each for mean, deviation and range."""
    names = list(found.folds[0].scores)
    chosen = (f"{found.chosen} of the last epoch",) if found.chosen else ()
    rows: list[tuple[Cell, ...]] = [
        (
            str(fold.number), fold.records, fold.kept, *(fold.scores[name] for name in names),
            *((fold.last,) if found.chosen else ()),
        )
        for fold in found.folds
    ]  # fmt: skip
    spreads = found.spreads
    blank: tuple[Cell, ...] = ("",) * len(chosen)
    for title, field in (("mean", "mean"), ("deviation", "deviation"), ("least", "least"), ("greatest", "greatest")):
        values = (getattr(spreads[name], field) if name in spreads else None for name in names)
        rows.append((title, "", "", *("" if value is None else value for value in values), *blank))
    return Table(
        "Folds",
        _told(found),
        ("fold", "records", "kept epoch", *(name.replace("_", " ") for name in names), *chosen),
        rows,
    )


def _told(found: Folds) -> str:
    often = f", {found.repeats} times" if found.repeats > 1 else ""
    told = (
        f"Train was divided into {plural(found.count, 'fold')}{often}. Each fold was answered by a network that "
        f"learned from the other folds. Served is {found.served}."
    )
    if not found.chosen:
        return told
    return (
        f"{told} The epoch of each network was chosen on its own fold, which makes these scores a little too good. The "
        "last column has the score at the last epoch, for which nothing was chosen: --validation none keeps that one."
    )
