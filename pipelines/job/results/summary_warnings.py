"""Warns of what the numbers of a finished job say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.config import PrepareConfig
from pipelines.contract import Contract
from pipelines.core import name_variants, text
from pipelines.core.files import members
from pipelines.core.summary import Duplicates, Summary
from pipelines.core.text import listed, plural
from pipelines.inputs.tables.unlisted import Unlisted
from pipelines.job.results import rejects_file
from pipelines.plan import plan as plans
from pipelines.tasks.kinds import KINDS
from pipelines.work_dir import Work

FEW_LEVELS = 128  # of 256; fewer are said
LARGE_GROUP = 0.1  # of all images; a group of images that look alike and is larger is told


def find(summary: Summary, plan: plans.Plan, config: PrepareConfig, aside: Unlisted, work: Work) -> Iterator[str]:
    """Yields the warnings of a run.

    Args:
      aside: the images in the folder of a table that it does not list.
    """
    yield from _of_splits(summary, plan, config)
    yield from _of_labels(summary, plan)
    yield from _of_unlisted(aside)
    yield from _of_similar(summary, config.group_similar)
    yield from _of_depth(summary, config)
    yield from _of_alpha(summary)
    yield from _of_straddling(work)
    yield from _of_twins(summary, config.duplicates)


def _of_splits(summary: Summary, plan: plans.Plan, config: PrepareConfig) -> Iterator[str]:
    absent = {name for name in plan.labels if not any(name in labels for labels in plan.natural.values())}
    if absent:
        yield (
            f"These classes have an id and no image: {listed((label for label in plan.labels if label in absent), 20)}."
        )
    for split, counts in summary.classes.items():
        missing = [label for label in plan.labels if not counts[label].natural and label not in absent]
        if missing:
            yield f"Split {split} has no image of: {listed(missing, 20)}."
    if len(plan.labels) == 1 and KINDS[plan.task].is_one_class:
        yield f"There is only one class, {plan.labels[0]}: no classifier can be trained on it."
    for split in sorted(set(config.shares) - set(summary.classes)):
        if config.shares[split] > 0:
            remedy = " --validation-from train=0.1 cuts it out of train." if split == "validation" else ""
            yield f"Split {split} is empty.{remedy}"
    if summary.conflicting_groups:
        conflict = summary.duplicates[0]
        gone = " None of them is kept." if config.duplicates == "drop" else ""
        one = KINDS[plan.task].is_one_class
        what = "more than one label: at least one label of each is wrong." if one else "several answers in the input."
        yield (
            f"{plural(summary.conflicting_groups, 'picture')} with {what}{gone} The report names them; the first is "
            f"{members.readable(conflict.members[0][0])}."
        )
    if summary.straddling_groups and config.duplicates != "drop":
        yield (
            f"{summary.straddling_groups} pictures are in more than one of the given splits, so the splits are not "
            "independent (leakage)."
        )
    enlarged, originals = summary.conversions.get("enlarged", 0), sum(summary.formats.values())
    if enlarged > 0.1 * originals:
        yield f"{enlarged} of {originals} images are smaller than {config.size[0]}x{config.size[1]} and were enlarged."
    for label in plan.labels:
        wanted = plan.copies.get(label)
        if wanted is not None and config.balance != "none" and wanted.base >= config.max_copies:
            yield f"Class {label} stays below its target: --max-copies {config.max_copies} was reached."


def _of_labels(summary: Summary, plan: plans.Plan) -> Iterator[str]:
    images = {label: sum(counts[label].natural for counts in summary.classes.values()) for label in plan.labels}
    for group in name_variants.variants(plan.labels):
        named = ", ".join(f"{label!r} ({images[label]} images)" for label in group)
        kept = f"kept as {len(group)} classes: {named}."
        yield f"These classes differ only in case, blanks or Unicode form, and are {kept}"


def _of_unlisted(aside: Unlisted) -> Iterator[str]:
    if aside.images or not aside.complete:
        least = "" if aside.complete else "At least "
        first = f"; the first is {text.utf8_text(aside.first)}" if aside.first else ""
        yield f"{least}{aside.images} images in the manifest's folder are not listed in it{first}."


def _of_similar(summary: Summary, bits: int) -> Iterator[str]:
    """Warns of what --group-similar found.

    Args:
      bits: its value.
    """
    found = summary.similar
    if not found:
        return
    if number := found["conflicting"]:
        one, other = _of_two_labels(summary.similar_first[0])
        yield (
            f"{plural(number, 'group')} of pictures that look alike {_is(number)} under more than one label. The "
            f"report names them; the first has {one} and {other}."
        )
    if number := found["straddling"]:
        yield (
            f"{plural(number, 'group')} of pictures that look alike {_is(number)} in more than one of the given "
            "splits, so the splits are not independent (leakage)."
        )
    originals = sum(summary.formats.values())
    if found["largest"] > max(20, LARGE_GROUP * originals):
        yield (
            f"The largest group of pictures that look alike has {found['largest']} of {originals} images, which stay "
            f"in one split. A smaller --group-similar than {bits} divides it, if these are different photographs."
        )


def _of_two_labels(group: Duplicates) -> tuple[str, str]:
    """Returns texts of two images of a group that have different labels."""
    uri, label, _ = group.members[0]
    other_uri, other, _ = next(member for member in group.members if member[1] != label)
    return f"{members.readable(uri)} ({label})", f"{members.readable(other_uri)} ({other})"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _of_depth(summary: Summary, config: PrepareConfig) -> Iterator[str]:
    """Warns where few gray levels are left of images with more than 8 bits."""
    if summary.depth is None:
        return
    images, low, high = summary.depth
    clipped = summary.conversions.get("clipped", 0)
    if clipped:
        yield (
            f"Of {text.plural(images, 'image')} with more than 8 bits a channel, {clipped} "
            f"{'has' if clipped == 1 else 'have'} values beyond --bit-depth {config.bit_depth}, which were clipped: "
            f"the values reach from {low:g} to {high:g}."
        )
    levels = _level(high, config) - _level(low, config) + 1
    if levels > FEW_LEVELS:
        return
    ends = f"{low:.0f}..{high:.0f}"
    if config.source_policy.value_range is None:
        bits = max(8, int(high).bit_length())
        done = "after division by 257"
        remedy = f"--bit-depth {bits}, or --bit-depth data" if bits < 16 else "--bit-depth data"
    else:
        done, remedy = f"with --bit-depth {config.bit_depth}", "a range that fits, or --bit-depth data"
    yield (
        f"{text.plural(images, 'image')} {'has' if images == 1 else 'have'} more than 8 bits a channel, but "
        f"{'uses' if images == 1 else 'use'} only {ends}: {done} {text.plural(levels, 'level')} of 256 remain. "
        f"Give {remedy}."
    )


def _of_alpha(summary: Summary) -> Iterator[str]:
    """Warns where an alpha varies as a photograph does: it may be a band of a camera."""
    varying, all_ = summary.conversions.get("varying-alpha", 0), summary.conversions.get("alpha", 0)
    if varying and 2 * varying >= all_:
        yield (
            f"The alpha of {varying} of {text.plural(all_, 'image')} with alpha varies as a photograph does: it is "
            "rarely 0 or 255. It may be a band such as near infrared, and then these images come out pale. --bands "
            "1,2,3 takes the colours alone, and --bands 4,1,2 takes the fourth band."
        )


def _level(value: float, config: PrepareConfig) -> int:
    """Returns the level 0..255 that a value of a deep pixel becomes."""
    low, high = config.source_policy.value_range or (0, 65535)
    return round(min(max((value - low) / (high - low), 0), 1) * 255)


def _of_straddling(work: Work) -> Iterator[str]:
    """Warns of groups that are in several of the splits that the input states."""
    groups = 0
    first: dict[str, Any] = {}
    for line in rejects_file.lines(work.path("straddling")):
        told = json.loads(line)
        groups, first = groups + 1, min(told, first, key=lambda g: g["group"]) if first else told
    if groups:
        yield (
            f"{text.plural(groups, 'group')} of images {'is' if groups == 1 else 'are'} in more than one of the given "
            f"splits, so the splits are not independent (leakage). The first is {first['group']!r}, "
            f"{text.plural(first['images'], 'image')} in {', '.join(first['splits'])}."
        )


def _of_twins(summary: Summary, mode: str) -> Iterator[str]:
    """Warns of labelled images that are among those without a label, too."""
    twins = summary.unlabelled.get("twins")
    if twins:
        named = ", ".join(f"{count} in {split}" for split, count in twins.items())
        remedy = "They are left out there." if mode == "drop" else "--duplicates drop leaves them out there."
        number = plural(sum(twins.values()), "labelled image")
        yield f"Also among the images without a label: {number}, {named}. {remedy}"
    alike = summary.unlabelled.get("alike")
    if alike:
        named, number = ", ".join(f"{count} in {split}" for split, count in alike.items()), sum(alike.values())
        yield (
            f"{plural(number, 'labelled image')} {'looks' if number == 1 else 'look'} like an image without a label: "
            f"{named}. When that gets a label, --group-similar keeps both in one split."
        )


def of_lost_classes(lost: Mapping[str, int]) -> Iterator[str]:
    """Warns of classes of which no input could be used.

    Args:
      lost: class -> its inputs.
    """
    if lost:
        yield f"These classes are not in the dataset, because none of their inputs could be used: {lost_named(lost)}."


def lost_named(lost: Mapping[str, int]) -> str:
    """Returns the first classes with the numbers of their inputs, in words."""
    return listed((f"{text.cut(label, 80)} ({count})" for label, count in sorted(lost.items())), 20)


def of_new_classes(plan: plans.Plan, old: Contract | None) -> Iterator[str]:
    """Warns of classes that the dataset of --like does not have.

    Args:
      old: the contract of that dataset; None without --like.
    """
    new = plan.labels[len(old.labels) :] if old is not None else ()
    if old is not None and new:
        yield (
            f"Classes that {old.name!r} does not have got the next ids: {listed(map(repr, new), 20)}. Its models do "
            "not know them, and cannot be evaluated on this dataset."
        )
