"""Formats text and tables as Markdown. Names of classes and files are untrusted."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.core.text import printable, utf8_text
from trainer.tasks.shown_result import Cell, Table, text

_SPECIAL = re.compile(r"[\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)")


def safe(name: str) -> str:
    r"""Escapes what Markdown or HTML would take for markup.

    >>> safe("a|b"), safe("<b>"), safe("cat_1")
    ('a\\|b', '\\<b\\>', 'cat_1')
    """
    return _SPECIAL.sub(lambda found: f"\\{found.group()}", printable(utf8_text(name)))


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Formats a table; columns of numbers are aligned right."""
    of_numbers = [all(not isinstance(row[i], str) for row in rows) for i in range(len(columns))]
    aligned = ["---:" if numbers else "---" for numbers in of_numbers]
    lines = [[safe(column) for column in columns], aligned]
    lines += [[safe(text(cell)) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def of_table(shown: Table, most: int) -> str:
    """Formats a table of a report; of more than `most` rows, the first ones."""
    told = f"\n\nThe first {most} of {len(shown.rows):,} rows." if len(shown.rows) > most else ""
    return table(shown.columns, shown.rows[:most]) + told
