"""Formats what `look` finds: images by class and split, and what is not used."""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from pipelines.core import class_order, name_variants
from pipelines.core.elements import HARMLESS
from pipelines.core.summary import Rejected, reading_order
from pipelines.core.text import cut, plural, printable, table
from pipelines.inputs import listing
from pipelines.tasks.kinds import KINDS

MOST_ROWS = 40  # classes that the table shows
EXAMPLES = 6  # images of a class on the contact sheet
MOST_CLASSES = 30  # classes on the contact sheet
MAX_REJECT_RATE = 0.01  # the default of prepare
_SAYS_NONE = re.compile(r"(no|none|normal|nothing|negative|healthy|background|empty|other)([ _-].*)?", re.IGNORECASE)
_NO_LABEL, _NUMBERS = "(no label)", "(numbers)"  # rows of images without a label, and of those with numbers


class Found(NamedTuple):
    """Holds what is listed.

    Attributes:
      told: sentences that say how the input is read.
      images: label -> split -> number of images.
      aside: reason -> number of inputs that would not be used.
      firsts: reason -> the first of these inputs, and why.
      lost: class -> why it would have no image.
      examples: label -> paths of the first images.
      classes: the labels in the order of their ids.
      total: split -> number of images. An image of several labels counts for each of them in `images`.
    """

    told: tuple[str, ...]
    images: dict[str, collections.Counter[str]]
    aside: collections.Counter[str]
    firsts: dict[str, tuple[str, str]]
    lost: dict[str, str]
    examples: dict[str, list[str]]
    classes: tuple[str, ...] = ()
    total: Mapping[str, int] = MappingProxyType({})


def count(reading: listing.Reading, allow_lost_classes: bool) -> Found:
    """Lists an input and counts what it holds.

    Raises:
      SourceError: as `listing.list_sources`.
    """
    kind, total = KINDS[reading.spec.table.task], collections.Counter[str]()
    beside: set[str] = set()  # labels that stand beside others
    found = Found(reading.told, {}, collections.Counter(), {}, dict(reading.lost), {}, total=total)
    rejected: dict[str, str] = {}
    for item in listing.list_sources(reading.spec):
        if isinstance(item, Rejected):
            found.aside[item.reason] += 1
            found.firsts.setdefault(item.reason, (item.uri, item.detail))
            if item.label and item.reason not in HARMLESS:
                for label in kind.labels(item.label):
                    rejected.setdefault(label, item.detail)
            continue
        total[item.split] += 1
        if len(several := kind.labels(item.label)) > 1:
            beside.update(several)
        for label in kind.labels(item.label) or (_NO_LABEL if kind.has_labels else _NUMBERS,):
            found.images.setdefault(label, collections.Counter())[item.split] += 1
            if label in found.examples or len(found.examples) < MOST_CLASSES:
                examples = found.examples.setdefault(label, [])
                if len(examples) < EXAMPLES:
                    examples.append(item.uri)
    found.lost.update((k, why) for k, why in sorted(rejected.items()) if k not in found.images)
    if allow_lost_classes:
        found.lost.clear()
    names = class_order.ordered(found.images, reading.spec.classes.names)
    told = ["" if reading.spec.classes.names else class_order.told(names)]
    told += [_means_none(name) for name in names if beside and name not in beside and _SAYS_NONE.fullmatch(name)]
    told += [
        f"These classes differ only in case, blanks or Unicode form: {', '.join(map(repr, group))}. A table of "
        "--classes, with the columns label and class, can make them one."
        for group in name_variants.variants(names)
    ]
    return found._replace(classes=names, told=(*found.told, *filter(None, told)))


def _means_none(label: str) -> str:
    return (
        f"The label {cut(label, 60)!r} never stands beside another one. If it says that an image has none, leave it "
        "out by a file of --classes, and its images stay without a label."
    )


def as_text(found: Found) -> str:
    """Returns the sentences, the table of classes, and what would not be used."""
    lines = [*(printable(sentence) for sentence in found.told), ""]
    splits = reading_order(sorted({split for counts in found.images.values() for split in counts}))
    labels, none = found.classes, collections.Counter[str]()
    rows = [_row(printable(cut(label, 60)), found.images.get(label, none), splits) for label in labels[:MOST_ROWS]]
    if len(labels) > MOST_ROWS:
        others = sum((found.images.get(label, none) for label in labels[MOST_ROWS:]), none)
        rows.append(_row(f"{len(labels) - MOST_ROWS:,} more classes", others, splits))
    rows.append(_row("all", found.total, splits))
    heads = [split or "splits are drawn" for split in splits]
    lines.append(table(("class", *heads), rows))
    lines.append("")
    for reason, number in found.aside.most_common():
        uri, why = found.firsts[reason]
        lines.append(f"Not used: {number:,} {reason}; the first is {printable(uri)}. {printable(why)}")
    for label, why in found.lost.items():
        reason = printable(why).rstrip(".")
        lines.append(
            f"The class {printable(label)!r} would be missing: {reason}. prepare refuses that without "
            "--allow-lost-classes."
        )
    bad = sum(number for reason, number in found.aside.items() if reason not in HARMLESS)
    every = bad + sum(found.total.values())
    if bad > MAX_REJECT_RATE * every:
        lines.append(
            f"{bad:,} of {plural(every, 'input')} cannot be used. prepare publishes nothing if these are more than "
            f"{MAX_REJECT_RATE:.0%}, or than what --max-reject-rate allows."
        )
    lines.append("No image was read. prepare with the same options reads the input in this way.")
    return "\n".join(lines)


def as_json(found: Found) -> str:
    """Returns the same as one JSON object."""
    return json.dumps(
        {
            "told": list(found.told),
            "classes": list(found.classes),
            "images": {label: dict(counts) for label, counts in sorted(found.images.items())},
            "not_used": dict(sorted(found.aside.items())),
            "lost_classes": found.lost,
        },
        indent=2,
        sort_keys=True,
    )


def _row(name: str, counts: Mapping[str, int], splits: list[str]) -> tuple[str | int, ...]:
    return name, *(counts.get(split, 0) for split in splits)
