"""Shows the slices of a result as a table, the worst first."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.evaluation.assessment import Assessment
from trainer.evaluation.scores import class_scores
from trainer.evaluation.slices import Slices
from trainer.tasks.shown_result import Cell, Table, number, reach

MOST_ROWS = 100


def table(found: Slices, titles: Mapping[str, str], whole: float) -> Table | None:
    """Returns the table of slices; None without any slice or note.

    Args:
      titles: name of a score -> its heading; scores without one are not shown. The first one decides.
      whole: the deciding score of all records.
    """
    if not found.rows and not found.notes:
        return None
    rows: list[list[Cell]] = []
    for row in found.rows[:MOST_ROWS]:
        cells: list[Cell] = [f"{row.column} = {row.value}{' *' if row.worse else ''}", row.records]
        for name in titles:
            cells += [row.scores[name].value, reach(row.scores[name].interval)]
        rows.append(cells)
    columns = [part for title in titles.values() for part in (title, "95 %")]
    return Table("Slices", _text(found, next(iter(titles.values())), whole), ("slice", "records", *columns), rows)


def of_classes(found: Assessment) -> Table | None:
    """Returns the table of the slices of a classifier, or None without any."""
    titles = {"balanced_accuracy": "balanced accuracy", "accuracy": "accuracy"}
    return table(found.slices, titles, class_scores.balanced_accuracy(found.matrix))


def _text(found: Slices, title: str, whole: float) -> str:
    """Returns the sentences above the table."""
    told = [f"Parts of the split by column, the worst first; {title} of all records is {number(whole)}."]
    if found.rows:
        told.append("With *, the whole interval of a part is worse than that.")
    if len(found.rows) >= 20:
        told.append(f"By chance alone, about {len(found.rows) / 40:.0f} of {len(found.rows)} parts would have it.")
    if len(found.rows) > MOST_ROWS:
        told.append(f"The first {MOST_ROWS} of {len(found.rows)} parts; metrics.json has all.")
    return " ".join([*told, *found.notes])
