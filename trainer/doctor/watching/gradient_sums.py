"""Finds sums of gradients that a training loop never sets back.

Such a loop adds the gradients of several batches to variables, applies the sums, and has to set them back to 0 then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.subject.training import Place

MOST_NUMBERS = 4096  # of a weight, which are followed
MOST_STEPS = 512  # gradients that are followed, of all models
LEAST = 6  # steps in a row that apply all gradients so far, to be told
# Distances of two directions, from 0 (the same) to 1. Sums of float32 numbers are exact to 1e-6. A momentum of 0.99 of
# the program's own is more than 1e-3 away from a sum in its third step, if the gradients differ by 0.3 and more.
SAME, EQUAL, APART = 3e-4, 1e-3, 0.1

Parts = list[np.ndarray]


@dataclasses.dataclass
class Sums:
    """Holds the gradients of weights of the same shapes.

    new: the sum of those since the last step of the optimizer; None without.
    all: the sum of those that were not set back; None where it is not known.
    grown: steps of the optimizer in a row that applied `all`, where `new` was another direction.
    """

    new: Parts | None = None
    all: Parts | None = None
    grown: int = 0


class GradientSums:
    """Follows what tapes return and what optimizers apply, in eager mode."""

    def __init__(self) -> None:
        self._sums: dict[tuple[tuple[int, ...], ...], Sums] = {}
        self._followed = 0

    def add(self, gradients: Any) -> None:
        """Notes the gradients that a tape has returned."""
        parts = _parts(keras.tree.flatten(gradients)) if self._followed < MOST_STEPS else None
        if parts is None:
            return
        self._followed += 1
        sums = self._sums.setdefault(_shapes(gradients), Sums())
        sums.new = parts if sums.new is None else _added(sums.new, parts)

    def apply(self, gradients: Sequence[Any]) -> int:
        """Notes a step of the optimizer.

        It returns the number of steps in a row that applied all gradients so far, in the place of the new ones.
        """
        sums = self._sums.get(_shapes(gradients))
        parts = None if sums is None or sums.new is None else _parts(list(gradients))
        if sums is None or sums.new is None or parts is None:
            return 0
        together = None if sums.all is None else _added(sums.all, sums.new)
        apart = _distance(parts, sums.new)
        if apart < EQUAL:  # the sums were set back, or there are none
            sums.all, sums.grown = sums.new, 0
        elif together is not None and _distance(parts, together) < SAME:
            sums.all, sums.grown = together, sums.grown + (apart > APART)
        else:
            sums.all, sums.grown = None, 0
        sums.new = None
        return sums.grown


def finding(grown: int, place: Place | None) -> Finding:
    """Builds the finding on steps that applied all gradients so far."""
    told = catalogue.found(
        "gradients-not-reset",
        f"In {grown} steps in a row, the optimizer got the sum of the gradients of all batches so far, and not of the "
        "batches since its last step.",
        case="in-loop",
    )
    return dataclasses.replace(told, place="" if place is None else place.quoted)


def _shapes(gradients: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(part.shape) for part in keras.tree.flatten(gradients) if part is not None)


def _parts(gradients: Sequence[Any]) -> Parts | None:
    """Returns some numbers of each gradient, float64.

    It returns None where they are not known, as in a graph, or not finite.
    """
    found = []
    for gradient in gradients:
        if gradient is None:
            continue
        if isinstance(gradient, tf.IndexedSlices):  # of an Embedding
            gradient = tf.convert_to_tensor(gradient)
        if not hasattr(gradient, "numpy"):  # a symbol of a graph
            return None
        values = np.asarray(gradient.numpy()).reshape(-1)
        found.append(values[:: max(1, len(values) // MOST_NUMBERS)].astype(np.float64))
    return found if all(np.isfinite(part).all() for part in found) else None


def _added(a: Parts, b: Parts) -> Parts:
    return [first + second for first, second in zip(a, b, strict=True)]


def _distance(a: Parts, b: Parts) -> float:
    """Returns how far the directions of two gradients are apart, from 0 to 1.

    A positive factor for each weight does not matter, such as that of a clipping.
    """
    rest = whole = 0.0
    for first, second in zip(a, b, strict=True):
        square = float(second @ second)
        factor = max(float(first @ second) / square, 0.0) if square else 0.0
        rest += float(((first - factor * second) ** 2).sum())
        whole += float(first @ first)
    return float(np.sqrt(rest / whole)) if whole else 0.0
