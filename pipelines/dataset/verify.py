"""Checks a dataset against its contract.

It checks every file, size, digest, record, count and side file. It needs neither TensorFlow nor Beam, and the memory of
one record and of one shard's ledger.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator

from pipelines import contract as contracts
from pipelines import storage
from pipelines.contract import Contract, Split, ledger
from pipelines.core.console import progress
from pipelines.core.errors import LedgerError
from pipelines.dataset import side_file_digests, verify_folds, verify_shard
from pipelines.dataset.verify_shard import Counts
from pipelines.tasks.kinds import KINDS


def verify(directory: str) -> list[str]:
    """Returns a sentence for each problem of the dataset.

    The list is empty if the dataset is complete and unchanged.

    Raises:
      ContractError: There is no contract to check against.
    """
    contract = contracts.load(directory, storage.reading_text)
    progress.begin("verifying", sum(split.records for split in contract.all_splits.values()))
    return list(_problems(directory, contract))


def _problems(directory: str, contract: Contract) -> Iterator[str]:
    text = contracts.read_text(directory, storage.reading_text)
    if text != contract.to_json() and not (not contract.files and text == contract.to_json(sealed=False)):
        yield "contract.json was changed after it was written (its `contract_digest` or a derived field differs)."
    yield from _stray_shards(directory, contract)
    for name, split in contract.all_splits.items():
        counts = Counts()
        told = [
            problem for shard in split.shards for problem in verify_shard.problems(directory, contract, shard, counts)
        ]
        yield from told
        if not told:
            yield from _count_problems(name, split, counts)
            yield from _record_problems(name, contract, counts)
    yield from side_file_digests.problems(directory, contract)
    yield from verify_folds.problems(directory, contract)
    yield from _reject_problems(directory, contract)


def _stray_shards(directory: str, contract: Contract) -> Iterator[str]:
    named = {shard.file for split in contract.all_splits.values() for shard in split.shards}
    for file in storage.children(directory):
        if ".tfrecord-" in file and file not in named:
            yield f"{file} is not in the contract: a stale or foreign shard. Remove it."


def _count_problems(name: str, split: Split, counts: Counts) -> Iterator[str]:
    """Yields a sentence if a split's counts by class differ from the contract's.

    It is for splits without other problems.
    """
    for what, said, found in (
        ("records", split.stored, counts.stored),
        ("augmented copies", split.copies, counts.copies),
    ):
        if +found != +collections.Counter(said):
            yield f"Split {name} should hold {dict(said)} {what} by class. It holds {dict(+found)}."


def _record_problems(name: str, contract: Contract, counts: Counts) -> Iterator[str]:
    """Yields a sentence if the numbers of records differ from those of the task.

    Counts by label do not tell them if an image has several labels or none.
    """
    said = contract.task.images.get(name)
    if said and counts.records != [said["stored"], said["copies"]]:
        yield (
            f"Split {name} should hold {said['stored']} records, {said['copies']} of them copies. It holds "
            f"{counts.records[0]}, {counts.records[1]} of them copies."
        )


def _reject_problems(directory: str, contract: Contract) -> Iterator[str]:
    """Yields a sentence for each list of rejects that differs from the contract.

    The lists hold the inputs that were not written. They are counted by reason and by class.
    """
    try:
        reasons = collections.Counter(r.reason for r in ledger.rejects(directory, ledger.REJECTED, storage.reading))
        left_out = collections.Counter(
            (r.split, r.label) for r in ledger.rejects(directory, ledger.UNUSED, storage.reading)
        )
    except LedgerError as e:
        yield str(e)
        return
    if reasons != collections.Counter(contract.rejected):
        said = dict(contract.rejected)
        yield f"rejects/{ledger.REJECTED} should list {said} by reason. It lists {dict(reasons)}."
    kind = KINDS[contract.task.kind]
    for name, split in contract.splits.items():
        unused = kind.by_label({text: count for (of, text), count in left_out.items() if of == name})
        for label in contract.labels:
            stored, copies = split.stored.get(label, 0), split.copies.get(label, 0)
            natural = stored - copies + unused[label]
            if natural != split.natural.get(label, 0):
                yield (
                    f"Split {name} should come of {split.natural.get(label, 0)} images of {label}. "
                    f"Its records and rejects/{ledger.UNUSED} tell of {natural}."
                )
