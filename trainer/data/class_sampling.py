"""How often each class is trained on, decided while training: over natural shards, without preparing them again.

The counterpart of `prepare --balance`, with the same meaning of a temperature: a class of n records gets a share
proportional to n ** (1 / T) of an epoch (Arivazhagan et al. 2019, "Massively Multilingual Neural Machine Translation in
the Wild"). An epoch stays as long as the split: it is as many records, of which rare ones come several times and
frequent ones not every time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipelines.contract import Contract
from trainer.config import NATURAL, TrainConfig, TrainerError, resample_temperature

TRAIN = "train"


def quotas(stored: Sequence[int], temperature: float) -> list[int]:
    """Records of each class in an epoch of sum(stored) records; what is lost in rounding goes to the largest rests.

    temperature: 1 gives the counts themselves, infinity the same to each class that has records.
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


def counts(contract: Contract, split: str = TRAIN) -> list[int]:
    """Records of each class, by label id, as stored."""
    stored = contract.split(split).stored
    return [stored.get(label, 0) for label in contract.labels]


def epoch_counts(contract: Contract, resample: str, split: str = TRAIN) -> list[int]:
    """Records of each class, by label id, in a pass over the shards as stored, resampled."""
    return quotas(counts(contract, split), resample_temperature(resample))


def priors(contract: Contract, resample: str) -> list[float]:
    """The classes' shares of the records that are trained on. They sum to 1."""
    found = epoch_counts(contract, resample)
    return [count / sum(found) for count in found]


def check(config: TrainConfig, contract: Contract) -> list[str]:
    """Warnings about two ways of balancing that meet.

    Raises:
      TrainerError: the second would balance what the first has balanced already; both are named.
    """
    mode = str(contract.balance.get("mode", "none"))
    prepared = "" if mode == "none" else f"prepare --balance {mode}"
    sampled = "" if config.resample == NATURAL else f"--resample {config.resample}"
    if prepared and sampled:
        raise TrainerError(
            f"{sampled} is for shards of natural classes. This dataset was balanced by {prepared}, so its classes "
            "would be balanced twice. Drop --resample, or prepare with --balance none."
        )
    by, loss = prepared or sampled, f"--loss {config.loss}"
    if not by or config.loss == "ce":
        return []
    if config.loss == "focal":
        return [f"{by} and {loss} both favour rare classes: compare with one of them alone."]
    if not _equal(epoch_counts(contract, config.resample)):
        return [f"{loss} makes up for what {by} left unequal: it goes by the records as they are trained on."]
    if sampled:
        raise TrainerError(
            f"{sampled} and {loss} would balance the classes twice: after the first, the second has nothing to do. "
            "Choose one of them."
        )
    return [f"{loss} does nothing here: {by} made the classes equal already. Drop one of them."]


def _equal(records: Sequence[int]) -> bool:
    present = [count for count in records if count]
    return max(present) - min(present) <= 1  # an epoch need not be a multiple of the classes
