"""Checks the learning rates of the epochs, as a callback sets them."""

from __future__ import annotations

import dataclasses
import inspect
from itertools import zip_longest
from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.subject import Subject
from trainer.doctor.subject.training import Place
from trainer.doctor.tools import plain_functions

COLUMNS = "learning_rate", "lr"  # of a history
NOTHING = 1e-4  # share of the greatest rate; three steps by 10, which are usual, leave 1e-3
EPOCHS = 10  # a training of fewer does not tell what is meant
STAYS = 3  # epochs at so small a rate; one that restarts is there for one
HELD = 3  # epochs for which a rate of a schedule in steps, or of ReduceLROnPlateau, stays the same on average
EQUAL = 1e-6


def vanishing(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a rate that falls to practically nothing in the first half of the epochs."""
    del clock
    past = subject.training.history if subject.training is not None else subject.history
    known = next((past[name] for name in COLUMNS if past and past.get(name)), ())
    if not known:
        raise NotApplicable("the history has no learning rate for each epoch")
    training = subject.training
    callbacks = training.callbacks if training is not None else ()
    if any(isinstance(callback, keras.callbacks.ReduceLROnPlateau) for callback in callbacks):
        raise NotApplicable("ReduceLROnPlateau lowers the rate where the loss has come to rest")
    total = len(known) if training is None or training.whole else training.epochs - training.initial_epoch
    first = 0 if training is None else training.initial_epoch
    scheduler, place = _scheduler(subject)
    rates = np.array([*known, *_asked(scheduler, known, first, total)], np.float64)
    if total < EPOCHS or not np.isfinite(rates).all() or rates.max() <= 0:
        return []
    top = int(np.flatnonzero(rates >= (1 - EQUAL) * rates.max())[-1])
    large = np.flatnonzero(rates >= NOTHING * rates.max())
    fall = int(large[-1]) + 1  # the first epoch from which on all rates are small
    steps = len(np.unique(rates[top : fall + 1]))
    if len(rates) - fall < STAYS or steps * HELD <= fall - top:
        return []
    factor = _factor(scheduler, first + fall, rates[fall - 1])
    if factor is not None and training is not None:
        total = training.epochs - first  # EarlyStopping may have ended what no longer learned
    if fall > total / 2:
        return []
    told = f"It is {rates[top]:.3g} in epoch {top + 1}, {rates[fall]:.3g} in epoch {fall + 1}"
    told += f" and {rates[-1]:.3g} in epoch {len(rates)} of {total}." if fall + 1 < len(rates) else f" of {total}."
    if factor is None:
        found = catalogue.found("rate-vanishes", told, case="history", epoch=fall + 1, total=total)
    else:
        name = list(inspect.signature(scheduler.schedule).parameters)[1]
        told += (
            f" {name} is the rate of the epoch before. Keras gives it to the function, which multiplies it by "
            f"{factor:.3g} in epoch {fall + 1}: the factors of all epochs are multiplied with each other."
        )
        found = catalogue.found("rate-vanishes", told, case="compounds", epoch=fall + 1, total=total,
                                argument=name, first=rates[0])  # fmt: skip
    return [dataclasses.replace(found, place="" if place is None else place.quoted)]


def _scheduler(subject: Subject) -> tuple[Any, Place | None]:
    """Returns the callback that sets the rate by the epoch, and its line."""
    training = subject.training
    for callback, place in zip_longest(training.callbacks, training.callbacks_at) if training is not None else ():
        if isinstance(callback, keras.callbacks.LearningRateScheduler):
            return callback, place
    return None, None


def _asked(scheduler: Any, known: tuple[float, ...], first: int, total: int) -> list[float]:
    """Returns the rates of the epochs that the doctor did not let run.

    They are asked of the function of the program only where that leaves no trace.
    """
    function, rates = getattr(scheduler, "schedule", None), [float(known[-1])]
    if len(known) >= total or not plain_functions.is_plain(function):
        return []
    try:
        for epoch in range(first + len(known), first + total):
            rates.append(_rate(function, epoch, rates[-1]))
    except Exception:  # the function may be made for fewer epochs
        return []
    return rates[1:]


def _factor(scheduler: Any, epoch: int, rate: float) -> float | None:
    """Returns the factor by which the function multiplies the current rate.

    It is None where the function does not do that, or cannot be asked without a trace.
    """
    function: Any = getattr(scheduler, "schedule", None)
    if not plain_functions.is_plain(function) or len(inspect.signature(function).parameters) < 2 or rate <= 0:
        return None
    try:
        one, two = (_rate(function, epoch, times * rate) / rate for times in (1.0, 2.0))
    except Exception:  # the function may be made for fewer epochs
        return None
    return one if 0 < one < 1 and abs(two - 2 * one) <= EQUAL * one else None


def _rate(function: Any, epoch: int, rate: float) -> float:
    try:
        return float(function(epoch, rate))
    except TypeError:  # as Keras does, for functions of the epoch alone
        return float(function(epoch))


PROBES = (Probe("learning rate of each epoch", vanishing, (), 1.0),)
