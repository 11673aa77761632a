"""Finds validation rows on which an earlier training of the same model trained.

The folds of a cross-validation need a new model each. One model that goes on has seen every row after the first fold.
"""

from __future__ import annotations

import dataclasses
import hashlib
import weakref
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.subject.training import Place

MOST_BYTES = 256 << 20  # of one array; a larger one is not looked at
OF_ROW = 1024  # numbers of a row, evenly spread, by which rows are told apart
AT_ONCE = 4096  # rows that are converted at a time
DIGEST_BYTES = 8  # kept of each row in its place, so that the rows of a program take little memory
MOST_NUMBERS = 256  # of a weight, which tell whether the model goes on as it was
LEAST_ROWS = 10
SEEN = 0.5  # share of the validation rows


@dataclasses.dataclass
class Past:
    """Holds digests of the rows on which a model trained, and some weights of then."""

    rows: set[bytes]
    weights: list[bytes]


class SeenRows:
    """Holds the training rows of all models of a program, of arrays only."""

    def __init__(self) -> None:
        self._past: weakref.WeakKeyDictionary[Any, Past] = weakref.WeakKeyDictionary()
        self.finding: Finding | None = None

    def begin(self, model: Any, arguments: Mapping[str, Any], place: Place | None) -> None:
        """Looks at the validation rows of a fit that begins."""
        past, validation = self._past.get(model), arguments.get("validation_data")
        if self.finding is not None or past is None or not isinstance(validation, list | tuple) or not validation:
            return
        rows, own = _rows(validation[0]), _rows(arguments.get("x"))
        if rows is None or own is None or len(rows) < LEAST_ROWS or past.weights != _weights(model):
            return
        seen = len([row for row in rows if row in past.rows and row not in own])
        if seen < SEEN * len(rows):
            return
        told = catalogue.found(
            "validation-trained-on",
            f"Of {len(rows):,} validation rows, an earlier fit of this model trained on {seen:,}, and its weights have "
            "not been set back since.",
        )
        self.finding = dataclasses.replace(told, place="" if place is None else place.quoted)

    def end(self, model: Any, arguments: Mapping[str, Any]) -> None:
        """Notes the training rows of a fit that has ended."""
        rows = _rows(arguments.get("x"))
        if rows is None:
            self._past.pop(model, None)
            return
        earlier = self._past.get(model)
        self._past[model] = Past(rows | (earlier.rows if earlier is not None else set()), _weights(model))


def _rows(x: Any) -> set[bytes] | None:
    """Returns a digest of each row.

    It returns None where the rows are not known, or have one number each.
    """
    leaves = keras.tree.flatten(x)
    if not leaves or not hasattr(leaves[0], "__array__") or len(leaves[0].shape) < 2:
        return None
    values = np.asarray(leaves[0])
    if values.nbytes > MOST_BYTES or values.dtype.kind not in "fiub" or values[0].size < 2:
        return None
    flat = values.reshape(len(values), -1)
    chosen = flat[:, :: -(-flat.shape[1] // OF_ROW)]
    return {
        hashlib.blake2b(row, digest_size=DIGEST_BYTES).digest()
        for start in range(0, len(chosen), AT_ONCE)
        for row in np.ascontiguousarray(chosen[start : start + AT_ONCE], np.float32)
    }


def _weights(model: Any) -> list[bytes]:
    return [np.asarray(v).reshape(-1)[:MOST_NUMBERS].tobytes() for v in model.trainable_variables]
