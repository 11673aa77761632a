"""Balances classes while training, over shards with natural class frequencies.

The dataset need not be prepared again. `prepare --balance` does the same at preparation, and a temperature has the same
meaning in both: a class of n records gets a share of the epoch proportional to n ** (1 / T) (Arivazhagan et al. 2019,
"Massively Multilingual Neural Machine Translation in the Wild"). An epoch has as many records as the split. Records of
rare classes come several times in it, and records of frequent classes do not come in every epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipelines.contract import Contract
from pipelines.contract.task import CLASSES
from trainer.config import AUTO_LOSS, NATURAL, TRAIN_SPLIT, TrainConfig, TrainerError, resample_temperature


def quotas(stored: Sequence[int], temperature: float) -> list[int]:
    """Returns the number of records of each class in an epoch.

    The quotas sum to sum(stored). They are rounded down; the missing records go to the classes with the largest
    remainders.

    Args:
      stored: number of records of each class in the shards.
      temperature: 1 returns `stored` itself, infinity the same number for each class that has records.
    """
    if temperature == 1:
        return list(stored)
    largest = max(stored)
    shares = [(count / largest) ** (1 / temperature) if count else 0.0 for count in stored]
    exact = [sum(stored) * share / sum(shares) for share in shares]
    found = [math.floor(value) for value in exact]
    by_rest = sorted(range(len(stored)), key=lambda i: (found[i] - exact[i], i))
    for i in by_rest[: sum(stored) - sum(found)]:
        found[i] += 1
    return found


def refuse(contract: Contract, resample: str) -> None:
    """Refuses to resample records that do not have one class each.

    Raises:
      TrainerError: --resample is given for such a dataset.
    """
    if resample == NATURAL or contract.task.kind == CLASSES:
        return
    remedy = "prepare it with --balance" if contract.labels else "give rows of the table a weight"
    raise TrainerError(
        f"--resample {resample} draws records by their class, and this dataset has the task {contract.task.kind}. "
        f"Leave it out; to show some images more often, {remedy}."
    )


def counts(contract: Contract, split: str = TRAIN_SPLIT) -> list[int]:
    """Returns the number of stored records of each class, by label id."""
    stored = contract.split(split).stored
    return [stored.get(label, 0) for label in contract.labels]


def epoch_counts(contract: Contract, resample: str, split: str = TRAIN_SPLIT) -> list[int]:
    """Returns the number of records of each class, by label id, in a resampled epoch."""
    return quotas(counts(contract, split), resample_temperature(resample))


def priors(contract: Contract, resample: str) -> list[float]:
    """Returns the share of each class in the records of an epoch. They sum to 1."""
    found = epoch_counts(contract, resample)
    return [count / sum(found) for count in found]


def check(config: TrainConfig, contract: Contract) -> list[str]:
    """Returns warnings about two ways of balancing that are combined.

    Raises:
      TrainerError: the second would balance classes that the first has balanced already, and the message names both;
        or records do not have one class each.
    """
    refuse(contract, config.resample)
    mode = str(contract.balance.get("mode", "none"))
    prepared = "" if mode == "none" else f"prepare --balance {mode}"
    sampled = "" if config.resample == NATURAL else f"--resample {config.resample}"
    if prepared and sampled:
        raise TrainerError(
            f"{sampled} is for shards with natural class frequencies. This dataset was balanced by {prepared}, so its "
            "classes "
            "would be balanced twice. Drop --resample, or prepare with --balance none."
        )
    by, loss = prepared or sampled, f"--loss {config.loss}"
    if not by or config.loss in (AUTO_LOSS, "ce"):
        return []
    if config.loss == "focal":
        return [f"{by} and {loss} both favour rare classes: compare with one of them alone."]
    if not _equal(epoch_counts(contract, config.resample)):
        return [
            f"{loss} compensates for what {by} left unequal: it uses the class counts of the records that are trained "
            "on."
        ]
    if sampled:
        raise TrainerError(f"{sampled} and {loss} would balance the classes twice. Choose one of them.")
    return [f"{loss} does nothing here: {by} made the classes equal already. Drop one of them."]


def _equal(records: Sequence[int]) -> bool:
    present = [count for count in records if count]
    return max(present) - min(present) <= 1  # the records of an epoch need not be a multiple of the classes
