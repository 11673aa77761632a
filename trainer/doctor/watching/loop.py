"""Keeps the batches of a training loop that a program writes itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from trainer.doctor.subject.sample import MAX_BYTES, MAX_IMAGES
from trainer.doctor.subject.training import Place
from trainer.doctor.tools.broadcasts import Spread


@dataclasses.dataclass
class Loop:
    """Holds the first batches of a loop, in the order of its steps.

    kind: STEPS for train_on_batch, LOOP for a GradientTape.
    place: the line of the step.
    started: time of the first step, as time.monotonic gives it.
    elements: (x, y) or (x, y, weight) of each step whose batch was kept.
    loss, optimizer: those of a LOOP; None where they were not seen.
    first_weights: the weights before the first step.
    spread: an operation of a LOOP in which labels were spread over the outputs of all images.
    summed: steps of a LOOP in a row that applied the gradients of all batches so far.
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

    @property
    def full(self) -> bool:
        """Tells whether no more batches are kept."""
        return self.images >= MAX_IMAGES or self.bytes >= MAX_BYTES

    def step(self, x: Any, y: Any, weight: Any) -> None:
        """Notes a step, before it changes the weights."""
        if self.first_weights is None:
            self.first_weights = self.model.get_weights()
        self.steps += 1
        self.unlabelled = self.unlabelled or y is None
        if self.full or y is None:
            return
        parts = (x, y) if weight is None else (x, y, weight)
        kept = keras.tree.map_structure(lambda part: np.array(part), parts)
        self.elements.append(kept)
        leaves = keras.tree.flatten(kept[0])
        self.images += len(leaves[0])
        self.bytes += sum(leaf.nbytes for leaf in leaves)
