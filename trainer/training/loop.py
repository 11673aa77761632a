"""The loop over epochs and steps. It can begin anywhere: at an epoch's start, or inside of one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import tensorflow as tf

from trainer.training.compiled_steps import Pace, Run
from trainer.training.history import Progress
from trainer.training.step import TrainedModel

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
    training: Callable[[], Run],
    test: Run,
    batches: tf.data.Dataset,
    validation: tf.data.Dataset | None,
    epochs: int,
    steps: int,
    position: Position,
    progress: Progress,
    after_step: Callable[[bool], None],
    broke: Callable[[int], None],
    pace: Pace,
) -> None:
    """Trains from `position` to the end, or until `progress` stops it.

    Args:
      model: with weights, optimizer and metrics as they should be at `position`.
      training: compiles `model.train_step`, as the model is at the time.
      test: `model.test_step`, compiled.
      batches: each pass begins at `position`.
      validation: one pass a epoch; None for none.
      epochs, steps: how many, and steps in each epoch.
      position: moved on with every step.
      progress: told of every epoch.
      after_step: called after each call of `pace` with False, and after each epoch with True; writes checkpoints.
      broke: called with `model.fault` when that is not 0; raises.
      pace: how many steps to run at once.
    """
    train = training()

    def check() -> None:
        fault = int(model.fault.numpy())
        if fault:
            broke(fault)

    while position.epoch < epochs and not progress.exhausted():
        if model.enter(position.epoch):
            train = training()
        progress.begin(position.step)
        model.done.assign(position.epoch * steps + position.step)
        iterator = iter(batches)
        while position.step < steps:
            count, began = pace.steps(position.step, steps), time.perf_counter()
            train(iterator, tf.constant(count))
            position.step += count
            waits = position.step % CHECK_STEPS < count or position.step == steps
            if waits:
                check()
            pace.took(count, time.perf_counter() - began, waits)
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


def _validate(model: TrainedModel, test: Run, validation: tf.data.Dataset) -> dict[str, float]:
    iterator, batches = iter(validation), int(validation.cardinality())
    for first in range(0, batches, CHECK_STEPS):
        test(iterator, tf.constant(min(CHECK_STEPS, batches - first)))
    values = model.results()
    model.reset()
    return values
