"""Reads the names by which parts of train are read; see `parts`."""

from __future__ import annotations

import re
from typing import NamedTuple

OUT_OF_FOLD = "out-of-fold"
_NAME = re.compile(r"(train-without-)?fold-(\d{1,6})")


class Fold(NamedTuple):
    """Identifies a part by the number of its fold.

    held_out: whether it is the fold itself, and not the rest of train.
    """

    number: int
    held_out: bool


def fold_of(name: str) -> Fold | None:
    """Returns the fold that a name stands for; None for the name of a split.

    >>> fold_of("fold-3"), fold_of("train-without-fold-3"), fold_of("test")
    (Fold(number=3, held_out=True), Fold(number=3, held_out=False), None)
    """
    match = _NAME.fullmatch(name)
    return Fold(int(match[2]), not match[1]) if match else None


def is_out_of_fold(name: str) -> bool:
    """Tells whether a name is that of out-of-fold predictions.

    It is read as all originals of train.
    """
    return re.fullmatch(rf"{OUT_OF_FOLD}(-\d{{1,6}})?", name) is not None
