"""Publishes a finished job as a dataset and writes contract.json last.

Before that last step the output holds its previous dataset, or no contract. So a directory is either complete or
visibly incomplete. Every file that needs disk space is written before the old dataset is touched; after that files are
only renamed. An object store cannot rename: it copies each file itself, in the same order.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from google.protobuf import text_format

import pipelines
from pipelines import contract as contracts
from pipelines import storage, work_dir
from pipelines.config import PrepareConfig
from pipelines.contract import Contract, Normalization, Shard, Split, Task, ledger
from pipelines.contract.contract import SHORTER
from pipelines.contract.folds import FILE_NAME as FOLDS
from pipelines.contract.folds import Folds
from pipelines.core import errors
from pipelines.core.elements import TRAIN_SPLIT
from pipelines.core.errors import ConfigError
from pipelines.core.summary import Summary
from pipelines.dataset import side_file_digests, sidecars
from pipelines.images import histogram
from pipelines.images.image_spec import GRAY, ImageSpec
from pipelines.job import worker_versions
from pipelines.job.results import withdraw
from pipelines.job.results.shard_totals import Totals
from pipelines.plan import plan as plans
from pipelines.records import read_shard
from pipelines.report import page
from pipelines.tasks.kinds import KINDS
from pipelines.work_dir import Work


def make_contract(
    config: PrepareConfig,
    work: Work,
    plan: plans.Plan,
    summary: Summary,
    totals: Totals,
    old: Contract | None = None,
) -> Contract:
    """Builds the contract of the finished shards below `work`.

    Args:
      old: the contract of the dataset of --like.

    Raises:
      IncompleteError: a finished shard is missing, or its number of records differs from its account.
    """
    splits = _splits(config.dataset_name, work, plan, summary, totals)
    # What has no label is no split of the contract: readers of splits expect labels.
    unlabelled = [name for name in splits if name not in plan.natural]
    return Contract(
        name=config.dataset_name,
        image_shape=(*config.size, config.image_channels),
        channel_order=config.channel_order,
        encoding=config.encoding,
        labels=plan.labels,
        splits={name: split for name, split in splits.items() if name in plan.natural},
        normalization=_normalization(config.normalize, work, summary, old),
        resize=_resize(config.image_spec),
        decode=_decoding(config),
        balance=dataclasses.asdict(config.class_balance),
        augmentation=dict(config.record_spec.augment),
        seed=config.seed,
        weighted=totals.weighted,
        config_digest=config.digest(),
        source_digest=f"{totals.source_digest:064x}",
        transform_digest=storage.sha256(work.path("transform", "transform_fn", "saved_model.pb")),
        rejected=summary.rejected,
        classes=config.classes.noted(),
        task=_task(plan, summary, work),
        folds={} if config.division is None else {"count": config.division.folds, "repeats": config.division.repeats},
        unlabelled=splits[unlabelled[0]] if unlabelled else None,
        metadata=tuple(
            of.column(told["name"], told["dtype"]) for of, told in zip(totals.metadata, summary.metadata, strict=True)
        ),
        like={} if old is None else {"name": old.name, "contract_digest": old.digest, **summary.like},
        versions={
            "shardmill": pipelines.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in (*worker_versions.LIBRARIES, "tensorflow-transform")},
        },
    )


def _splits(dataset: str, work: Work, plan: plans.Plan, summary: Summary, totals: Totals) -> dict[str, Split]:
    """Returns the splits of the finished shards.

    The one of images without a label has no counts.
    """
    found = {}
    for name, files in plans.shard_names(plan, dataset).items():
        notes = storage.each(lambda file: _note(work, file, totals.records[file]), files, work.root)
        counts = summary.classes.get(name, {})
        found[name] = Split(
            natural={label: c.natural for label, c in counts.items()},
            stored={label: c.stored for label, c in counts.items()},
            copies={label: c.copies for label, c in counts.items()},
            shards=tuple(Shard(n["file"], n["records"], n["bytes"], n["sha256"]) for n in notes),
        )
    return found


def _decoding(config: PrepareConfig) -> dict[str, Any]:
    """Returns the policy of decoding in words, as the contract states it."""
    return {
        "background": list(config.background),
        "exif_orientation": "applied",
        "alpha": "composited over background",
        "sixteen_bit": "value / 257, rounded"
        if config.source_policy.value_range is None
        else "(value - low) / (high - low) * 255, clipped and rounded",
        "cmyk": "C * K / 255 on inverted values",
        **config.source_policy.noted(),
        **({"gray": GRAY} if config.channel_order == "L" else {}),
        "animation": "first frame",
        "jpeg_dct": "INTEGER_ACCURATE",
        "jpeg_scaling": "2, 4 or 8 where the target allows" if config.quality == "fast" else "none",
        "jpeg_quality": config.jpeg_quality if config.encoding == "jpeg" else None,
    }


def _task(plan: plans.Plan, summary: Summary, work: Work) -> Task:
    """Returns the task of the dataset."""
    images = {
        split: {"natural": counts.natural, "stored": counts.stored, "copies": counts.copies}
        for split, counts in summary.images.items()
    }
    if not KINDS[plan.task].has_numbers:
        return Task(plan.task, images=images)
    found = json.loads(storage.read_text(work.path(work_dir.TARGETS)))
    names = [target["name"] for target in summary.answers["targets"]]
    train = [target["splits"][TRAIN_SPLIT] for target in summary.answers["targets"]]
    of_train = {name: tuple(target[name] for target in train) for name in ("median", "least", "greatest")}
    return Task(plan.task, tuple(names), tuple(found["mean"]), tuple(found["std"]), images=images, **of_train)


def _resize(spec: ImageSpec) -> dict[str, Any]:
    """Describes the resize policy for the contract."""
    if spec.resize == "none":
        return {"mode": "none", "placement": "centre, cut or padded with the background"}
    if spec.is_uneven:
        whole = "whole, each with its own height and width; a model sees the centre"
        return {"mode": SHORTER, "filter": spec.filter, "antialias": True, "rounding": "half to even", "stored": whole}
    return {"mode": spec.resize, "filter": spec.filter, "antialias": True, "rounding": "half to even"}


def publish(
    output: str,
    work: Work,
    contract: Contract,
    summary: Summary,
    ledgers: Mapping[str, str],
    folds: Folds | None = None,
) -> Contract:
    """Replaces the content of the output by the dataset; returns its contract.

    It writes contract.json last.

    Args:
      ledgers: file of a shard -> SHA-256 of its ledger, as it was written.
      folds: of train; None without --folds.

    Raises:
      IncompleteError: a shard or a ledger has changed since it was written. Nothing was published.
      ConfigError: there are so many shards and classes that readers would refuse the contract, or a folder is where a
        file should be. Nothing was published.
      BusyError: another run has begun in the work directory. Nothing was published.
    """
    texts = _texts(contract, summary)
    if folds is not None:
        texts[FOLDS] = folds.to_json()
    contract = side_file_digests.bind(contract, work, texts)
    _check_ledgers(contract, ledgers)
    texts[contracts.FILE_NAME] = contract.to_json()
    _check_size(texts[contracts.FILE_NAME])
    files = [shard.file for part in contract.all_splits.values() for shard in part.shards]
    _write_beside(work, texts, files)
    _read_back(contract, work)
    work_dir.check_owner(work)
    withdraw.withdraw(output, work, contract)
    _move_in(work, sorted({name.partition("/")[0] for name in texts}), files, output)
    storage.remove(work.root)
    return contract


def _texts(contract: Contract, summary: Summary) -> dict[str, str]:
    """Renders the text files next to the shards; returns path -> text.

    The contract, the ledgers and the rejects are not among them.
    """
    texts = {
        **sidecars.tfds_files(contract),
        "schema.pbtxt": text_format.MessageToString(sidecars.schema(contract)),
        "stats/summary.json": summary.to_json(),
        "report.html": page.render(contract, summary),
    }
    for split in contract.all_splits:
        texts[f"stats/{split}.pbtxt"] = text_format.MessageToString(sidecars.statistics(contract, summary, split))
    return texts


def _check_ledgers(contract: Contract, written: Mapping[str, str]) -> None:
    """Compares the digests that the contract has of ledgers with those noted."""
    for file, digest in written.items():
        name = f"ledger/{file}.jsonl"
        if contract.files[name] != digest:
            raise errors.IncompleteError(
                f"{name} has changed since it was written. Nothing was published. Run the same command again: it "
                "writes it anew."
            )


def _read_back(contract: Contract, work: Work) -> None:
    """Reads every record of the shards back, and checks and counts it.

    It is the last step before the old dataset is touched. Shards in a store are not read: the store and its client
    compare checksums whenever they write or copy an object.
    """
    if storage.is_remote(work.root):
        return
    for split in contract.all_splits.values():
        for shard in split.shards:
            read_shard.check(work.path("shards", shard.file), shard.records)


def _write_beside(work: Work, texts: Mapping[str, str], files: Sequence[str]) -> None:
    """Writes every file that needs disk space to work/beside.

    The files of the job are hard-linked where the file system can do it. They stay in place too, so that the next run
    finds them if this run ends here.
    """
    beside = work.path("beside")
    for name, text in texts.items():
        storage.write_text(storage.join(beside, *name.split("/")), text)
    for name in (ledger.REJECTED, ledger.UNUSED):
        storage.copy(work.path(name), storage.join(beside, "rejects", name))

    def copy(file: str) -> None:
        storage.copy(work.path("ledger", f"{file}.jsonl"), storage.join(beside, "ledger", f"{file}.jsonl"))

    list(storage.each(copy, files, work.root))


def _move_in(work: Work, names: Sequence[str], files: Sequence[str], out: str) -> None:
    """Moves shards, transform and side files into `out`, and the contract last."""
    storage.move([(work.path("shards", file), storage.join(out, file)) for file in files])
    for name in ("transform_fn", "transformed_metadata"):
        storage.move_tree(work.path("transform", name), storage.join(out, name))
    for name in [*(name for name in names if name != contracts.FILE_NAME), "ledger", "rejects"]:
        storage.move_tree(work.path("beside", name), storage.join(out, name))
    storage.move([(work.path("beside", contracts.FILE_NAME), storage.join(out, contracts.FILE_NAME))])


def _note(work: Work, file: str, records: int) -> dict[str, Any]:
    try:
        note = json.loads(storage.read_text(work.path("shards", f"{file}.json")))
    except (OSError, ValueError) as e:
        raise errors.IncompleteError(f"The job left no finished shard {file} ({e}). Run it again.") from e
    if note["records"] != records:
        raise errors.IncompleteError(
            f"Shard {file} should hold {records} records. It holds {note['records']}. Run it again."
        )
    return dict(note)


def _normalization(mode: str, work: Work, summary: Summary, old: Contract | None) -> Normalization:
    scale, offset = json.loads(storage.read_text(work.path(work_dir.AFFINE)))
    if old is not None:
        return dataclasses.replace(old.normalization, scale=tuple(scale), offset=tuple(offset))
    levels = histogram.as_levels(summary.pixel_histogram[TRAIN_SPLIT])
    sums = histogram.moments(levels)
    mean, std = histogram.statistics(sums["pixel_count"][0], sums["pixel_sum"], sums["pixel_square_sum"])
    return Normalization(mode, mean, std, tuple(scale), tuple(offset))


def _check_size(text: str) -> None:
    if len(text) > contracts.MAX_CONTRACT_BYTES:
        raise ConfigError(
            f"contract.json would have {len(text) >> 20} MiB and be refused: at most "
            f"{contracts.MAX_CONTRACT_BYTES >> 20} MiB are read. Use a larger --shard-size or fewer classes. "
            "Nothing was published."
        )
