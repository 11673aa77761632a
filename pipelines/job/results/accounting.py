"""Adds up the results of a finished job and checks that no input is missing.

Nothing is published before every input is accounted for.
"""

from __future__ import annotations

import collections
import dataclasses
import heapq
import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from pipelines import storage, work_dir
from pipelines.config import PrepareConfig
from pipelines.contract import Contract, ledger
from pipelines.contract.folds import Fold
from pipelines.core import class_order, elements, text
from pipelines.core.errors import DataRejectedError, IncompleteError
from pipelines.core.summary import ClassCounts, Duplicates, Rejected, Summary, total
from pipelines.core.text import cut, plural
from pipelines.inputs import rules
from pipelines.inputs.listing import Reading
from pipelines.inputs.tables import unlisted
from pipelines.inputs.tables.unlisted import Unlisted
from pipelines.job.results import fold_file, rejects_file, summary_warnings
from pipelines.job.results.shard_totals import Totals
from pipelines.plan import plan as plans
from pipelines.plan.balance import Copies
from pipelines.tasks.kinds import KINDS
from pipelines.work_dir import Work

MOST_REASONS = 8  # reasons of rejects that an error names
MOST_DETAIL = 300  # characters of a reject's sentence that an error shows


def read_plan(work: Work) -> plans.Plan:
    """Reads the plan that the job saved in the work directory."""
    data = json.loads(storage.read_text(work.path("plan.json")))
    copies = {label: Copies(**c) for label, c in data.pop("copies").items()}
    return plans.Plan(**{**data, "labels": tuple(data["labels"]), "copies": copies})


def is_planned(work: Work) -> bool:
    """Tells whether the job has saved its plan."""
    return storage.exists(work.path("plan.json"))


def are_staged(files: Collection[str], work: Work) -> bool:
    """Tells whether this run has staged all of these shards of the train split."""
    return set(files) <= set(storage.children(work.path(work_dir.STAGED)))


def staged(dataset: str, work: Work) -> tuple[int, int]:
    """Returns (number of staged shards, number of planned shards).

    Before the plan is made it is (0, 0).

    Args:
      dataset: the dataset's name.
    """
    if not is_planned(work):
        return 0, 0
    wanted = [file for files in plans.shard_names(read_plan(work), dataset).values() for file in files]
    present = set(storage.children(work.path("staged")))
    return sum(f"{file}.json" in present for file in wanted), len(wanted)


def summarize(
    config: PrepareConfig,
    reading: Reading,
    work: Work,
    plan: plans.Plan,
    engine: Mapping[str, Any],
    old: Contract | None = None,
) -> tuple[Summary, Totals]:
    """Returns the summary of a finished job and the totals over all shards.

    It writes all rejects to ledger.REJECTED below `work`, and the images that balancing left out to ledger.UNUSED.
    It streams rejects, unused images and the accounts of the shards, and holds none of these lists in memory.

    Args:
      old: the contract of the dataset of --like.

    Raises:
      IncompleteError: a shard's account is missing, or an input is neither written, left out nor rejected.
    """
    columns = reading.spec.metadata
    totals = Totals(len(columns))
    undecoded = totals.take(read_accounts(config.dataset_name, work, plan))
    rejected = rejects_file.write(
        itertools.chain(rejects_file.read(work.path("rejects")), undecoded), work.path(ledger.REJECTED)
    )
    unused = rejects_file.write(rejects_file.read(work.path("unused")), work.path(ledger.UNUSED))
    kind = KINDS[plan.task]
    classes = _classes(plan, totals, unused.classes)
    images = {} if kind.is_one_class else _images(plan, totals, unused.classes)
    equal, alike = _count_groups(work, "duplicates"), _count_groups(work, "similar")
    like_counts, like_warnings = _count_kept(work, config.like) if config.like else (collections.Counter[str](), [])
    of_splits = images or {split: total(counts.values()) for split, counts in classes.items()}
    without_label = _unlabelled(plan, totals)
    natural = sum(counts.natural for counts in of_splits.values()) + without_label
    read = _check_explained(work, natural, rejected.total)
    folds = fold_file.make(config.division, config.dataset_name, plan, totals)
    order = "" if config.classes.names else class_order.told(plan.labels)
    aside = Unlisted()
    if rules.is_manifest(config.input):
        aside = unlisted.find(config.input_spec, config.output)
    summary = Summary(
        read=read,
        classes=classes,
        rejected=dict(sorted(rejected.reasons.items())),
        rejects=rejected.first,
        **_of_files(totals),
        duplicate_groups=equal.groups,
        conflicting_groups=equal.conflicting,
        straddling_groups=equal.straddling,
        duplicates=equal.first,
        thumbnails=tuple(totals.thumbnails),
        settings=config.noted(),
        engine=dict(engine),
        warnings=(),
        unlisted=aside.images,
        lost_classes=_lost(plan, reading.images, rejected),
        reading=(*reading.told, *([order] if order else [])),
        like={name: like_counts[name] for name in ("kept", "new", "gone")} if config.like else {},
        depth=totals.depth,
        similar=alike.numbers() if config.group_similar else {},
        similar_first=alike.first,
        layout=None if reading.spec.read_as is None else dataclasses.asdict(reading.spec.read_as),
        images=images,
        folds=() if folds is None else tuple(_images_of(fold) for fold in folds.folds),
        answers=kind.described(_originals(plan, totals), config.target),
        unlabelled=_of_unlabelled(config, work, without_label),
        metadata=[of.described(c.name, c.dtype) for c, of in zip(columns, totals.metadata, strict=True)],
    )
    warnings = (
        *summary_warnings.find(summary, plan, config, aside, work), *fold_file.warnings(folds, plan.labels),
        *summary_warnings.of_lost_classes(summary.lost_classes), *like_warnings,
        *summary_warnings.of_new_classes(plan, old),
    )  # fmt: skip
    return dataclasses.replace(summary, warnings=warnings), totals


def _check_explained(work: Work, images: int, rejected: int) -> int:
    """Returns the number of listed inputs, each of which became an image or a reject.

    Raises:
      IncompleteError: an input became neither, or more than one thing.
    """
    read = int(storage.read_text(work.path(work_dir.LISTED)))
    if read != images + rejected:
        raise IncompleteError(
            f"{read} inputs were listed, but {images} images and {rejected} rejects came of them: "
            f"{read - images - rejected} are unexplained. Nothing was published."
        )
    return read


def _of_files(totals: Totals) -> dict[str, Any]:
    """Returns the fields of the summary that say what the image files are like."""
    return {
        "formats": dict(sorted(totals.counted["formats"].items())),
        "conversions": {k: v for k, v in sorted(totals.counted["conversions"].items()) if v},
        "widths": _by_number(totals.counted["widths"]),
        "heights": _by_number(totals.counted["heights"]),
        "file_bytes": _by_number(totals.counted["file_bytes"]),
        "pixel_histogram": {split: levels.tolist() for split, levels in totals.levels.items()},
    }


def check_rejects(summary: Summary, max_rate: float, where: str, allow_lost_classes: bool = False) -> None:
    """Checks that not too much was rejected, and no class as a whole.

    Rejects for a reason in `elements.HARMLESS`, such as hidden files, do not count.

    Args:
      max_rate: the largest share of rejected inputs, 0..1.
      where: path of the complete list of rejects, for the message.
      allow_lost_classes: whether all inputs of a class may be rejected.

    Raises:
      DataRejectedError: more inputs were rejected than --max-reject-rate allows, or all inputs of a class.
    """
    harmless = sum(summary.rejected.get(reason, 0) for reason in elements.HARMLESS)
    bad, total = sum(summary.rejected.values()) - harmless, summary.read - harmless
    if bad > max_rate * total:
        raise DataRejectedError(
            f"{bad} of {total} inputs were rejected ({bad / total:.1%}); --max-reject-rate allows "
            f"{max_rate:.1%}. {_reasons_named(summary)} Each is listed in {where}. Nothing was published. Mend or "
            f"remove them, or permit it with --max-reject-rate {min(100, 100 * bad // total + 1) / 100:g}."
        )
    if summary.lost_classes and not allow_lost_classes:
        lost = summary_warnings.lost_named(summary.lost_classes)
        raise DataRejectedError(
            f"None of the inputs of these classes can be used, so the classes would be missing: {lost}. Each input is "
            f"listed in {where}. Mend or remove them, or permit it with --allow-lost-classes. Nothing was published."
        )


def _reasons_named(summary: Summary) -> str:
    """Returns a sentence for each reason that counts towards --max-reject-rate.

    It has the number of rejects, the first of them, and why that one is rejected.
    """
    firsts: dict[str, Rejected] = {}
    for reject in summary.rejects:
        firsts.setdefault(reject.reason, reject)
    counts = [(-n, reason) for reason, n in summary.rejected.items() if reason not in elements.HARMLESS]
    named = []
    for number, reason in sorted(counts)[:MOST_REASONS]:
        first = firsts[reason]
        why = cut(first.detail, MOST_DETAIL).rstrip(".")
        named.append(f"{reason} {-number}, the first is {first.uri!r}{f': {why}' if why else ''}.")
    if len(counts) > MOST_REASONS:
        named.append(f"{plural(len(counts) - MOST_REASONS, 'more reason')}.")
    return " ".join(named)


def read_accounts(dataset: str, work: Work, plan: plans.Plan) -> Iterator[dict[str, Any]]:
    """Reads the accounts of all planned shards.

    Args:
      dataset: the dataset's name.

    Raises:
      IncompleteError: the account of a shard is missing or cannot be read.
    """

    def account(file: str) -> dict[str, Any]:
        try:
            return dict(json.loads(storage.read_text(work.path("staged", f"{file}.json"))))
        except (OSError, ValueError) as e:
            raise IncompleteError(f"The job left no account of shard {file} ({e}). Run it again.") from e

    files = itertools.chain.from_iterable(plans.shard_names(plan, dataset).values())
    return storage.each(account, files, work.root)


def _classes(
    plan: plans.Plan, totals: Totals, unused: Mapping[tuple[str, str], int]
) -> dict[str, dict[str, ClassCounts]]:
    kind = KINDS[plan.task]
    result: dict[str, dict[str, ClassCounts]] = {}
    for split in plan.natural:
        stored, copies, left_out = (kind.by_label(counts) for counts in _by_answer(split, totals, unused))
        result[split] = {label: _counts(stored[label], copies[label], left_out[label]) for label in plan.labels}
    return result


def _images(plan: plans.Plan, totals: Totals, unused: Mapping[tuple[str, str], int]) -> dict[str, ClassCounts]:
    """Returns the counts of all images of each split, whatever their labels."""
    return {
        split: _counts(*(sum(counts.values()) for counts in _by_answer(split, totals, unused)))
        for split in plan.natural
    }


def _by_answer(split: str, totals: Totals, unused: Mapping[tuple[str, str], int]) -> tuple[Mapping[str, int], ...]:
    """Returns the records, the copies and the images left out, by answer."""
    left_out = {text: count for (of, text), count in unused.items() if of == split}
    return totals.stored[split], totals.copies[split], left_out


def _images_of(fold: Fold) -> dict[str, int]:
    """Returns the images of a fold by label, and under "" those of all labels."""
    own = {label: count - fold.copies.get(label, 0) for label, count in sorted(fold.stored.items())}
    return {"": fold.records[0] - fold.records[1], **own}


def _originals(plan: plans.Plan, totals: Totals) -> dict[str, collections.Counter[str]]:
    """Returns split -> text of the answer -> stored originals."""
    labelled = sorted(split for split in totals.stored if split in plan.natural)
    return {split: totals.stored[split] - totals.copies[split] for split in labelled}


def _unlabelled(plan: plans.Plan, totals: Totals) -> int:
    """Returns the number of images without a label that were written."""
    return sum(sum(totals.stored[split].values()) for split in plan.shards if split not in plan.natural)


def _of_unlabelled(config: PrepareConfig, work: Work, images: int) -> dict[str, Any]:
    """Returns what the summary says of the images without a label.

    Args:
      images: their number.
    """
    if not config.unlabelled:
        return {}
    found = {"images": images, "twins": _by_split(work, "twins")}
    return found | ({"alike": _by_split(work, "alike")} if config.group_similar else {})


def _by_split(work: Work, name: str) -> dict[str, int]:
    """Returns split -> labelled images in it that a folder of lines names."""
    counts = collections.Counter(json.loads(line)["split"] for line in rejects_file.lines(work.path(name)))
    return dict(sorted(counts.items()))


def _counts(stored: int, copies: int, left_out: int) -> ClassCounts:
    return ClassCounts(stored - copies + left_out, stored, copies, left_out)


def _by_number(counts: Mapping[str, int]) -> dict[int, int]:
    return {int(k): v for k, v in sorted(counts.items(), key=lambda item: int(item[0]))}


class _Groups(NamedTuple):
    """Describes the groups of inputs with equal content, or of those that look alike.

    groups: number of groups. conflicting: of these, groups with more than one label. straddling: groups in more than
    one split.
    largest: number of images in the largest group.
    first: at most MAX_LISTED groups; conflicting groups come first, then the order is that of the content digest.
    """

    groups: int
    conflicting: int
    straddling: int
    largest: int
    first: tuple[Duplicates, ...]

    def numbers(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("groups", "conflicting", "straddling", "largest")}


def _count_groups(work: Work, name: str) -> _Groups:
    """Adds up the groups of a folder of lines: "duplicates" or "similar"."""
    counts: collections.Counter[str] = collections.Counter()

    def counted() -> Iterator[Duplicates]:
        for line in rejects_file.lines(work.path(name)):
            data = json.loads(line)
            group = Duplicates(data["digest"], tuple((m[0], m[1], m[2]) for m in data["members"]), data["more"])
            counts.update(groups=1, conflicting=int(group.conflicting), straddling=int(group.straddling))
            counts["largest"] = max(counts["largest"], len(group.members) + group.more)
            yield group

    first = heapq.nsmallest(rejects_file.MAX_LISTED, counted(), key=lambda d: (not d.conflicting, d.digest))
    return _Groups(counts["groups"], counts["conflicting"], counts["straddling"], counts["largest"], tuple(first))


def _count_kept(work: Work, like: str) -> tuple[collections.Counter[str], list[str]]:
    """Returns the sums of the counts of `Kept`, and warnings.

    The warnings say what is not as in the dataset of --like.
    """
    counts: collections.Counter[str] = collections.Counter()

    def gone() -> Iterator[str]:
        for line in rejects_file.lines(work.path("like")):
            found = json.loads(line)
            counts.update(kept=found["kept"], new=found["new"], moved=found["moved"], gone=len(found["gone"]))
            yield from found["gone"]

    first = heapq.nsmallest(1, gone())
    warnings = []
    if counts["gone"]:
        verb = "is" if counts["gone"] == 1 else "are"
        warnings.append(
            f"{plural(counts['gone'], 'image')} of {like!r} {verb} not in the input any more; the first is {first[0]}."
        )
    if counts["moved"]:
        verb = "keeps its" if counts["moved"] == 1 else "keep their"
        warnings.append(
            f"{plural(counts['moved'], 'image')} {verb} split of {like!r}, although the input states another split."
        )
    return counts, warnings


def _lost(plan: plans.Plan, seen: Mapping[str, int], rejected: rejects_file.Unwritten) -> dict[str, int]:
    """Returns the classes that are not in the dataset, and their inputs.

    Their inputs were rejected, or have vanished between the look at the folders (`seen`) and the listing.
    """
    kind = KINDS[plan.task]
    faults = kind.by_label(rejected.faults)
    listed_too = {label for _, answer in rejected.classes for label in kind.labels(answer)}
    labels = {label for counts in plan.natural.values() for label in counts}
    vanished = {label: n for label, n in seen.items() if label not in listed_too and text.is_label(label)}
    lost = vanished | dict(faults)
    return {label: n for label, n in sorted(lost.items()) if label not in labels}
