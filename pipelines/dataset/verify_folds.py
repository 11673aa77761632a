"""Checks folds.json against the contract and the ledgers of train."""

from __future__ import annotations

import collections
from collections.abc import Iterator

from pipelines import storage
from pipelines.contract import Contract, ContractError, ledger
from pipelines.contract import folds as fold_files
from pipelines.contract.folds import DIGITS, Folds
from pipelines.core.elements import TRAIN_SPLIT
from pipelines.core.errors import LedgerError
from pipelines.tasks.kinds import KINDS

Counts = collections.Counter[str]


def problems(directory: str, contract: Contract) -> Iterator[str]:
    """Yields a sentence for each fault of the folds of a dataset.

    Its memory is that of one ledger, and of the folds of the images that have copies.
    """
    if not contract.folds:
        return
    try:
        folds = fold_files.load(directory, contract, storage.reading)
        found = _Found(directory, contract, folds)
    except (ContractError, LedgerError) as e:
        yield str(e)
        return
    yield from found.problems()


class _Found:
    """Holds what the ledgers say of each fold."""

    def __init__(self, directory: str, contract: Contract, folds: Folds):
        self._folds, self._kind = folds, KINDS[contract.task.kind]
        self._stored: list[Counts] = [collections.Counter() for _ in folds.folds]
        self._copies: list[Counts] = [collections.Counter() for _ in folds.folds]
        self._wrong_marks = 0
        self._of_image: dict[str, tuple[str, ...]] = {}  # key of a source -> its folds, where it has copies
        self._torn: set[str] = set()
        split = contract.split(TRAIN_SPLIT)
        has_copies = any(folds.copies[shard.file].count("1") for shard in split.shards)
        for shard in split.shards if split.records else ():
            for index, line in enumerate(ledger.lines(directory, shard.file, storage.reading)):
                if index < shard.records:  # another check names what is beyond
                    self._take(shard.file, index, line, has_copies)

    def _take(self, file: str, index: int, line: ledger.Line, has_copies: bool) -> None:
        own = tuple(text[index] for text in self._folds.records[file])
        self._wrong_marks += (self._folds.copies[file][index] == "1") != (line.copy > 0)
        for repeat, digit in enumerate(own):
            number = repeat * self._folds.count + DIGITS.index(digit)
            self._stored[number][line.label] += 1
            self._copies[number][line.label] += line.copy > 0
        source = line.key.partition("-")[0]
        if has_copies and self._of_image.setdefault(source, own) != own:
            self._torn.add(line.uri)

    def problems(self) -> Iterator[str]:
        if self._wrong_marks:
            yield f"folds.json says of {self._wrong_marks} records otherwise than the ledger whether they are copies."
        if self._torn:
            yield (
                f"folds.json has copies of {len(self._torn)} images in other folds than the images. The first is "
                f"{min(self._torn)}."
            )
        for number, fold in enumerate(self._folds.folds):
            stored, copies = (self._kind.by_label(counts[number]) for counts in (self._stored, self._copies))
            if +stored != +collections.Counter(fold.stored) or +copies != +collections.Counter(fold.copies):
                yield (
                    f"Fold {number} should hold {dict(fold.stored)} records, {dict(fold.copies)} of them copies. It "
                    f"holds {dict(+stored)}, {dict(+copies)} of them copies."
                )
