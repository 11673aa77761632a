"""Decides into how many folds train is divided, and what follows for the splits."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipelines.contract.folds import MOST_FOLDS, MOST_REPEATS
from pipelines.core import hashing
from pipelines.core.elements import TRAIN_SPLIT
from pipelines.plan.splits import VALIDATION, split_of


class Division(NamedTuple):
    """States how often train is divided, and into how many folds each time."""

    folds: int
    repeats: int

    @property
    def shares(self) -> dict[str, float]:
        """Returns the share of train that each fold gets, by its number as text."""
        return {str(number): 1 / self.folds for number in range(self.folds)}


def parsed(text: str) -> Division | None:
    """Returns the division that --folds means; None for "".

    >>> parsed("5"), parsed("5x2"), parsed("")
    (Division(folds=5, repeats=1), Division(folds=5, repeats=2), None)

    Raises:
      ValueError: the text has another form; the message begins with "should be".
    """
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,6})(?:[x×](\d{1,6}))?", text)
    found = Division(int(match[1]), int(match[2] or 1)) if match else Division(0, 0)
    if not (2 <= found.folds <= MOST_FOLDS and 1 <= found.repeats <= MOST_REPEATS):
        raise ValueError(
            f"should be a number of folds from 2 to {MOST_FOLDS}, or one with repeats (at most {MOST_REPEATS}) such as "
            f"5x2. Received: {text!r}."
        )
    return found


def splits(shares: Mapping[str, float]) -> dict[str, float]:
    """Returns the shares of the splits where each fold is validated on in turn.

    The share of validation goes to train.

    >>> splits({"train": 0.75, "validation": 0.125, "test": 0.125})
    {'train': 0.875, 'test': 0.125}
    """
    extra = shares.get(VALIDATION, 0)
    left = {name: share for name, share in shares.items() if name != VALIDATION}
    return left | {TRAIN_SPLIT: left[TRAIN_SPLIT] + extra}


def key(repeat: int, label: str) -> tuple[str, str]:
    """Returns the key of the cuts of a repeat, beside those of stated splits.

    No name of a split begins like it.
    """
    return f"#{repeat}", label


def of_unit(
    unit: str, label: str, seed: int, cuts: Mapping[tuple[str, str], Sequence[tuple[int, str]]]
) -> tuple[int, ...]:
    """Returns the fold of a unit of train in each repeat; () if there are no folds.

    Args:
      label: what the unit counts for.
      cuts: the cuts of each `key`, whose names are numbers of folds.
    """
    found = []
    for repeat in itertools.count():
        cut = cuts.get(key(repeat, label))
        if cut is None:
            break
        found.append(int(split_of(position(seed, repeat, unit), cut)))
    return tuple(found)


def position(seed: int, repeat: int, unit: str) -> int:
    """Returns the hash position of a unit of train, by which a repeat divides it."""
    return hashing.position(seed, "fold", repeat, unit)
