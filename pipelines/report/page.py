"""Renders the report: one self-contained HTML page about a dataset.

It shows what the dataset holds and how it was made. The page loads nothing: styles are inline, pictures are data URIs,
charts are SVG and CSS, and a content security policy forbids scripts and the network. Names of files and classes are
untrusted: the template escapes all of them, and characters that could reverse the text or break the file are shown as
escapes.

`charts.py` turns numbers into shapes, `report.html.j2` arranges them, and this module selects the content of the page.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.contract import Contract, task
from pipelines.contract.task import CLASSES, MULTI_LABEL
from pipelines.core import class_order, html_page, text
from pipelines.core.elements import UNLABELLED
from pipelines.core.summary import ClassCounts, Rejected, Summary, Thumbnail, reading_order
from pipelines.report import charts

if TYPE_CHECKING:
    import jinja2

MOST_EXAMPLES = 3  # pictures of each policy
MOST_OF_SPLIT = 18  # most images of a split that is not shown by class
MOST_PICTURES = 120  # most thumbnails on the page; each takes about 10 KB
MOST_ROWS = 40  # most rows of the tables of rejects, duplicates and shards


@dataclasses.dataclass(frozen=True)
class Strip:
    """Holds the pictures that were made of one source.

    pictures: in order of the copy number, where 0 is the original.
    """

    split: str
    label: str
    uri: str
    pictures: tuple[Thumbnail, ...]


@functools.cache
def environment() -> jinja2.Environment:
    """Returns the jinja2 environment of the report, which keeps its compiled template."""
    made = html_page.environment(pathlib.Path(__file__).parent)
    made.filters.update(n=text.number, size=text.byte_size, g=text.general)
    return made


def render(contract: Contract, summary: Summary) -> str:
    """Renders the page as a string that can be encoded as UTF-8.

    Nothing in the page is executed or fetched.
    """
    drawn = [picture for picture in summary.thumbnails if not picture.policies]
    shown = strips([_shown(contract, picture) for picture in drawn])
    names = reading_order(contract.splits)
    splits = {name: summary.classes.get(name, {}) for name in names}
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            contract=contract,
            summary=summary,
            folds=summary.folds,
            splits=[(name, contract.splits[name]) for name in names],
            every_split=[
                (name, contract.split(name)) for name in (*names, *set(contract.all_splits).difference(names))
            ],
            sentence=sentence(contract, summary),
            copy_kind=copy_kind(contract),
            headline=headline(contract, summary),
            pictures=shown,
            galleries={split: gallery(labels) for split, labels in shown.items()},
            pictures_left_out=max(0, len(drawn) - MOST_PICTURES) if contract.task.kind == CLASSES else 0,
            examples=examples(summary.thumbnails),
            pixelated=max(contract.image_shape[:2]) <= 96,
            class_rows={name: charts.class_rows(contract.labels, counts) for name, counts in splits.items()},
            skew={
                name: (charts.skew(counts, "natural"), charts.skew(counts, "stored")) for name, counts in splits.items()
            },
            totals={name: summary.of_split(name) for name in names} | _total_of_unlabelled(contract),
            noun="Class" if contract.task.kind == CLASSES else "Label",
            targets=charts.targets(summary.answers.get("targets", [])),
            pairs=summary.answers.get("pairs", [])[:MOST_ROWS],
            labels_an_image=summary.answers.get("labels_an_image", {}),
            widths=charts.histogram(summary.widths, 16, "px"),
            heights=charts.histogram(summary.heights, 16, "px"),
            file_sizes=charts.size_bins(summary.file_bytes),
            channels=charts.channels(contract, summary.pixel_histogram),
            rejects=summary.rejects[:MOST_ROWS],
            rejects_by_stage=stages(summary.rejects),
            duplicates=sorted(summary.duplicates, key=lambda d: not d.conflicting)[:MOST_ROWS],
            similar=summary.similar_first[:MOST_ROWS],
            shard_bytes={name: sum(s.bytes for s in split.shards) for name, split in contract.all_splits.items()},
            settings=flatten(asked(summary, contract)),
            engine=flatten(summary.engine),
            most_rows=MOST_ROWS,
        )
    )


_VALUES = {"RGB": "RGB", "L": "gray", "bands": "bands with"}  # by the contract's channel_order


def sentence(contract: Contract, summary: Summary) -> str:
    """Describes the dataset in one sentence."""
    height, width = contract.image_shape[:2]
    counts = [summary.of_split(split) for split in summary.classes]
    originals = sum(c.stored - c.copies for c in counts)
    copies = sum(c.copies for c in counts)
    low, high = (text.short(end) for end in contract.value_range)
    verb = "balances" if copies == 1 else "balance"
    kind = copy_kind(contract)
    what = "classes" if contract.task.kind == CLASSES else "labels"
    ending = f", and {text.plural(copies, f'{kind} copy', f'{kind} copies')} {verb} the {what}." if copies else "."
    sized = "resized" if contract.resize.get("mode") != "none" else "cut or padded"
    to = f"{height} pixels on the shorter side" if contract.is_uneven else f"{width} × {height} pixels"
    return (
        f"{text.number(originals)} images {_of_what(contract)}, {sized} to "
        f"{to} and stored as {contract.encoding} in {text.plural(len(contract.splits), 'split')}; "
        f"a model sees {_VALUES[contract.channel_order]} values from {low} to {high} "
        f"({contract.normalization.mode}){ending}{_without_label(contract)}"
    )


def _total_of_unlabelled(contract: Contract) -> dict[str, ClassCounts]:
    if contract.unlabelled is None:
        return {}
    return {UNLABELLED: ClassCounts(contract.unlabelled.records, contract.unlabelled.records)}


def _without_label(contract: Contract) -> str:
    if contract.unlabelled is None:
        return ""
    return (
        f" Beside them, {text.plural(contract.unlabelled.records, 'image')} without a label are the split {UNLABELLED}."
    )


def _shown(contract: Contract, picture: Thumbnail) -> Thumbnail:
    """Returns a thumbnail with its answer as people read it."""
    if contract.unlabelled is not None and picture.split not in contract.splits:
        return dataclasses.replace(picture, label="without a label")
    if contract.task.targets:
        named = zip(contract.task.targets, picture.label.split(","), strict=False)
        return dataclasses.replace(picture, label=", ".join(f"{name} {value}" for name, value in named))
    answer = task.shown(contract.task.kind, picture.label)
    return dataclasses.replace(
        picture, label=answer.replace("|", ", ") if contract.task.kind == MULTI_LABEL else answer
    )


def _of_what(contract: Contract) -> str:
    """Returns what the images are labelled with."""
    if contract.task.targets:
        return f"with {text.plural(len(contract.task.targets), 'number')} each"
    if contract.task.kind == CLASSES:
        return f"in {text.plural(len(contract.labels), 'class', 'classes')}"
    return f"with {text.plural(len(contract.labels), 'label')}, any number each"


def copy_kind(contract: Contract) -> str:
    """Returns the kind of this dataset's copies: "augmented" or "plain"."""
    return "augmented" if any(contract.augmentation.values()) else "plain"


def headline(contract: Contract, summary: Summary) -> list[tuple[str, str, str]]:
    """Returns (name, value, remark) of the numbers at the top of the page."""
    copies = sum(summary.of_split(split).copies for split in summary.classes)
    shards = [shard for split in contract.all_splits.values() for shard in split.shards]
    rejected = sum(summary.rejected.values())
    share = f"{100 * rejected / summary.read:.2g} % of what was read" if rejected and summary.read else ""
    conflicting = summary.conflicting_groups
    conflicts = f"{text.number(conflicting)} under different labels" if conflicting else ""
    return [
        ("Read", text.number(summary.read), "input files"),
        ("Written", text.number(summary.written), f"{text.number(copies)} of them copies" if copies else "records"),
        ("Rejected", text.number(rejected), share or "nothing was dropped"),
        ("Duplicates", text.number(summary.duplicate_groups), conflicts or "groups of equal files"),
        _answers_told(contract),
        ("Shards", text.number(len(shards)), text.plural(len(contract.all_splits), "split")),
        ("On disk", text.byte_size(sum(shard.bytes for shard in shards)), ""),
    ]


def _answers_told(contract: Contract) -> tuple[str, str, str]:
    if contract.task.targets:
        return "Targets", text.number(len(contract.task.targets)), ""
    return "Classes" if contract.task.kind == CLASSES else "Labels", text.number(len(contract.labels)), ""


def strips(thumbnails: Sequence[Thumbnail]) -> dict[str, dict[str, list[Strip]]]:
    """Returns split -> label -> strips, with at most MOST_PICTURES pictures in total.

    The classes take turns, so that pictures of all of them are shown.
    """
    turns: dict[tuple[str, str], int] = {}
    order = []
    for index, thumbnail in enumerate(thumbnails):
        turn = turns[thumbnail.split, thumbnail.label] = turns.get((thumbnail.split, thumbnail.label), -1) + 1
        order.append((turn, index))
    kept = [thumbnails[index] for index in sorted(index for _, index in sorted(order)[:MOST_PICTURES])]
    groups: dict[tuple[str, str, str], list[Thumbnail]] = {}
    for t in kept:
        groups.setdefault((t.split, t.label, t.uri), []).append(t)
    result: dict[str, dict[str, list[Strip]]] = {}
    names = reading_order({split: None for split, _, _ in groups})
    for (split, label, uri), members in sorted(groups.items(), key=lambda item: (names.index(item[0][0]), item[0][1])):
        strip = Strip(split, label, uri, tuple(sorted(members, key=lambda t: t.copy)))
        result.setdefault(split, {}).setdefault(label, []).append(strip)
    return result


def gallery(labels: dict[str, list[Strip]]) -> list[Strip]:
    """Returns at most MOST_OF_SPLIT strips of a split whose answers are no classes.

    Nearly each image has an answer of its own there, so that groups of equal answers would be groups of one. They are
    taken at equal distances from all, in the order of the answers.
    """
    every = [strip for label in class_order.ordered(labels) for strip in labels[label]]
    chosen = sorted({round(i * (len(every) - 1) / max(1, MOST_OF_SPLIT - 1)) for i in range(MOST_OF_SPLIT)})
    return every if len(every) <= MOST_OF_SPLIT else [every[index] for index in chosen]


def examples(thumbnails: Iterable[Thumbnail]) -> dict[str, list[Thumbnail]]:
    """Returns policy -> pictures that are examples of it, at most MOST_EXAMPLES.

    A picture is shown once, under the first of its policies that has too few.
    """
    result: dict[str, list[Thumbnail]] = {}
    for thumbnail in thumbnails:
        for policy in thumbnail.policies:
            if len(result.setdefault(policy, [])) < MOST_EXAMPLES:
                result[policy].append(thumbnail)
                break
    return {policy: shown for policy, shown in sorted(result.items()) if shown}


def stages(rejects: Iterable[Rejected]) -> dict[str, str]:
    """Returns reason -> the stages that gave it, among these rejects."""
    found: dict[str, set[str]] = {}
    for reject in rejects:
        found.setdefault(reject.reason, set()).add(reject.stage)
    return {reason: ", ".join(sorted(names)) for reason, names in found.items()}


# Option -> what it has where it asks for nothing.
_NOT_ASKED: dict[str, Any] = {
    "bit_depth": "", "delimiter": "auto", "group_similar": 0, "heading": True, "label_from": "auto", "layout": "auto",
    "labels": "one", "per_class": 0, "shards": 0, "workers": 0,
}  # fmt: skip
_OF_COPIES = "augment", "max_copies", "temperature"


def asked(summary: Summary, contract: Contract) -> dict[str, Any]:
    """Returns the options that had a part in the dataset, by their flags.

    Left out are those that ask for nothing, such as columns of a table that were not named, those of copies if there is
    no copy, and the quality of JPEG records if there are none.
    """
    unused = set() if any(summary.of_split(split).copies for split in summary.classes) else set(_OF_COPIES)
    unused |= set() if contract.encoding == "jpeg" else {"jpeg_quality"}

    def is_asked(name: str, value: Any) -> bool:
        if name in _NOT_ASKED:
            return bool(value != _NOT_ASKED[name])
        if isinstance(value, Mapping):
            return any(is_asked("", part) for part in value.values())
        return value is not None and value is not False and value not in ("", [], ())

    return {
        f"--{name.replace('_', '-')}": {k: v for k, v in value.items() if is_asked("", v)}
        if isinstance(value, Mapping)
        else value
        for name, value in summary.settings.items()
        if name not in unused and is_asked(name, value)
    }


def flatten(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Writes settings as (name, text), sorted by name.

    Mappings become "a=1, b=2", and sequences become "a, b".
    """

    def text(value: Any) -> str:
        if isinstance(value, Mapping):
            return ", ".join(f"{k}={text(v)}" for k, v in value.items()) or "none"
        if isinstance(value, (list, tuple)):
            return ", ".join(text(v) for v in value) or "none"
        return f"{value:.6g}" if isinstance(value, float) else str(value) if value != "" else "not set"

    return [(name, text(value)) for name, value in sorted(values.items())]
