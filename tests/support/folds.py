"""Divides the train split of a tiny dataset into folds, as `prepare --folds` does, without Beam."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from pathlib import Path

import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.contract.folds import DIGITS, FILE_NAME, Fold, Folds
from pipelines.contract.ledger import Line

COPIES = 4  # every so many records of train is a copy, if there are copies


def index_of(key: str) -> int:
    """The number of the picture that a record has."""
    return int(key.partition("-")[0], 16)


def divide(directory: Path, count: int = 3, repeats: int = 1, copies: bool = False) -> Folds:
    """Writes folds.json: picture i is in fold i % count, in repeat 1 in (i // 2) % count. Returns what is in it.

    With copies, every COPIES-th record is said to be a copy.
    """
    contract = contracts.load(directory)
    answer = "target" if contract.target_width else "label"
    spec = {name: contracts.feature_spec(contract)[name] for name in ("key", answer)}
    stored = [collections.Counter() for _ in range(count * repeats)]
    copied = [collections.Counter() for _ in range(count * repeats)]
    numbers = [[0, 0] for _ in range(count * repeats)]
    records, marks = {}, {}
    for shard in contract.split("train").shards:
        serialized = tf.data.TFRecordDataset(str(directory / shard.file)).as_numpy_iterator()
        found = [tf.io.parse_single_example(record, spec) for record in serialized]
        indices = [index_of(record["key"].numpy().decode()) for record in found]
        is_copy = [copies and index % COPIES == 0 for index in indices]
        of = [[index % count for index in indices], [index // 2 % count for index in indices]][:repeats]
        records[shard.file] = tuple("".join(DIGITS[fold] for fold in own) for own in of)
        marks[shard.file] = "".join("1" if copy else "0" for copy in is_copy)
        for repeat, own in enumerate(of):
            for record, fold, copy in zip(found, own, is_copy, strict=True):
                number = repeat * count + fold
                labels = _labels(contract, record[answer].numpy())
                stored[number].update(labels)
                copied[number].update(labels if copy else [])
                numbers[number][0] += 1
                numbers[number][1] += copy
    folds = Folds(
        count, repeats, records, marks,
        tuple(Fold(dict(s), dict(c), (n[0], n[1])) for s, c, n in zip(stored, copied, numbers, strict=True)),
    )  # fmt: skip
    text = folds.to_json()
    (directory / FILE_NAME).write_text(text)
    named = {FILE_NAME: hashlib.sha256(text.encode()).hexdigest()}
    made = dataclasses.replace(contract, folds={"count": count, "repeats": repeats}, files={**contract.files, **named})
    (directory / contracts.FILE_NAME).write_text(made.to_json(), encoding="utf-8")
    return folds


def write_ledgers(directory: Path) -> None:
    """Writes a ledger in which the source of picture i is `in/i.png`."""
    contract = contracts.load(directory)
    (directory / "ledger").mkdir(exist_ok=True)
    for split in contract.splits.values():
        for shard in split.shards:
            keys = [
                tf.io.parse_single_example(r, {"key": tf.io.FixedLenFeature([], tf.string)})["key"].numpy().decode()
                for r in tf.data.TFRecordDataset(str(directory / shard.file)).as_numpy_iterator()
            ]
            lines = [Line(key, f"in/{index_of(key)}.png", "x", "0" * 64, 0)._asdict() for key in keys]
            text = "".join(json.dumps({**line, "metadata": {}}) + "\n" for line in lines)
            (directory / "ledger" / f"{shard.file}.jsonl").write_text(text)


def _labels(contract: Contract, answer) -> list[str]:
    if not contract.target_width:
        return [contract.labels[int(answer)]]
    return [label for label, value in zip(contract.labels, answer, strict=False) if value]
