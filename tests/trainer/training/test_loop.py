"""The loop with a model that only notes what it sees: every number is a mean of a few whole ones."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from trainer.devices.compiled_steps import Pace
from trainer.training import loop
from trainer.training.epoch_reports import Progress


class Noting:
    """A model whose metric is the mean of the numbers that came since the last reset."""

    def __init__(self) -> None:
        self.fault, self.done = tf.Variable(0, dtype=tf.int64), tf.Variable(0, dtype=tf.int64)
        self.seen: list[float] = []
        self.entered: list[int] = []
        self.weights = 0

    def enter(self, epoch: int) -> bool:
        self.entered.append(epoch)
        return False

    def results(self) -> dict[str, float]:
        return {"loss": float(np.mean(self.seen)), "balanced_accuracy": self.weights / 100}

    def reset(self) -> None:
        self.seen = []

    @contextlib.contextmanager
    def averaged(self):
        yield

    def get_weights(self) -> list[np.ndarray]:
        return [np.array(self.weights)]

    def train(self, batches, count: tf.Tensor) -> None:
        for _ in range(int(count)):
            self.seen.append(float(next(batches)))
            self.weights += 1

    def test(self, batches, count: tf.Tensor) -> None:
        self.seen += [float(next(batches)) for _ in range(int(count))]


def trained(model: Noting, epochs: int = 2, position: loop.Position | None = None, at_once: int = 1):
    """(progress, position, what `after_step` was called with) after `epochs` epochs of three steps."""
    position = position or loop.Position()
    progress = Progress(model, epochs, 1, 3, 0, None)
    numbers = tf.data.Dataset.from_generator(
        lambda: iter(np.float32([1, 2, 6])[position.step :]), output_signature=tf.TensorSpec((), tf.float32)
    )
    inputs = loop.Input(lambda epoch: numbers, tf.data.Dataset.from_tensor_slices(np.float32([10, 20])))
    calls: list[bool] = []
    compiled = loop.Compiled(lambda: model.train, model.test, Pace(at_once, [2]))
    loop.run(loop.State(model, position, progress), inputs, compiled, epochs, 3, calls.append, pytest.fail)
    return progress, position, calls


def test_the_numbers_of_training_and_validation_do_not_mix():
    model = Noting()
    progress, position, calls = trained(model)
    rows = [{name: row[name] for name in ("epoch", "loss", "val_loss")} for row in progress.rows]
    assert rows == [{"epoch": 1, "loss": 3.0, "val_loss": 15.0}, {"epoch": 2, "loss": 3.0, "val_loss": 15.0}]
    assert calls == [False, False, True] * 2
    assert position.start() == (2, 0)
    assert model.entered == [0, 1, 2]
    assert model.done.numpy() == 3  # steps before the last epoch
    assert (progress.best_epoch, progress.weights) == (2, [np.array(6)])


def test_a_run_that_begins_in_the_middle_of_an_epoch():
    model = Noting()
    progress, _, calls = trained(model, position=loop.Position(1, 2))
    assert [(row["epoch"], row["loss"]) for row in progress.rows] == [(2, 6.0)]
    assert calls == [True]
    assert model.done.numpy() == 5


def test_several_steps_a_call_end_at_the_stops():
    assert trained(Noting(), epochs=1, at_once=16)[2] == [False, True]  # after two steps and after the third


def test_a_fault_ends_the_run():
    model = Noting()
    model.fault.assign(9)
    position, told = loop.Position(), []

    def broke(fault: int) -> None:
        told.append(fault)
        raise ArithmeticError

    inputs = loop.Input(lambda epoch: tf.data.Dataset.range(3), None)
    compiled = loop.Compiled(lambda: model.train, model.test, Pace(1, []))
    state = loop.State(model, position, Progress(model, 1, 1, 3, 0, None))
    with pytest.raises(ArithmeticError):
        loop.run(state, inputs, compiled, 1, 3, lambda _: None, broke)
    assert (told, state.progress.rows) == ([9], [])
