"""The loop over epochs and steps. It can begin anywhere: at an epoch's start, or inside of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from trainer.progress import Progress
from trainer.step import TrainedModel, compiled

CHECK_STEPS = 16  # between looks at `fault`: each waits for the device, and no step after a fault counts


@dataclasses.dataclass
class Position:
    """Where a run is in its input. Both counted from 0: what comes next."""

    epoch: int = 0
    step: int = 0

    def start(self) -> tuple[int, int]:
        """As `dataset.load` asks for it."""
        return self.epoch, self.step


def run(
    model: TrainedModel,
    batches: tf.data.Dataset,
    validation: tf.data.Dataset | None,
    epochs: int,
    steps: int,
    position: Position,
    progress: Progress,
    after_step: Callable[[bool], None],
    broke: Callable[[int], None],
) -> None:
    """Trains from `position` to the end, or until `progress` stops it.

    Args:
      model: with weights, optimizer and metrics as they should be at `position`.
      batches: each pass begins at `position`.
      validation: one pass a epoch; None for none.
      epochs, steps: how many, and steps in each epoch.
      position: moved on with every step.
      progress: told of every epoch.
      after_step: called after each step with False, and after each epoch with True; writes checkpoints.
      broke: called with `model.fault` when that is not 0; raises.
    """
    train, test = compiled(model.train_step), compiled(model.test_step)

    def check() -> None:
        fault = int(model.fault.numpy())
        if fault:
            broke(fault)

    while position.epoch < epochs and not progress.exhausted():
        if model.enter(position.epoch):
            train = compiled(model.train_step)
        progress.begin(position.step)
        iterator = iter(batches)
        while position.step < steps:
            train(iterator)
            position.step += 1
            if position.step % CHECK_STEPS == 0 or position.step == steps:
                check()
            if position.step < steps:
                after_step(False)
        del iterator  # gives its threads and buffers back before validation
        values = model.results()
        progress.trained(steps)
        model.reset()
        position.epoch, position.step = position.epoch + 1, 0
        with model.averaged():
            if validation is not None:
                values |= {f"val_{name}": value for name, value in _validate(model, test, validation).items()}
            progress.end(position.epoch, values)
        after_step(True)
    model.enter(epochs)  # nothing stays frozen


def _validate(model: TrainedModel, test: Callable, validation: tf.data.Dataset) -> dict[str, float]:
    iterator = iter(validation)
    for _ in range(int(validation.cardinality())):
        test(iterator)
    values = model.results()
    model.reset()
    return values
