"""Formats the result of `prepare` as a table for the terminal.

It shows what a run read, wrote and rejected.
"""

from __future__ import annotations

from pipelines.contract import Contract
from pipelines.core.elements import UNLABELLED
from pipelines.core.summary import Summary
from pipelines.core.text import cut, plural, printable, table

MOST_CLASSES = 20  # classes of a split that the table shows


def summary_table(contract: Contract, summary: Summary) -> str:
    """Returns the table that `prepare` prints at its end.

    It shows what was read, written and rejected, and every class before and after, per split.
    """
    rows: list[tuple[object, ...]] = [
        (f"{split}/{printable(cut(label, 60))}", c.natural, c.stored - c.copies, c.copies, c.unused, c.stored)
        for split, counts in summary.classes.items()
        for label, c in list(counts.items())[:MOST_CLASSES]
    ]
    more = [len(counts) - MOST_CLASSES for counts in summary.classes.values() if len(counts) > MOST_CLASSES]
    for split in summary.classes:
        c = summary.of_split(split)
        rows.append((f"{split}, all", c.natural, c.stored - c.copies, c.copies, c.unused, c.stored))
    rejected = ", ".join(f"{reason} {count}" for reason, count in summary.rejected.items()) or "none"
    shards = sum(len(split.shards) for split in contract.all_splits.values())
    if more:
        rows.append((f"{more[0]:,} more classes: see the report", *5 * ("",)))
    name = "label" if summary.images else "class"
    lines = [
        table((f"split/{name}", "images", "originals", "copies", "left out", "records"), rows),
        "",
        f"Read {summary.read:,}, rejected {sum(summary.rejected.values()):,} ({rejected}), wrote "
        f"{plural(summary.written, 'record')} in {plural(shards, 'shard')}.",
    ]
    if summary.duplicate_groups:
        lines.append(
            f"Equal images: {plural(summary.duplicate_groups, 'group')}, "
            f"{summary.conflicting_groups} under conflicting labels."
        )
    if contract.unlabelled is not None:
        lines.append(f"Without a label: {plural(contract.unlabelled.records, 'image')}, the split {UNLABELLED}.")
    if contract.like:
        lines.append(
            f"Like {contract.like['name']}: {plural(contract.like['kept'], 'image')} of it keep their split, "
            f"{contract.like['new']:,} are new."
        )
    lines += [f"warning: {warning}" for warning in summary.warnings]
    seconds = summary.engine["seconds"]
    lines.append(f"{summary.engine['runner']}, {seconds:.1f} s, {summary.engine['images_per_second']:.0f} records/s.")
    return "\n".join(lines)
