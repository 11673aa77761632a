"""Learning rates of the epochs: those that fall to nothing early, and their healthy twins."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
import pytest

from tests.support.doctor import ids, only, probe_of, subject
from trainer.doctor import run_probes
from trainer.doctor.probes.training import epoch_rates
from trainer.doctor.subject.training import Place, Training

X = np.random.default_rng(0).normal(size=(96, 4)).astype(np.float32)
Y = np.arange(96) % 2
VANISHING = probe_of(epoch_rates, epoch_rates.vanishing)
FIRST, DROP, PRINTED = 0.006, 0.5, []


def compounds(epoch, lr):
    return lr * math.pow(DROP, epoch / 10.0)


def from_the_first(epoch, lr):
    return FIRST * math.pow(DROP, epoch / 10.0)


def cut_each_epoch(epoch, lr):
    if epoch > 4:
        lr = lr * 0.1
    return lr


def cut_once(epoch, lr):
    return FIRST * 0.1 if epoch > 4 else lr


def noted(epoch, lr):
    PRINTED.append(epoch)
    return lr * math.pow(DROP, epoch / 10.0)


def rates(schedule, epochs, ran=None):
    found, rate = [], FIRST
    for epoch in range(epochs if ran is None else ran):
        rate = float(schedule(epoch, rate))
        found.append(rate)
    return tuple(found)


def report(past, epochs, callbacks=(), whole=True, training=True):
    history = {"learning_rate": tuple(past), "loss": (1.0,) * len(past)}
    made = subject((X, Y), (X, Y), history=history)
    described = Training("fit", epochs=epochs, whole=whole, history=history, callbacks=tuple(callbacks),
                         callbacks_at=tuple(Place("train.py", 7, "callbacks=[...]") for _ in callbacks))  # fmt: skip
    return run_probes.run(dataclasses.replace(made, training=described) if training else made, [VANISHING])


def scheduled(schedule, epochs, ran=None):
    callback = keras.callbacks.LearningRateScheduler(schedule)
    return report(rates(schedule, epochs, ran), epochs, [callback], whole=ran is None)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (compounds, ["rate-vanishes"]),
        (from_the_first, []),
        (cut_each_epoch, ["rate-vanishes"]),
        (cut_once, []),
        (lambda epoch, lr: lr * 0.95, []),
    ],
)
@pytest.mark.parametrize("ran", [None, 3], ids=["whole", "cut short"])
def test_a_function_of_the_epoch_and_the_current_rate(schedule, expected, ran):
    assert ids(scheduled(schedule, 40, ran)) == expected


@pytest.mark.parametrize("ran", [None, 3], ids=["whole", "cut short"])
def test_a_rate_that_compounds_is_told_with_the_first_one(ran):
    told = only(scheduled(compounds, 40, ran), "rate-vanishes")
    assert told.what == "The learning rate is practically nothing from epoch 17 of 40 on"
    assert "It is 0.006 in epoch 1, 4.83e-07 in epoch 17 and 1.99e-26 in epoch 40 of 40." in told.evidence
    assert "which multiplies it by 0.33 in epoch 17" in told.evidence
    assert "write 0.006 in the place of lr" in told.fix
    assert told.place == "train.py:7: callbacks=[...]"


def test_an_early_end_does_not_hide_a_rate_that_compounds():
    callback = keras.callbacks.LearningRateScheduler(compounds)
    told = only(report(rates(compounds, 40, 26), 40, [callback]), "rate-vanishes")
    assert "9.88e-13 in epoch 26 of 40." in told.evidence
    assert ids(report(rates(compounds, 40, 26), 40)) == []


def test_a_function_that_leaves_a_trace_is_not_asked():
    past = rates(noted, 40)
    PRINTED.clear()
    callback = keras.callbacks.LearningRateScheduler(noted)
    told = only(report(past, 40, [callback]), "rate-vanishes")
    assert "multiplies it" not in told.evidence
    assert ids(report(past[:3], 40, [callback], whole=False)) == []
    assert ids(report(past[:20], 40, [callback], whole=False)) == ["rate-vanishes"]
    assert PRINTED == []


EPOCHS = np.arange(100)


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        (0.5 ** (EPOCHS * (EPOCHS + 1) / 20), ["rate-vanishes"]),
        (0.5 * (1 + np.cos(np.pi * np.minimum(EPOCHS / 20, 1))), ["rate-vanishes"]),  # a cosine of 20 epochs
        (0.5 * (1 + np.cos(np.pi * EPOCHS / 99)), []),
        (0.5 * (1 + np.cos(np.pi * (EPOCHS % 10) / 9)), []),  # one that restarts
        (np.minimum(10.0 ** (EPOCHS / 2 - 6), 1), []),  # it warms up
        (10.0 ** -(EPOCHS // 25), []),  # three steps by 10
        (10.0 ** -(EPOCHS // 8), []),  # many steps, as of ReduceLROnPlateau at the end
        (0.93**EPOCHS, []),  # it is small at the end
    ],
)
@pytest.mark.parametrize("training", [True, False], ids=["program", "history"])
def test_courses_of_the_rate(past, expected, training):
    assert ids(report(past, 100, training=training)) == expected


def test_few_epochs_and_reductions_at_a_plateau_are_left_alone():
    assert ids(report(rates(cut_each_epoch, 40)[4:13], 9)) == []
    plateau = keras.callbacks.ReduceLROnPlateau(patience=1)
    assert ids(report(rates(cut_each_epoch, 40), 40, [plateau])) == []


def test_a_history_without_rates_is_not_checked():
    made = run_probes.run(subject((X, Y), (X, Y), history={"loss": (1.0, 0.5)}), [VANISHING])
    assert [why for _, why in made.not_checked] == ["the history has no learning rate for each epoch"]
