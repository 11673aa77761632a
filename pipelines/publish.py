"""From a finished job to a dataset: count everything, then put it in place with contract.json as the last act.

Until then the output holds what it held before, or no contract. So a directory is either whole or visibly incomplete.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from google.protobuf import text_format

from pipelines import contract as contracts
from pipelines import plan as plans
from pipelines import report, shards, sidecars, source, storage, transform
from pipelines.config import PrepareConfig
from pipelines.contract import Contract, Normalization, Shard, Split
from pipelines.summary import ClassCounts, Duplicates, Rejected, Summary, Thumbnail

LIBRARIES = ("tensorflow", "tensorflow-transform", "apache-beam", "numpy", "pillow")
MAX_LISTED = 300  # rejects and duplicates that the summary and the report name; all are in rejects/
_DIRECTORIES = ("stats", "transform_fn", "transformed_metadata", "ledger", "rejects")
_FILES = ("dataset_info.json", "features.json", "label.labels.txt", "schema.pbtxt", "report.html")


class DataRejected(Exception):
    """More of the input was rejected than --max-reject-rate allows; nothing was published."""


class Incomplete(RuntimeError):
    """The job ended without some of its results; nothing was published."""


def read_plan(work: shards.Work) -> plans.Plan:
    """The plan that the job noted."""
    data = json.loads(storage.read_text(work.path("plan.json")))
    copies = {label: plans.balance.Copies(**c) for label, c in data.pop("copies").items()}
    return plans.Plan(**{**data, "labels": tuple(data["labels"]), "copies": copies})


def summarize(
    config: PrepareConfig, work: shards.Work, plan: plans.Plan, engine: Mapping[str, Any]
) -> tuple[Summary, list[Rejected], list[Rejected]]:
    """Adds up what the job left: the summary, all rejects, and the images that the balance left out.

    Raises:
      Incomplete: a shard's account is missing.
    """
    accounts = list(_accounts(config, work, plan))
    rejects = {(r.uri, r.reason, r.detail): r for r in _lines(work, "rejects")}
    for account in accounts:
        for row in account["rejects"]:
            rejects[row["uri"], row["reason"], ""] = Rejected(**row)
    rejected = sorted(rejects.values(), key=lambda r: (r.uri, r.stage, r.detail))
    unused = sorted(_lines(work, "unused"), key=lambda r: r.uri)
    left_out = collections.Counter((r.split, r.label) for r in unused)
    classes = _classes(plan, accounts, left_out)
    duplicates = sorted(_duplicates(work), key=lambda d: (not d.conflicting, d.digest))
    totals = {n: sum((collections.Counter(a[n]) for a in accounts), collections.Counter()) for n in _COUNTED}
    natural = sum(c.natural for labels in classes.values() for c in labels.values())
    summary = Summary(
        read=natural + len(rejected),
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
    )
    return dataclasses.replace(summary, warnings=tuple(_warnings(summary, plan, config))), rejected, unused


def check_rejects(summary: Summary, config: PrepareConfig, where: str) -> None:
    """Raises DataRejected when too much of the data is bad. Hidden files and the like do not count."""
    harmless = sum(summary.rejected.get(reason, 0) for reason in source.HARMLESS)
    bad, total = sum(summary.rejected.values()) - harmless, summary.read - harmless
    if bad > config.max_reject_rate * total:
        reasons = ", ".join(f"{reason} {count}" for reason, count in summary.rejected.items())
        raise DataRejected(
            f"{bad} of {total} inputs were rejected ({bad / total:.1%}); --max-reject-rate allows "
            f"{config.max_reject_rate:.1%}. Reasons: {reasons}. Each is listed in {where}. Nothing was published."
        )


def make_contract(config: PrepareConfig, work: shards.Work, plan: plans.Plan, summary: Summary) -> Contract:
    """The contract of what lies finished below `work`.

    Raises:
      Incomplete: a finished shard is missing or holds another number of records than its account says.
    """
    accounts = {a["file"]: a for a in _accounts(config, work, plan)}
    splits = {}
    for name, files in plans.shard_names(plan, config).items():
        notes = [_note(work, file, accounts[file]["records"]) for file in files]
        counts = summary.classes[name]
        splits[name] = Split(
            natural={label: c.natural for label, c in counts.items()},
            stored={label: c.stored for label, c in counts.items()},
            copies={label: c.copies for label, c in counts.items()},
            shards=tuple(Shard(n["file"], n["records"], n["bytes"], n["sha256"]) for n in notes),
        )
    weighted = source.is_manifest(config.input) and any(a["weighted"] for a in accounts.values())
    spec = transform.image_spec(config)
    return Contract(
        name=config.dataset_name,
        image_shape=(*config.size, 3),
        encoding=config.encoding,
        labels=plan.labels,
        splits=splits,
        normalization=_normalization(config, work, summary),
        resize={"mode": spec.resize, "filter": spec.filter, "antialias": True, "rounding": "half to even"},
        decode={
            "background": list(spec.background),
            "exif_orientation": "applied",
            "alpha": "composited over background",
            "sixteen_bit": "value / 257, rounded",
            "cmyk": "C * K / 255 on inverted values",
            "animation": "first frame",
            "jpeg_dct": "INTEGER_ACCURATE",
            "jpeg_quality": config.jpeg_quality if config.encoding == "jpeg" else None,
        },
        balance={
            "mode": config.balance,
            "temperature": config.temperature,
            "target": config.target,
            "counts": dict(config.counts),
            "max_copies": config.max_copies,
        },
        augmentation=dict(config.augment),
        seed=config.seed,
        weighted=weighted,
        config_digest=config.digest(),
        source_digest=f"{sum(int(a['source_digest'], 16) for a in accounts.values()) % (1 << 256):064x}",
        transform_digest=storage.digest_and_size(work.path("transform", "transform_fn", "saved_model.pb"))[0],
        rejected=summary.rejected,
        versions={"python": platform.python_version(), **{n: metadata.version(n) for n in LIBRARIES}},
    )


def publish(
    config: PrepareConfig, work: shards.Work, contract: Contract, summary: Summary,
    rejected: Sequence[Rejected], unused: Sequence[Rejected],
) -> None:  # fmt: skip
    """Puts the dataset in place of what the output held, contract.json last."""
    texts = {
        **sidecars.tfds_files(contract),
        "schema.pbtxt": text_format.MessageToString(sidecars.schema(contract)),
        "stats/summary.json": summary.to_json(),
        "rejects/rejected.jsonl": _json_lines(rejected),
        "rejects/unused.jsonl": _json_lines(unused),
        "report.html": report.render(contract, summary),
    }
    for split in contract.splits:
        texts[f"stats/{split}.pbtxt"] = text_format.MessageToString(sidecars.statistics(contract, summary, split))
    for name, text in texts.items():
        storage.write_text(work.path("beside", name), text)
    out = config.output
    withdraw(out)
    for split in contract.splits.values():
        for shard in split.shards:
            storage.rename(work.path("shards", shard.file), storage.join(out, shard.file))
    for name in ("transform_fn", "transformed_metadata"):
        storage.move_tree(work.path("transform", name), storage.join(out, name))
    files = [shard.file for split in contract.splits.values() for shard in split.shards]
    for file in files:
        _place(work.path("ledger", f"{file}.jsonl"), storage.join(out, "ledger", f"{file}.jsonl"))
    for name in texts:
        _place(work.path("beside", name), storage.join(out, name))
    storage.write_text(storage.join(out, contracts.FILE_NAME), contract.to_json())
    storage.remove(work.root)


def withdraw(out: str) -> None:
    """Removes an earlier dataset from `out`: its contract first, so that it is visibly incomplete from then on."""
    try:
        old: list[str] = [s.file for split in contracts.load(out).splits.values() for s in split.shards]
    except contracts.ContractError:
        old = []
    storage.remove(storage.join(out, contracts.FILE_NAME))
    names = storage.children(out)
    stale = [n for n in names if ".tfrecord-" in n and n.rpartition("-of-")[2].isdigit()]
    for name in dict.fromkeys([*old, *stale, *_FILES, *_DIRECTORIES]):
        if name in names:
            storage.remove(storage.join(out, name))


def _place(path: str, target: str) -> None:
    storage.make_directory(target.rpartition("/")[0])
    storage.rename(path, target)


_COUNTED = ("formats", "conversions", "widths", "heights", "file_bytes")


def _accounts(config: PrepareConfig, work: shards.Work, plan: plans.Plan) -> Iterator[dict[str, Any]]:
    for files in plans.shard_names(plan, config).values():
        for file in files:
            try:
                yield json.loads(storage.read_text(work.path("staged", f"{file}.json")))
            except (OSError, ValueError) as e:
                raise Incomplete(f"The job left no account of shard {file} ({e}). Run it again.") from e


def _note(work: shards.Work, file: str, records: int) -> dict[str, Any]:
    try:
        note = json.loads(storage.read_text(work.path("shards", f"{file}.json")))
    except (OSError, ValueError) as e:
        raise Incomplete(f"The job left no finished shard {file} ({e}). Run it again.") from e
    if note["records"] != records:
        raise Incomplete(f"Shard {file} should hold {records} records. It holds {note['records']}. Run it again.")
    return dict(note)


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
        levels = shards.records.as_levels(account["levels"])
        result[account["split"]] = result.get(account["split"], 0) + levels
    return {split: levels.tolist() for split, levels in result.items()}


def _normalization(config: PrepareConfig, work: shards.Work, summary: Summary) -> Normalization:
    levels = shards.records.as_levels(summary.pixel_histogram["train"])
    sums = shards.records.moments(levels)
    mean, std = transform.statistics(sums["pixel_count"][0], sums["pixel_sum"], sums["pixel_square_sum"])
    scale, offset = transform.read_affine(work.path("transform", "transform_fn"))
    return Normalization(config.normalize, mean, std, scale, offset)  # type: ignore[arg-type]


def _lines(work: shards.Work, name: str) -> Iterator[Rejected]:
    for file in storage.children(work.path(name)):
        for line in storage.read_text(work.path(name, file)).split("\n"):
            if line:
                yield Rejected(**json.loads(line))


def _duplicates(work: shards.Work) -> Iterator[Duplicates]:
    for file in storage.children(work.path("duplicates")):
        for line in storage.read_text(work.path("duplicates", file)).split("\n"):
            if line:
                data = json.loads(line)
                yield Duplicates(data["digest"], tuple((m[0], m[1], m[2]) for m in data["members"]))


def _json_lines(rows: Sequence[Rejected]) -> str:
    return "".join(json.dumps(dataclasses.asdict(row), ensure_ascii=False) + "\n" for row in rows)


def _warnings(summary: Summary, plan: plans.Plan, config: PrepareConfig) -> Iterator[str]:
    for split, counts in summary.classes.items():
        missing = [label for label in plan.labels if not counts[label].natural]
        if missing:
            yield f"Split {split} has no image of: {', '.join(missing[:20])}."
    for split in set(config.splits) - set(summary.classes):
        if config.splits[split] > 0:
            yield f"Split {split} is empty."
    if summary.conflicting_groups:
        yield (
            f"{summary.conflicting_groups} pictures stand under more than one label: "
            "at least one label of each is wrong."
        )
    if summary.straddling_groups:
        yield f"{summary.straddling_groups} pictures are in more than one of the given splits: the test set leaks."
    enlarged, originals = summary.conversions.get("enlarged", 0), sum(summary.formats.values())
    if enlarged > 0.1 * originals:
        yield f"{enlarged} of {originals} images are smaller than {config.size[0]}x{config.size[1]} and were enlarged."
    for label in plan.labels:
        wanted = plan.copies.get(label)
        if wanted is not None and config.balance != "none" and wanted.base >= config.max_copies:
            yield f"Class {label} stays below its target: --max-copies {config.max_copies} was reached."

