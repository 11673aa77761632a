"""Loops over epochs and steps.

The loop can begin at the start of an epoch or in the middle of one.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import tensorflow as tf

from trainer.devices.compiled_steps import Pace, Run
from trainer.training.epoch_reports import Progress
from trainer.training.step import TrainedModel

CHECK_STEPS = 16  # between checks of `fault`: a check waits for the device, and steps after a fault are useless


@dataclasses.dataclass
class Position:
    """Holds the next epoch and the next step of a run, both counted from 0."""

    epoch: int = 0
    step: int = 0

    def start(self) -> tuple[int, int]:
        """Returns (epoch, step), as the `start` argument of `dataset.load` does."""
        return self.epoch, self.step


@dataclasses.dataclass(frozen=True)
class State:
    """Holds what training changes, and therefore what a checkpoint stores.

    model: with weights, optimizer and metrics as they should be at `position`.
    position: advances with every step.
    progress: receives the metrics of every epoch.
    """

    model: TrainedModel
    position: Position
    progress: Progress


@dataclasses.dataclass(frozen=True)
class Input:
    """Holds the datasets of batches.

    training: returns the batches of an epoch, counted from 0; each pass begins at the position of the run.
    validation: read once an epoch; None for no validation.
    """

    training: Callable[[int], tf.data.Dataset]
    validation: tf.data.Dataset | None


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Holds the compiled functions that run steps.

    training: compiles the model's `train_step` in the model's present state.
    test: the model's `test_step`, compiled.
    pace: chooses how many steps a call runs.
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
    """Trains from the position to the end, or until `state.progress` is exhausted.

    Args:
      state: the model, its position and its history; all of them change.
      inputs: the batches for training and for validation.
      compiled: the functions that run the steps.
      epochs, steps: number of epochs, and number of steps of each epoch.
      after_step: called with False after each call of several steps, and with True after each epoch; writes
        checkpoints.
      broke: called with `model.fault` if that is not 0; raises.
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
        iterator = iter(inputs.training(position.epoch))
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
        del iterator  # releases its threads and buffers before validation
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
    model.enter(epochs)  # so that nothing stays frozen


def judge_start(state: State, inputs: Input, compiled: Compiled, values: dict[str, float]) -> None:
    """Adds the state before the first epoch to the history, as epoch 0.

    Args:
      state, inputs, compiled: as in `run`.
      values: the metrics on the train split.
    """
    if inputs.validation is not None:
        found = _validate(state.model, compiled.test, inputs.validation)
        values = values | {f"val_{name}": value for name, value in found.items()}
    state.progress.end(0, values)


def _validate(model: TrainedModel, test: Run, validation: tf.data.Dataset) -> dict[str, float]:
    iterator, batches = iter(validation), int(validation.cardinality())
    for first in range(0, batches, CHECK_STEPS):
        test(iterator, tf.constant(min(CHECK_STEPS, batches - first)))
    values = model.results()
    model.reset()
    return values
