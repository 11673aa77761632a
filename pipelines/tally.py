"""Counts what a finished job left, so that every input is accounted for before anything is published."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines import casing, gray, manifest, source, storage, workspace
from pipelines import plan as plans
from pipelines.config import PrepareConfig
from pipelines.summary import ClassCounts, Duplicates, Rejected, Summary, Thumbnail
from pipelines.workspace import Work

MAX_LISTED = 300  # rejects and duplicates that the summary and the report name; all are in rejects/


class DataRejectedError(Exception):
    """More of the input was rejected than --max-reject-rate allows; nothing was published."""


class IncompleteError(RuntimeError):
    """The job ended without some of its results; nothing was published."""


def read_plan(work: Work) -> plans.Plan:
    """The plan that the job noted."""
    data = json.loads(storage.read_text(work.path("plan.json")))
    copies = {label: plans.balance.Copies(**c) for label, c in data.pop("copies").items()}
    return plans.Plan(**{**data, "labels": tuple(data["labels"]), "copies": copies})


def train_is_staged(config: PrepareConfig, work: Work) -> bool:
    """Whether this run has staged every shard of the train split."""
    if not storage.exists(work.path("plan.json")):
        return False
    wanted = plans.shard_names(read_plan(work), config)["train"]
    return set(wanted) <= set(storage.children(work.path(workspace.STAGED)))


def staged(config: PrepareConfig, work: Work) -> tuple[int, int]:
    """(shards that are staged, shards in all); (0, 0) before the plan is made."""
    if not storage.exists(work.path("plan.json")):
        return 0, 0
    wanted = [file for files in plans.shard_names(read_plan(work), config).values() for file in files]
    present = set(storage.children(work.path("staged")))
    return sum(f"{file}.json" in present for file in wanted), len(wanted)


def summarize(
    config: PrepareConfig, work: Work, plan: plans.Plan, engine: Mapping[str, Any]
) -> tuple[Summary, list[Rejected], list[Rejected]]:
    """Adds up what the job left: the summary, all rejects, and the images that the balance left out.

    Raises:
      IncompleteError: a shard's account is missing, or an input is neither written, left out nor rejected.
    """
    accounts = list(read_accounts(config, work, plan))
    # Once for each source, although every shard that wanted a copy of it says so.
    undecoded = {(row["uri"], row["label"]): Rejected(**row) for account in accounts for row in account["rejects"]}
    rejected = sorted([*_lines(work, "rejects"), *undecoded.values()], key=lambda r: (r.uri, r.stage, r.detail))
    unused = sorted(_lines(work, "unused"), key=lambda r: r.uri)
    left_out = collections.Counter((r.split, r.label) for r in unused)
    classes = _classes(plan, accounts, left_out)
    duplicates = sorted(_duplicates(work), key=lambda d: (not d.conflicting, d.digest))
    totals = {n: sum((collections.Counter(a[n]) for a in accounts), collections.Counter()) for n in _COUNTED}
    natural = sum(c.natural for labels in classes.values() for c in labels.values())
    read = int(storage.read_text(work.path(workspace.LISTED)))
    if read != natural + len(rejected):
        raise IncompleteError(
            f"{read} inputs were listed, but {natural} images and {len(rejected)} rejects came of them: "
            f"{read - natural - len(rejected)} are unexplained. Nothing was published."
        )
    aside = manifest.unlisted(config) if _is_local_manifest(config) else manifest.Unlisted()
    summary = Summary(
        read=read,
        classes=classes,
        rejected=dict(sorted(collections.Counter(r.reason for r in rejected).items())),
        rejects=tuple(rejected[:MAX_LISTED]),
        formats=dict(sorted(totals["formats"].items())),
        conversions={k: v for k, v in sorted(totals["conversions"].items()) if v},
        widths={int(k): v for k, v in sorted(totals["widths"].items(), key=lambda i: int(i[0]))},
        heights={int(k): v for k, v in sorted(totals["heights"].items(), key=lambda i: int(i[0]))},
        file_bytes={int(k): v for k, v in sorted(totals["file_bytes"].items(), key=lambda i: int(i[0]))},
        pixel_histogram=_levels(accounts),
        duplicate_groups=len(duplicates),
        conflicting_groups=sum(d.conflicting for d in duplicates),
        straddling_groups=sum(d.straddling for d in duplicates),
        duplicates=tuple(duplicates[:MAX_LISTED]),
        thumbnails=tuple(Thumbnail(**t) for a in accounts for t in a["thumbnails"]),
        settings=config.settings(),
        engine=dict(engine),
        warnings=(),
        unlisted=aside.images,
    )
    warnings = (*_warnings(summary, plan, config), *_label_warnings(summary, plan), *_unlisted_warning(aside))
    return dataclasses.replace(summary, warnings=warnings), rejected, unused


def check_rejects(summary: Summary, config: PrepareConfig, where: str) -> None:
    """Raises DataRejectedError when too much of the data is bad. Hidden files and the like do not count."""
    harmless = sum(summary.rejected.get(reason, 0) for reason in source.HARMLESS)
    bad, total = sum(summary.rejected.values()) - harmless, summary.read - harmless
    if bad > config.max_reject_rate * total:
        reasons = ", ".join(f"{r} {n}" for r, n in summary.rejected.items() if r not in source.HARMLESS)
        first = ", ".join(r.uri for r in [r for r in summary.rejects if r.reason not in source.HARMLESS][:3])
        raise DataRejectedError(
            f"{bad} of {total} inputs were rejected ({bad / total:.1%}); --max-reject-rate allows "
            f"{config.max_reject_rate:.1%}. Reasons: {reasons}; first: {first}. Each is listed in {where}. "
            "Nothing was published."
        )


_COUNTED = ("formats", "conversions", "widths", "heights", "file_bytes")


def read_accounts(config: PrepareConfig, work: Work, plan: plans.Plan) -> Iterator[dict[str, Any]]:
    """The accounts of all planned shards; IncompleteError where one is missing."""
    for files in plans.shard_names(plan, config).values():
        for file in files:
            try:
                yield json.loads(storage.read_text(work.path("staged", f"{file}.json")))
            except (OSError, ValueError) as e:
                raise IncompleteError(f"The job left no account of shard {file} ({e}). Run it again.") from e


def _classes(
    plan: plans.Plan, accounts: Sequence[Mapping[str, Any]], unused: Mapping[tuple[str, str], int]
) -> dict[str, dict[str, ClassCounts]]:
    result: dict[str, dict[str, ClassCounts]] = {}
    for split in plan.shards:
        mine = [a for a in accounts if a["split"] == split]
        result[split] = {}
        for label in plan.labels:
            stored = sum(a["stored"].get(label, 0) for a in mine)
            copies = sum(a["copies"].get(label, 0) for a in mine)
            left_out = unused.get((split, label), 0)
            result[split][label] = ClassCounts(stored - copies + left_out, stored, copies, left_out)
    return result


def _levels(accounts: Sequence[Mapping[str, Any]]) -> dict[str, list[list[int]]]:
    result: dict[str, Any] = {}
    for account in accounts:
        levels = gray.as_levels(account["levels"])
        result[account["split"]] = result.get(account["split"], 0) + levels
    return {split: levels.tolist() for split, levels in result.items()}


def _lines(work: Work, name: str) -> Iterator[Rejected]:
    for file in storage.children(work.path(name)):
        for line in storage.read_text(work.path(name, file)).split("\n"):
            if line:
                yield Rejected(**json.loads(line))


def _duplicates(work: Work) -> Iterator[Duplicates]:
    for file in storage.children(work.path("duplicates")):
        for line in storage.read_text(work.path("duplicates", file)).split("\n"):
            if line:
                data = json.loads(line)
                yield Duplicates(data["digest"], tuple((m[0], m[1], m[2]) for m in data["members"]))


def _warnings(summary: Summary, plan: plans.Plan, config: PrepareConfig) -> Iterator[str]:
    for split, counts in summary.classes.items():
        missing = [label for label in plan.labels if not counts[label].natural]
        if missing:
            yield f"Split {split} has no image of: {', '.join(missing[:20])}."
    if len(plan.labels) == 1:
        yield f"There is one class only, {plan.labels[0]}: nothing can be told from it."
    for split in sorted(set(config.splits) - set(summary.classes)):
        if config.splits[split] > 0:
            yield f"Split {split} is empty."
    if summary.conflicting_groups:
        conflict = summary.duplicates[0]
        gone = " None of them is kept." if config.duplicates == "drop" else ""
        yield (
            f"{summary.conflicting_groups} pictures stand under more than one label: at least one label of each is "
            f"wrong.{gone} The report names them; the first is {conflict.members[0][0]}."
        )
    if summary.straddling_groups and config.duplicates != "drop":
        yield f"{summary.straddling_groups} pictures are in more than one of the given splits: the test set leaks."
    enlarged, originals = summary.conversions.get("enlarged", 0), sum(summary.formats.values())
    if enlarged > 0.1 * originals:
        yield f"{enlarged} of {originals} images are smaller than {config.size[0]}x{config.size[1]} and were enlarged."
    for label in plan.labels:
        wanted = plan.copies.get(label)
        if wanted is not None and config.balance != "none" and wanted.base >= config.max_copies:
            yield f"Class {label} stays below its target: --max-copies {config.max_copies} was reached."


def _label_warnings(summary: Summary, plan: plans.Plan) -> Iterator[str]:
    images = {label: sum(counts[label].natural for counts in summary.classes.values()) for label in plan.labels}
    for group in casing.variants(plan.labels):
        named = ", ".join(f"{label!r} ({images[label]} images)" for label in group)
        yield f"These classes differ in case or Unicode form only, and stay {len(group)} classes: {named}."


def _unlisted_warning(aside: manifest.Unlisted) -> Iterator[str]:
    if aside.images or not aside.complete:
        least = "" if aside.complete else "At least "
        first = f"; the first is {source.printable(aside.first)}" if aside.first else ""
        yield f"{least}{aside.images} images in the manifest's folder are not listed in it{first}."


def _is_local_manifest(config: PrepareConfig) -> bool:
    return source.is_manifest(config.input) and not storage.is_remote(config.input)
