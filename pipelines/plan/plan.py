"""Decides what is written: labels, records, copies and shards.

The plan is made once per run from the class counts, and is small enough for every worker to hold.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pipelines.contract.task import CLASSES
from pipelines.core import class_order, errors, hashing
from pipelines.core.elements import TRAIN_SPLIT, Item, Ref
from pipelines.core.errors import ConfigError, NothingUsableError
from pipelines.plan import balance, rank_histogram
from pipelines.tasks.kind import Answers
from pipelines.tasks.kinds import KINDS

MIN_SHARD_RECORDS = 256
USUAL_SHARDS = 8  # enough for a reader to interleave; fewer where shards would be tiny
# In all splits together: contract.json takes about 400 bytes per shard, and readers accept MAX_CONTRACT_BYTES at most.
MAX_SHARDS = 100_000


NO_LABEL = "\0"  # stands in the place of the label, or the stratum, of images without one; no label is this text


class Share(NamedTuple):
    """Describes the images and the records of one class in one split.

    copies: only classes of train have other copies than the default.
    """

    images: int
    records: int
    copies: balance.Copies = balance.Copies(1, 0)


@dataclasses.dataclass(frozen=True)
class Sharding:
    """States into how many shards a split is divided.

    shards: the number per split; 0: chosen by `shard_size`.
    shard_size: most bytes per shard, approximately.
    record_bytes: estimate of the bytes of a record: see `record_bytes`.
    """

    shards: int
    shard_size: int
    record_bytes: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """Describes the dataset that is to be written.

    labels: in the order of their ids.
    natural: the number of images per split and label.
    records, shards: their number per split; with that of the images without a label, which `natural` does not have.
    copies: per label of train; per `Kind.stratum` of train, if images do not have one class each.
    task: the name of the kind of task.
    """

    labels: tuple[str, ...]
    natural: dict[str, dict[str, int]]
    records: dict[str, int]
    shards: dict[str, int]
    copies: dict[str, balance.Copies]
    task: str = CLASSES

    @functools.cached_property
    def answers(self) -> Answers:
        """Returns what records hold, by the text of the answer."""
        return Answers(KINDS[self.task], self.labels)

    def copies_of(self, ref: Ref, seed: int) -> int:
        """Returns how many records an image becomes; 0 means that it is left out."""
        if ref.split != TRAIN_SPLIT:
            return 1
        stratum = KINDS[self.task].stratum(ref.label, self.natural[TRAIN_SPLIT])
        return self.copies[stratum].of(hashing.position(seed, "balance", ref.key))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False)


def share_of(target: int | None, histogram: rank_histogram.RankHistogram, max_copies: int) -> Share:
    """Returns the share of one class in one split.

    Args:
      target: the records of the class; None: as many as it has images.
      histogram: the balance positions of its images.
      max_copies: most records per image.
    """
    if target is None:
        return Share(histogram.total, histogram.total)
    copies = balance.copies_for(target, histogram, max_copies)
    records = copies.base * histogram.total + _below(histogram, copies.threshold)
    return Share(histogram.total, records, copies)


def make_plan(
    shares: Mapping[tuple[str, str], Share],
    mode: str,
    sharding: Sharding,
    first: Sequence[str] = (),
    task: str = CLASSES,
    counts: Mapping[tuple[str, str], int] | None = None,
) -> Plan:
    """Makes the plan from the share of each (split, label).

    Args:
      mode: the mode of the balance, for messages.
      first: the classes whose ids are fixed, from 0. They are classes of the dataset also without an image.
      task: the name of the kind of task. If images do not have one class each, `shares` has a `Kind.stratum` in place
        of a label, and `counts` the images of each (split, label).

    Raises:
      NothingUsableError: there is no image to train on.
      BalanceError: the balance leaves nothing to train on.
      ConfigError: there would be more than MAX_SHARDS shards.
    """
    natural: dict[str, dict[str, int]] = {}
    for (split, label), share in sorted(shares.items()):
        if label == NO_LABEL:
            continue
        of_split = natural.setdefault(split, {})
        if counts is None:
            of_split[label] = share.images
    for (split, label), images in sorted((counts or {}).items()):
        natural[split][label] = images
    if TRAIN_SPLIT not in natural:
        raise NothingUsableError(
            "No readable image in split 'train'. Expected images in class folders, split/class folders, or a manifest; "
            f"read: {', '.join(f'{n} in {split}' for split, n in _images(shares).items()) or 'none at all'}. "
            "--split-column none leaves the splits of a table aside, and --split-names says which folder is train."
        )
    records = {split: 0 for split, _ in shares}
    for (split, _), share in shares.items():
        records[split] += share.records
    if not records[TRAIN_SPLIT]:
        raise errors.BalanceError(f"--balance {mode} leaves split 'train' without a record.")
    shards = {split: shard_count(count, sharding) for split, count in records.items()}
    if sum(shards.values()) > MAX_SHARDS:
        raise ConfigError(
            f"{sum(records.values()):,} records would be {sum(shards.values()):,} shards. There should be at most "
            f"{MAX_SHARDS:,}, so that contract.json stays readable: use a larger --shard-size or smaller --shards."
        )
    copies = {label: share.copies for (split, label), share in sorted(shares.items()) if split == TRAIN_SPLIT}
    labels = class_order.ordered({label for of_split in natural.values() for label in of_split}, first)
    if KINDS[task].has_labels and not labels:
        raise NothingUsableError("No image that can be used has a label, so there is nothing to learn.")
    return Plan(labels, natural, dict(sorted(records.items())), dict(sorted(shards.items())), copies, task)


def _images(shares: Mapping[tuple[str, str], Share]) -> dict[str, int]:
    """Returns the number of images of each split."""
    found: dict[str, int] = {}
    for (split, _), share in sorted(shares.items()):
        found[split] = found.get(split, 0) + share.images
    return found


def shard_count(records: int, sharding: Sharding) -> int:
    """Returns the number of shards of a split.

    It is the configured number, or chosen so that by estimate no shard exceeds --shard-size and none is tiny.
    """
    if sharding.shards:
        return sharding.shards
    by_size = math.ceil(records * sharding.record_bytes / sharding.shard_size)
    return max(1, by_size, min(USUAL_SHARDS, records // MIN_SHARD_RECORDS))


def record_bytes(height: int, width: int, channels: int, encoding: str) -> int:
    """Estimates the bytes that a record takes.

    The result is exact to some tens of bytes for the raw encodings, and a guess for JPEG (1.6 bits per value) and PNG.
    """
    values = height * width * channels
    per_value = {"float32": 4.0, "float16": 2.0, "uint8": 1.0, "png": 0.7, "jpeg": 0.2}[encoding]
    return int(values * per_value) + 120


def items_of(ref: Ref, plan: Plan, seed: int) -> Iterator[tuple[tuple[str, int], Item]]:
    """Yields ((split, shard), item) of every record that an image becomes.

    Hash ranges map to shards, so the order of records is global.
    """
    for copy in range(plan.copies_of(ref, seed)):
        position = hashing.position(seed, "order", ref.key, copy)
        yield (ref.split, position * plan.shards[ref.split] // hashing.POSITIONS), Item(position, ref, copy)


def shard_names(plan: Plan, dataset: str) -> dict[str, list[str]]:
    """Returns the file names of every split's shards.

    Args:
      dataset: the dataset's name.
    """
    return {split: [file_name(dataset, split, i, total) for i in range(total)] for split, total in plan.shards.items()}


def _below(histogram: rank_histogram.RankHistogram, threshold: int) -> int:
    return sum(weight for position, weight in histogram.ordered() if position < threshold)


def file_name(name: str, split: str, index: int, total: int) -> str:
    """Returns the shard's name as TFDS expects it."""
    return f"{name}-{split}.tfrecord-{index:05d}-of-{total:05d}"
