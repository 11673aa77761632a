"""Keeps the batches of a training loop that a program writes itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.doctor.subject.sample import MAX_BYTES, MAX_IMAGES
from trainer.doctor.subject.training import Place
from trainer.doctor.tools.broadcasts import Spread


@dataclasses.dataclass
class Loop:
    """Holds the first batches of a loop, in the order of its steps.

    kind: STEPS for train_on_batch, LOOP for a GradientTape.
    model: a keras.Model; None where the program puts layers or variables together in a way that is not known.
    place: the line of the step.
    started: time of the first step, as time.monotonic gives it.
    elements: (x, y) or (x, y, weight) of each step whose batch was kept.
    loss, optimizer: those of a LOOP; None where they were not seen.
    first_weights: the weights before the first step.
    spread: an operation of a LOOP in which labels were spread over the outputs of all images.
    summed: steps of a LOOP in a row that applied the gradients of all batches so far.
    modes: whether steps of a LOOP called the model with training=True; empty where it is not known.
    """

    kind: str
    model: Any
    place: Place | None
    started: float
    elements: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    steps: int = 0
    images: int = 0
    bytes: int = 0
    loss: Any = None
    optimizer: Any = None
    first_weights: list[np.ndarray] | None = None
    unlabelled: bool = False
    spread: Spread | None = None
    summed: int = 0
    modes: set[bool] = dataclasses.field(default_factory=set)

    @property
    def full(self) -> bool:
        """Tells whether no more batches are kept."""
        return self.images >= MAX_IMAGES or self.bytes >= MAX_BYTES

    def step(self, x: Any, y: Any, weight: Any) -> None:
        """Notes a step, before it changes the weights."""
        if self.first_weights is None and self.model is not None:
            self.first_weights = self.model.get_weights()
        self.steps += 1
        self.unlabelled = self.unlabelled or y is None
        if self.full or y is None or self.model is None:
            return
        parts = (x, y) if weight is None else (x, y, weight)
        kept = keras.tree.map_structure(lambda part: np.array(part), parts)
        self.elements.append(kept)
        leaves = keras.tree.flatten(kept[0])
        self.images += len(leaves[0])
        self.bytes += sum(leaf.nbytes for leaf in leaves)


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """Holds a call of a layer by the program: what it got, and what it gave."""

    layer: Any
    inputs: Any
    outputs: Any


def chain(calls: Sequence[LayerCall]) -> Any:
    """Returns a model of layers that were called one after the other.

    It has the layers themselves, with their weights. It is None if a layer got anything else than what the one before
    it gave, such as the result of an operation of TensorFlow.
    """
    if not calls or not hasattr(calls[0].inputs, "__array__"):
        return None
    if any(later.inputs is not earlier.outputs for earlier, later in pairwise(calls)):
        return None
    first = calls[0].inputs
    try:
        entry = keras.Input(tuple(first.shape[1:]), dtype=tf.as_dtype(first.dtype).name)
        return keras.Sequential([entry, *(call.layer for call in calls)])
    except (ValueError, TypeError):  # a layer that is called twice, or with more arguments
        return None
