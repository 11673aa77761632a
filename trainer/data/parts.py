"""Finds the records of a split, or of a part of train: a fold or a share.

A part has a name as a split has, and can be read wherever a split is read: `fold-3` has the originals of fold 3, and
`train-without-fold-3` all other records of train. `out-of-fold` has all originals of train. The records are found by
their positions in the shards of train; see `pipelines.contract.folds`. `train-share-0.25` has a quarter of the images
of each class; see `shares`.
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from pipelines.contract import Contract, Split
from pipelines.contract import folds as fold_files
from trainer.config import TRAIN_SPLIT, VALIDATION_SPLIT, TrainerError, held_out_name, rest_name
from trainer.data import train_subset
from trainer.data.fold_names import Fold, fold_of, is_out_of_fold


@dataclasses.dataclass(frozen=True)
class Part:
    """Says which records of a split are read.

    name: of the part, or of the split if all of its records are read.
    split: whose shards hold the records.
    contract: in which `name` has the counts of the part. Shards are read by the dataset's own contract.
    chosen: for each shard that holds records, which of them are in the part, bool (n,); None for all.
    """

    name: str
    split: str
    contract: Contract
    chosen: tuple[np.ndarray, ...] | None = None

    @property
    def records(self) -> int:
        """Returns the number of records in the part."""
        return self.contract.split(self.name).records

    @property
    def counts(self) -> list[int]:
        """Returns the number of records of each shard that holds records."""
        if self.chosen is not None:
            return [int(own.sum()) for own in self.chosen]
        return [shard.records for shard in self.contract.split(self.split).shards if shard.records]

    @property
    def positions(self) -> np.ndarray:
        """Returns the positions of the records in the shards, int64 (n,), ascending."""
        if self.chosen is None:
            return np.arange(self.records)
        return np.flatnonzero(np.concatenate(self.chosen))


def stored_split(name: str) -> str:
    """Returns the split whose shards hold the records of a part, or of a split."""
    return TRAIN_SPLIT if fold_of(name) or is_out_of_fold(name) or train_subset.share_of(name) else name


def name_of(split: str, fold: int | None) -> str:
    """Returns the name of the part that `load(…, split, fold=fold)` means.

    Raises:
      TrainerError: the split is neither train nor validation.
    """
    if fold is None:
        return split
    names = {TRAIN_SPLIT: rest_name, VALIDATION_SPLIT: held_out_name}
    if split not in names:
        raise TrainerError(
            f"With a fold, the split should be train, which is train without the fold, or validation, which is the "
            f"fold itself. Received: {split!r}, fold {fold}. Other splits have no folds: leave the fold out."
        )
    return names[split](fold)


def find(contract: Contract, directory: str | os.PathLike[str], name: str) -> Part:
    """Returns the records that a name stands for.

    Args:
      contract: of the dataset.
      name: of a split, or of a part.

    Raises:
      ContractError: there is no such split, or the dataset has no folds.
      TrainerError: there is no such fold, or it has no records.
    """
    fold, share = fold_of(name), train_subset.share_of(name)
    if share and name not in contract.splits:
        counts, masks = train_subset.find(contract, directory, share)
        return Part(name, TRAIN_SPLIT, dataclasses.replace(contract, splits={**contract.splits, name: counts}), masks)
    if name in contract.splits or (fold is None and not is_out_of_fold(name)):
        contract.split(name)  # reports a name that is none
        return Part(name, name, contract)
    folds = fold_files.load(directory, contract)
    if fold is None:
        return _originals(contract, folds, name)
    check_number(contract, fold.number)
    counts = (fold_files.held_out if fold.held_out else fold_files.rest)(contract, folds, fold.number)
    made = dataclasses.replace(contract, splits={**contract.splits, name: counts})
    shards = [shard.file for shard in contract.split(TRAIN_SPLIT).shards if shard.records]
    chosen = tuple(_chosen(folds, file, fold) for file in shards)
    if not counts.records:
        raise TrainerError(
            f"Fold {fold.number} of dataset {contract.name!r} leaves no record to read as {name!r}: prepare it with "
            "fewer --folds."
        )
    return Part(name, TRAIN_SPLIT, made, chosen)


def view(contract: Contract, directory: str | os.PathLike[str], number: int) -> Contract:
    """Returns the contract with the counts that a training of one fold sees.

    `train` has the counts of train without the fold, and `fold-N` those of the fold. Shards must not be read by it.

    Raises:
      ContractError, TrainerError: as `find`.
    """
    folds = fold_files.load(directory, contract)
    check_number(contract, number)
    return fold_files.view(contract, folds, number, held_out_name(number))


def check_number(contract: Contract, number: int) -> None:
    """Raises TrainerError if the dataset does not have this fold."""
    total = contract.folds["count"] * contract.folds["repeats"]
    if not 0 <= number < total:
        raise TrainerError(
            f"The fold should be one from 0 to {total - 1}, which dataset {contract.name!r} has. Received: {number}."
        )


def _originals(contract: Contract, folds: fold_files.Folds, name: str) -> Part:
    """Returns all originals of train."""
    train = contract.split(TRAIN_SPLIT)
    counts = {label: train.stored.get(label, 0) - train.copies.get(label, 0) for label in contract.labels}
    own = [np.frombuffer(folds.copies[s.file].encode(), np.uint8) != ord("1") for s in train.shards]
    shards = tuple(dataclasses.replace(s, records=int(of.sum())) for s, of in zip(train.shards, own, strict=True))
    split = Split(counts, counts, dict.fromkeys(contract.labels, 0), shards)
    made = dataclasses.replace(contract, splits={**contract.splits, name: split})
    return Part(name, TRAIN_SPLIT, made, tuple(of for of in own if len(of)))


def _chosen(folds: fold_files.Folds, file: str, fold: Fold) -> np.ndarray:
    """Returns which records of a shard are in a part, bool (n,)."""
    repeat, digit = fold.number // folds.count, ord(fold_files.DIGITS[fold.number % folds.count])
    of_fold = np.frombuffer(folds.records[file][repeat].encode(), np.uint8) == digit
    if not fold.held_out:
        return np.asarray(~of_fold)
    is_copy = np.frombuffer(folds.copies[file].encode(), np.uint8) == ord("1")
    return np.asarray(of_fold & ~is_copy)
