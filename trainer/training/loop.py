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


@dataclasses.dataclass(frozen=True)
class State:
    """What changes while a network is trained, and what a checkpoint therefore holds.

    model: with weights, optimizer and metrics as they should be at `position`.
    position: moved on with every step.
    progress: told of every epoch.
    """

    model: TrainedModel
    position: Position
    progress: Progress


@dataclasses.dataclass(frozen=True)
class Input:
    """The batches. Each pass of `training` begins at the position; `validation`: one pass an epoch, None for none."""

    training: tf.data.Dataset
    validation: tf.data.Dataset | None


@dataclasses.dataclass(frozen=True)
class Compiled:
    """How steps are run.

    training: compiles the model's `train_step`, as the model is at the time.
    test: its `test_step`, compiled.
    pace: how many steps to run at once.
    """

    training: Callable[[], Run]
    test: Run
    pace: Pace


def run(
    state: State,
    inputs: Input,
    compiled: Compiled,
    epochs: int,
    steps: int,
    after_step: Callable[[bool], None],
    broke: Callable[[int], None],
) -> None:
    """Trains from the position to the end, or until `state.progress` stops it.

    Args:
      state: where the training is; changed on the way.
      inputs: what to train on and to validate with.
      compiled: how steps are run.
      epochs, steps: how many, and steps in each epoch.
      after_step: called after each call of `pace` with False, and after each epoch with True; writes checkpoints.
      broke: called with `model.fault` when that is not 0; raises.
    """
    model, position, progress, pace = state.model, state.position, state.progress, compiled.pace
    train = compiled.training()

    def check() -> None:
        fault = int(model.fault.numpy())
        if fault:
            broke(fault)

    while position.epoch < epochs and not progress.exhausted():
        if model.enter(position.epoch):
            train = compiled.training()
        progress.begin(position.step)
        model.done.assign(position.epoch * steps + position.step)
        iterator = iter(inputs.training)
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
            if inputs.validation is not None:
                found = _validate(model, compiled.test, inputs.validation)
                values |= {f"val_{name}": value for name, value in found.items()}
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
