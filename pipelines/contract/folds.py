"""Describes the folds of train, and reads and writes folds.json.

Records are written once. `folds.json` says of each record of train in which fold it is, in the order of the records. A
copy is in the fold of the image that it was made of. With repeats, train is divided several times, and each record has
a fold in each of them.

    Fold n of repeat r has the number n + r * count, so that all folds have different numbers.
    The part that is held out has the originals of the fold.
    The part that is trained on has all records of train that are not in the fold, copies included.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.contract import json_fields
from pipelines.contract.contract import Contract, Shard, Split
from pipelines.contract.json_fields import FieldError, Fields
from pipelines.contract.task import CLASSES, COUNTS
from pipelines.core.elements import TRAIN_SPLIT
from pipelines.core.errors import ContractError
from pipelines.core.files import reading
from pipelines.core.files.urls import is_remote

FILE_NAME = "folds.json"
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"  # one for each fold of a repeat
MOST_FOLDS, MOST_REPEATS = len(DIGITS), 100
MAX_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class Fold:
    """Holds the counts of one fold.

    Attributes:
      stored, copies: Records and copies among them, per label.
      records: The number of all records, and of the copies among them.
    """

    stored: Mapping[str, int]
    copies: Mapping[str, int]
    records: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Folds:
    """Says of each record of train in which folds it is.

    Attributes:
      count: Number of folds of a repeat.
      repeats: How often train is divided.
      records: Shard -> for each repeat a text with one of DIGITS for each record.
      copies: Shard -> a text with "1" for each record that is a copy, and "0" for each original.
      folds: The counts of each fold, by its number.
    """

    count: int
    repeats: int
    records: Mapping[str, tuple[str, ...]]
    copies: Mapping[str, str]
    folds: tuple[Fold, ...]

    def to_json(self) -> str:
        """Returns the text of folds.json."""
        data = {
            "count": self.count,
            "repeats": self.repeats,
            "folds": [
                {
                    "stored": {label: n for label, n in fold.stored.items() if n},
                    "copies": {label: n for label, n in fold.copies.items() if n},
                    "records": dict(zip(("stored", "copies"), fold.records, strict=True)),
                }
                for fold in self.folds
            ],
            "shards": {
                file: {"folds": list(texts), "copies": self.copies[file]} for file, texts in self.records.items()
            },
        }
        return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def from_json(text: str, contract: Contract) -> Folds:
    """Parses and checks the text of a folds.json.

    Raises:
      ContractError: It is not JSON, or it does not fit the contract.
    """
    try:
        return _build(Fields(json_fields.parse(text)), contract)
    except FieldError as e:
        raise ContractError(f"{FILE_NAME}: {e}. If nobody changed it, prepare the dataset again.") from e


def load(directory: str | os.PathLike[str], contract: Contract, opened: Callable[[str], Any] | None = None) -> Folds:
    """Reads and checks the folds of a dataset.

    Args:
      directory: The dataset directory, local or one that TensorFlow's file systems can read.
      contract: Of the dataset.
      opened: Opens a path for reading bytes, for callers that read from other places.

    Raises:
      ContractError: The dataset has no folds, or the file is missing or is not the one that the contract names.
    """
    if not contract.folds:
        raise ContractError(
            f"Dataset {contract.name!r} has no folds: prepare it with --folds, such as --folds 5, to train on them."
        )
    path = os.path.join(os.fspath(directory), FILE_NAME)
    try:
        with (opened or _open)(path) as file:
            content = reading.at_most(file, MAX_BYTES + 1)
    except Exception as e:  # gfile raises tf.errors.*, open raises OSError; callers handle both alike
        raise ContractError(f"{path} cannot be read ({type(e).__name__}): copy or prepare the dataset again.") from e
    if hashlib.sha256(content).hexdigest() != contract.files.get(FILE_NAME):
        raise ContractError(
            f"{path} is not the file that the contract names (SHA-256 differs): copy or prepare the dataset again."
        )
    try:
        return from_json(content.decode("utf-8"), contract)
    except UnicodeDecodeError as e:
        raise ContractError(f"{path} is not UTF-8 text: prepare the dataset again.") from e


def held_out(contract: Contract, folds: Folds, number: int) -> Split:
    """Returns the counts of the originals of a fold, with the shards of train."""
    fold, train = folds.folds[number], contract.split(TRAIN_SPLIT)
    own = {label: fold.stored.get(label, 0) - fold.copies.get(label, 0) for label in contract.labels}
    chosen = [sum(held) for held in _marks(folds, train, number)]
    return Split(own, own, dict.fromkeys(contract.labels, 0), _shards(train, chosen))


def rest(contract: Contract, folds: Folds, number: int) -> Split:
    """Returns the counts of train without a fold, with the bytes of its shards.

    Images that the balance left out count for the rest.
    """
    fold, train, held = folds.folds[number], contract.split(TRAIN_SPLIT), held_out(contract, folds, number)

    def less(whole: Mapping[str, int], part: Mapping[str, int]) -> dict[str, int]:
        return {label: whole.get(label, 0) - part.get(label, 0) for label in contract.labels}

    digit = DIGITS[number % folds.count]
    left = [shard.records - folds.records[shard.file][number // folds.count].count(digit) for shard in train.shards]
    return Split(
        less(train.natural, held.natural), less(train.stored, fold.stored), less(train.copies, fold.copies),
        _shards(train, left),
    )  # fmt: skip


def view(contract: Contract, folds: Folds, number: int, name: str) -> Contract:
    """Returns the contract as one fold sees it, for its counts.

    `train` is the train split without the fold, and `name` is the part that is held out. The shards have the number of
    records that are in the part, and the bytes and the digest of the file. So the result must not be used to read them.

    Args:
      name: of the part that is held out.
    """
    parts = {TRAIN_SPLIT: rest(contract, folds, number), name: held_out(contract, folds, number)}
    images = dict(contract.task.images)
    if contract.task.kind != CLASSES:
        stored, copies = folds.folds[number].records
        whole, own = images[TRAIN_SPLIT], stored - copies
        less = {"natural": own, "stored": stored, "copies": copies}
        images[TRAIN_SPLIT] = {count: whole[count] - less[count] for count in COUNTS}
        images[name] = {"natural": own, "stored": own, "copies": 0}
    task = dataclasses.replace(contract.task, images=images)
    return dataclasses.replace(contract, splits={**contract.splits, **parts}, task=task)


def _marks(folds: Folds, train: Split, number: int) -> list[list[bool]]:
    """Returns for each shard of train which of its records are held out with a fold."""
    repeat, digit = number // folds.count, DIGITS[number % folds.count]
    pairs = [zip(folds.records[s.file][repeat], folds.copies[s.file], strict=True) for s in train.shards]
    return [[of == digit and copy == "0" for of, copy in shard] for shard in pairs]


def _shards(train: Split, records: Sequence[int]) -> tuple[Shard, ...]:
    return tuple(dataclasses.replace(s, records=n) for s, n in zip(train.shards, records, strict=True))


def _build(fields: Fields, contract: Contract) -> Folds:
    count, repeats = fields.whole("count", 2), fields.whole("repeats", 1)
    said = contract.folds
    if (count, repeats) != (said.get("count"), said.get("repeats")):
        raise FieldError(f"it should have {said} folds, as the contract says. Received: {count}, {repeats} times")
    found = [_fold(item, contract) for item in fields.items("folds")]
    if len(found) != count * repeats:
        raise FieldError(f"folds should be {count * repeats} in number. Received: {len(found)}")
    shards = fields.parts("shards")
    records, copies, allowed = {}, {}, set(DIGITS[:count])
    for shard in contract.split(TRAIN_SPLIT).shards:
        if shard.file not in shards:
            raise FieldError(f"shards has no {shard.file!r}")
        records[shard.file] = texts = shards[shard.file].lines("folds")
        copies[shard.file] = marks = shards[shard.file].text("copies")
        if len(texts) != repeats or any(len(text) != shard.records for text in (*texts, marks)):
            raise FieldError(f"shards.{shard.file} should have {repeats} texts of {shard.records} folds")
        if set("".join(texts)) - allowed or set(marks) - set("01"):
            raise FieldError(f"shards.{shard.file} should have folds from 0 to {DIGITS[count - 1]}, and copies 0 or 1")
    made = Folds(count, repeats, records, copies, tuple(found))
    _check_counts(made)
    return made


def _fold(fields: Fields, contract: Contract) -> Fold:
    counts = fields.part("records").counts_of(("stored", "copies"))
    fold = Fold(fields.counts("stored"), fields.counts("copies"), (counts["stored"], counts["copies"]))
    unknown = (set(fold.stored) | set(fold.copies)) - set(contract.labels)
    if unknown:
        raise FieldError(f"folds count labels that are not in the contract: {sorted(unknown)}")
    return fold


def _check_counts(folds: Folds) -> None:
    """Raises FieldError if the counts of a fold are not those of its records."""
    for number, fold in enumerate(folds.folds):
        repeat, digit = number // folds.count, DIGITS[number % folds.count]
        stored = sum(texts[repeat].count(digit) for texts in folds.records.values())
        if fold.records[0] != stored or not 0 <= fold.records[1] <= stored:
            raise FieldError(f"folds[{number}] counts {fold.records[0]} records, and {stored} are in it")


def _open(path: str) -> Any:
    if not is_remote(path):
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError("not a regular file")  # opening a FIFO could block for ever
        return open(path, "rb")
    import tensorflow as tf

    return tf.io.gfile.GFile(path, "rb")
