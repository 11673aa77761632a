"""Describes a prepared dataset: as a table, as JSON and as a contact sheet.

The contact sheet shows sources next to stored images. Everything is read from the dataset directory (contract, shards,
ledger) and not from the run that made it, so that it shows what a trainer will get.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines import contract as contracts
from pipelines import storage
from pipelines.contract import Contract, ContractError, ledger, task, tfrecord
from pipelines.contract.metadata import MOST_DIFFERENT, TEXT
from pipelines.contract.task import CLASSES
from pipelines.core import summary, text
from pipelines.core.elements import TRAIN_SPLIT, UNLABELLED
from pipelines.core.errors import LedgerError
from pipelines.dataset import verify_shard
from pipelines.images.source_policy import DEFAULT, SourcePolicy, from_notes

if TYPE_CHECKING:  # contact_sheet loads Pillow, which is not in the base install; `describe` does not need it
    from pipelines.dataset.contact_sheet import Entry


def describe(directory: str | os.PathLike[str]) -> str:
    """Returns a plain text description of a prepared dataset, some dozens of lines.

    Raises:
      ContractError: The directory holds no complete dataset.
    """
    c = contracts.load(directory, storage.reading_text)
    blocks = [_facts(c), _normalization(c)] + ([_targets(c)] if c.task.targets else [])
    blocks += [_metadata(c)] if c.metadata else []
    blocks += [f"{name}\n{_split_table(c, name)}" for name in summary.reading_order(c.splits)]
    if c.unlabelled is not None:
        blocks.append(f"{UNLABELLED}\n{c.unlabelled.records:,} images without a label\n{_size(c, UNLABELLED)}")
    by_count = sorted(c.rejected.items(), key=lambda item: item[1], reverse=True)
    rejected = text.table(("rejected", "inputs"), by_count)
    blocks.append(rejected if c.rejected else "rejected    none")
    blocks.append("versions    " + ", ".join(f"{name} {version}" for name, version in sorted(c.versions.items())))
    return text.printable("\n\n".join(blocks), keep="\n")


def describe_json(directory: str | os.PathLike[str]) -> str:
    """Returns `contract.json` with the number of shards and of bytes of each split.

    Raises:
      ContractError: The directory holds no complete dataset.
    """
    c = contracts.load(directory, storage.reading_text)
    data = json.loads(c.to_json())
    for name, split in c.all_splits.items():
        of_split = data["splits"][name] if name in c.splits else data["unlabelled"]
        of_split |= {"shard_count": len(split.shards), "bytes": _bytes(c, name)}
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=True)


def contact_sheet(
    directory: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    split: str = TRAIN_SPLIT,
    columns: int = 4,
    rows: int = 6,
    seed: int = 0,
) -> None:
    """Draws `columns` x `rows` pairs of source and stored image to a PNG file.

    The choice is a function of the seed and the dataset. The classes take turns, and copies appear as often as they are
    stored. A source that is missing or cannot be read becomes a gray tile that says so. Stored images are mapped back
    to gray levels with the contract's scale and offset.

    Raises:
      ContractError: The dataset is not complete, there is no such split, or a ledger is missing or disagrees with the
        shards.
      ValueError: `columns` or `rows` is below 1.
    """
    from pipelines.dataset import contact_sheet as sheet

    if columns < 1 or rows < 1:
        raise ValueError(f"columns and rows should be at least 1. Received: {columns} x {rows}")
    c = contracts.load(directory, storage.reading_text)
    entries = choose(c, list(_ledger(directory, c, split)), columns * rows, seed)
    images = _stored(directory, c, entries)
    title = "" if entries else f"The split {split!r} is empty."
    sheet.draw(list(zip(entries, images, strict=True)), columns, title, _policy(c)).save(path, format="PNG")


def _policy(c: Contract) -> SourcePolicy:
    """Returns how the pixels of the sources were understood.

    That of a version with other rules is unknown, and only matters for what the sheet shows of the sources.
    """
    try:
        return from_notes(c.decode)
    except (TypeError, ValueError):
        return DEFAULT


def choose(c: Contract, entries: Sequence[Entry], count: int, seed: int) -> list[Entry]:
    """Chooses at most `count` entries; the classes take turns.

    The turns are in order of label id. Within a class, the seed determines the order. The result is grouped by class.

    Raises:
      ContractError: The contract does not have the label of an entry.
    """
    if c.unlabelled is not None and not any(entry.label for entry in entries):
        c = dataclasses.replace(c, labels=())  # of the images without a label
    known = (
        c.labels
        if c.task.kind == CLASSES and c.labels
        else tuple(dict.fromkeys(e.label for e in entries if c.labels) or [""])
    )
    by_label: dict[str, list[Entry]] = {label: [] for label in known}
    for entry in entries:
        if not c.labels:
            by_label[""].append(entry)
            continue
        if entry.label not in by_label:
            raise ContractError(
                f"ledger/{entry.file}.jsonl has the label {entry.label!r}, which the contract does not have."
            )
        by_label[entry.label].append(entry)
    for label, members in by_label.items():
        random.Random(zlib.crc32(label.encode("utf-8", "backslashreplace")) ^ seed).shuffle(members)
    turns = itertools.zip_longest(*by_label.values())
    chosen = list(itertools.islice((e for turn in turns for e in turn if e is not None), count))
    if not c.labels:
        return chosen
    return sorted(chosen, key=lambda e: known.index(e.label))  # stable: keeps the order in a class


def denormalize(c: Contract, images: np.ndarray) -> np.ndarray:
    """Maps normalized values back to gray levels.

    The result is exact for every encoding but float16, which is within half a gray level before rounding.

    Args:
      c: The dataset's contract.
      images: Normalized floating-point values of shape (..., H, W, C).

    Returns:
      uint8 of the same shape, rounded and clipped to 0..255.
    """
    scale, offset = (np.asarray(v, np.float64) for v in (c.normalization.scale, c.normalization.offset))
    pixels: np.ndarray = np.clip(np.rint((images.astype(np.float64) - offset) / scale), 0, 255).astype(np.uint8)
    return pixels


def _facts(c: Contract) -> str:
    height, width, depth = c.image_shape
    low, high = c.value_range
    facts = {
        "dataset": f"{c.name}, format version {c.format_version}",
        "images": f"{height} x {width} x {depth} {c.channel_order}, {c.dtype} to the model",
        **({"stored": f"whole images, {height} pixels on the shorter side"} if c.is_uneven else {}),
        "range": f"{low:.6g} to {high:.6g}",
        "encoding": c.encoding,
        "resize": _pairs(c.resize),
        "balance": _pairs(c.balance),
        "augment": _pairs(c.augmentation),
        "seed": str(c.seed),
        **({"folds": _folds(c)} if c.folds else {}),
        **_task(c),
    }
    return "\n".join(f"{name:<12}{value}" for name, value in facts.items())


def _folds(c: Contract) -> str:
    """Returns into how many folds train is divided."""
    repeats = c.folds["repeats"]
    return f"{c.folds['count']} of train" + (f", {repeats} times" if repeats > 1 else "")


def _task(c: Contract) -> dict[str, str]:
    if c.task.kind == CLASSES:
        return {"classes": f"{len(c.labels):,}"}
    number = {"labels": f"{len(c.labels):,}"} if c.labels else {"targets": f"{len(c.task.targets):,}"}
    return {"task": c.task.kind, **number}


def _targets(c: Contract) -> str:
    """Returns a table of the numbers of train that are to be predicted."""
    t = c.task
    rows = [
        (name, *(f"{values[i]:.6g}" for values in (t.mean, t.std, t.least, t.median, t.greatest)))
        for i, name in enumerate(t.targets)
    ]
    return text.table(("target, of train", "mean", "std", "least", "median", "greatest"), rows)


def _metadata(c: Contract) -> str:
    """Returns a table of the columns that travel along."""
    rows = [
        (column.feature, column.dtype, column.missing, _different(column.different) if column.dtype == TEXT else "")
        for column in c.metadata
    ]
    return text.table(("kept column", "type", "images without it", "different values"), rows)


def _different(count: int | None) -> str:
    return f"more than {MOST_DIFFERENT:,}" if count is None else f"{count:,}"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value not in ("", {}, None)) or "none"


def _normalization(c: Contract) -> str:
    n = c.normalization
    rows = [
        (name, *(f"{values[i]:.6g}" for values in (n.mean, n.std, n.scale, n.offset)))
        for i, name in enumerate(c.channel_names)
    ]
    return text.table((f"normalize {n.mode}", "mean", "std", "scale", "offset"), rows)


def _split_table(c: Contract, name: str) -> str:
    split = c.split(name)
    kinds = (split.natural, split.stored, split.copies)
    rows = [(label, *(counts.get(label, 0) for counts in kinds)) for label in c.labels]
    images = c.task.images.get(name)
    rows.append(("all", *(images.values() if images else (sum(counts.values()) for counts in kinds))))
    head = "class" if c.task.kind == CLASSES else "label" if c.labels else "images"
    return text.table((head, "natural", "stored", "of these copies"), rows) + "\n" + _size(c, name)


def _size(c: Contract, name: str) -> str:
    shards = text.plural(len(c.split(name).shards), "shard")
    return f"{shards}, {_bytes(c, name):,} bytes ({text.byte_size(_bytes(c, name))})"


def _bytes(c: Contract, name: str) -> int:
    return sum(shard.bytes for shard in c.split(name).shards)


def _ledger(directory: str | os.PathLike[str], c: Contract, split: str) -> Iterator[Entry]:
    """Yields the ledger entries of every shard of the split.

    A shard without records needs no ledger.

    Raises:
      ContractError: A ledger cannot be read, or it does not have one line per record.
    """
    from pipelines.dataset.contact_sheet import Entry

    for shard in c.split(split).shards:
        path = storage.join(os.fspath(directory), "ledger", f"{shard.file}.jsonl")
        count = 0
        try:
            for line in ledger.lines(os.fspath(directory), shard.file, storage.reading) if shard.records else ():
                label = task.shown(c.task.kind, line.label)
                yield Entry(shard.file, count, line.key, line.uri, label, line.copy)
                count += 1
        except LedgerError as e:  # missing, remote or malformed: the dataset is not complete
            raise ContractError(f"{path} cannot be read ({e}). Prepare the dataset again.") from e
        if count != shard.records:
            raise ContractError(f"{path} has {count} lines, its shard {shard.records} records. Prepare again.")


def _stored(directory: str | os.PathLike[str], c: Contract, entries: Sequence[Entry]) -> list[np.ndarray]:
    """Returns the stored images of the entries, each as uint8 (H, W, C).

    Images with sizes of their own are whole. Every shard that is needed is read once.

    Raises:
      ContractError: A shard does not have the record of an entry.
    """
    import tensorflow as tf  # takes seconds to import; `describe` does not need it

    wanted: dict[str, set[int]] = {}
    for entry in entries:
        wanted.setdefault(entry.file, set()).add(entry.index)
    found: dict[tuple[str, int], np.ndarray] = {}
    spec = contracts.feature_spec(c)
    for file, indices in wanted.items():
        with storage.reading(storage.join(os.fspath(directory), file)) as opened:
            frames = tfrecord.frames(opened.read, verify_shard.most_bytes(c))
            for index, frame in enumerate(itertools.islice(frames, max(indices) + 1)):
                if index in indices and not frame.problem:
                    parsed = tf.io.parse_single_example(frame.data, spec)
                    if c.is_uneven:
                        found[file, index] = contracts.decode_image(
                            c.encoding, parsed["image"], c.image_shape[2]
                        ).numpy()
                        continue
                    images = contracts.images_from_records(c, parsed["image"][None])
                    found[file, index] = denormalize(c, images.numpy())[0]
    missing = [e for e in entries if (e.file, e.index) not in found]
    if missing:
        raise ContractError(f"{missing[0].file} has no record {missing[0].index}. `verify` finds what is damaged.")
    return [found[e.file, e.index] for e in entries]
