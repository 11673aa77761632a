"""Makes plain text for the terminal: tables, numbers with a noun, and the line of an error that matters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the trainer uses this module, too, and needs no more of it than `first_line`
    from pipelines.contract import Contract
    from pipelines.core.summary import Summary

_PLACES = ("Graph execution error", "Detected at node", "<stack traces", 'File "', "[[")  # where it was in a graph


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns under their headings: the first aligned left, numbers right."""
    cells = [list(header), *[[f"{c:,}" if isinstance(c, int) else str(c) for c in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for row in cells:
        first, *others = (c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def plural(count: int, noun: str) -> str:
    """ "1 shard", "1,200 shards"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def first_line(error: BaseException, limit: int = 300) -> str:
    """Returns the first line of an error that says what was wrong, else its type.

    TensorFlow begins with where in the graph it was: such lines are left out.

    Args:
      limit: characters at most.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(_PLACES)]
    return (told or [type(error).__name__])[0][:limit]


def summary_table(contract: Contract, summary: Summary) -> str:
    """What `prepare` prints at its end: read, written, rejected, and every class before and after, per split."""
    rows = [
        (f"{split}/{label}", c.natural, c.stored - c.copies, c.copies, c.unused, c.stored)
        for split, counts in summary.classes.items()
        for label, c in counts.items()
    ]
    for split, counts in summary.classes.items():
        total = [sum(getattr(c, f) for c in counts.values()) for f in ("natural", "stored", "copies", "unused")]
        rows.append((f"{split}, all", total[0], total[1] - total[2], total[2], total[3], total[1]))
    rejected = ", ".join(f"{reason} {count}" for reason, count in summary.rejected.items()) or "none"
    shards = sum(len(split.shards) for split in contract.splits.values())
    lines = [
        table(("split/class", "images", "originals", "copies", "left out", "records"), rows),
        "",
        f"Read {summary.read:,}, rejected {sum(summary.rejected.values()):,} ({rejected}), wrote "
        f"{plural(summary.written, 'record')} in {plural(shards, 'shard')}.",
    ]
    if summary.duplicate_groups:
        lines.append(
            f"Equal images: {plural(summary.duplicate_groups, 'group')}, "
            f"{summary.conflicting_groups} under conflicting labels."
        )
    lines += [f"warning: {warning}" for warning in summary.warnings]
    seconds = summary.engine["seconds"]
    lines.append(f"{summary.engine['runner']}, {seconds:.1f} s, {summary.engine['images_per_second']:.0f} records/s.")
    return "\n".join(lines)
