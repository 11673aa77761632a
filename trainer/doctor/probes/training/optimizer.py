"""Checks the settings of optimizer and loss that decide how large the steps are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.copies import model_variants
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import Subject
from trainer.doctor.subject.training import LOOP, STEPS

POINTS, ALL_POINTS = 33, 200  # steps of the first epochs, and of all, at which the schedule is asked
DECAYED = 0.03  # share of the greatest rate; a usual schedule falls so far at the end of all epochs only
EPOCHS = 2
# Steps with at least NOTHING of the greatest rate, as a share of all. A line and a cosine down to 0 have more than 0.9,
# and a rate that falls by a thousand to the end has 0.67.
NOTHING, USED = 0.01, 0.3
EARLY = 0.3  # share of the greatest rate in the middle of the steps: a line or a cosine down to 0 has 0.5
USUAL_MOMENTUM = 0.95  # above it, the momentum is the unusual one of the two
LONG = 5.0  # a step's whole effect, rate / (1 - momentum); 0.1 with 0.9, the usual greatest, has 1


def schedule(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a schedule that brings the rate to nothing within the first epochs."""
    del clock
    rate = getattr(model_variants.inner_of(subject.model.optimizer), "_learning_rate", None)
    if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return []
    training = subject.training
    if training is not None and training.kind in (STEPS, LOOP):
        return _of_loop(rate, len(subject.split("train").sample.batches))
    if training is not None and training.epochs - training.initial_epoch <= EPOCHS:
        raise NotApplicable(f"training has at most {EPOCHS} epochs, at whose end the schedule may end")
    steps = EPOCHS * _steps(subject)
    rates = _rates(rate, steps)
    if not _vanishes(rates):
        return _of_all_epochs(rate, subject)
    return [
        catalogue.found(
            "schedule-ends",
            f"It is {max(rates):.3g} at most, and {rates[-1]:.3g} after {steps:,} steps, which are {EPOCHS} epochs.",
            case="in-fit",
            schedule=type(rate).__name__,
            steps=steps // EPOCHS,
        )
    ]


def _of_all_epochs(rate: Callable[[int], Any], subject: Subject) -> list[Finding]:
    """Finds a schedule that gives next to nothing in most of the steps of a training.

    With EarlyStopping, `epochs` is a limit that nobody means to reach.
    """
    training = subject.training
    if training is None or any(isinstance(c, keras.callbacks.EarlyStopping) for c in training.callbacks):
        return []
    epochs, of_epoch = training.epochs - training.initial_epoch, _steps(subject)
    rates = np.array(_rates(rate, epochs * of_epoch, ALL_POINTS))
    used = rates >= NOTHING * rates.max()
    if rates.max() <= 0 or used.mean() >= USED:
        return []
    last = int(np.flatnonzero(used)[-1] + 1) * epochs / ALL_POINTS
    return [
        catalogue.found(
            "schedule-ends",
            f"It is {rates.max():.3g} at most, and under 1 % of that after {last:.1f} of {epochs} epochs of "
            f"{of_epoch:,} steps.",
            case="in-epochs",
            schedule=type(rate).__name__,
            share=1 - float(used.mean()),
            steps=of_epoch,
        )
    ]


def _of_loop(rate: Callable[[int], Any], seen: int) -> list[Finding]:
    """Judges the schedule of a loop of which only the first steps were seen.

    How many steps it has in all is not known. A schedule that falls evenly to the end of the loop gives half of its
    greatest rate in the middle.
    """
    rates = _rates(rate, 2 * seen)
    if not _vanishes(rates) or rates[len(rates) // 2] >= EARLY * max(rates):
        return []
    return [
        catalogue.found(
            "schedule-ends",
            f"It is {max(rates):.3g} at most, {rates[len(rates) // 2]:.3g} after {seen:,} steps and {rates[-1]:.3g} "
            f"after {2 * seen:,}.",
            case="in-loop",
            schedule=type(rate).__name__,
            steps=2 * seen,
        )
    ]


def _rates(rate: Callable[[int], Any], steps: int, points: int = POINTS) -> list[float]:
    return [float(rate(int(step))) for step in np.linspace(0, steps, points)]


def _vanishes(rates: list[float]) -> bool:
    return max(rates) > 0 and rates[-1] < DECAYED * max(rates)


def _steps(subject: Subject) -> int:
    """Returns the steps of an epoch, or fewer where not all of it was seen."""
    if subject.training is not None and subject.training.steps:
        return subject.training.steps
    counts, _ = state.counts(subject, subject.split("train"))
    batch = len(subject.split("train").sample.batches[0].x)
    return max(1, -(-sum(counts.values()) // batch))


def momentum(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a momentum with which the rate is far too high."""
    del clock
    optimizer = model_variants.inner_of(subject.model.optimizer)
    share = float(getattr(optimizer, "momentum", 0) or 0)
    if type(optimizer) is not keras.optimizers.SGD or share < 0.9:
        return []
    rate = float(np.asarray(optimizer.learning_rate))
    whole = rate / max(1 - share, 1e-9)
    if whole <= LONG:
        return []
    return [
        catalogue.found(
            "momentum-high",
            f"A gradient moves a weight by {rate:g} / (1 - {share:g}) = {whole:.3g} of itself in the end; with 0.01 "
            "and 0.9 it is 0.1.",
            case="momentum" if share > USUAL_MOMENTUM else "rate",
            rate=rate,
            momentum=share,
        )
    ]


def reduction(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a loss that is summed over the images of a batch."""
    del clock
    if _reduction(subject.model.loss) != "sum":
        return []
    batch = len(subject.split("train").sample.batches[0].x)
    return [catalogue.found("loss-summed", f"A batch has {batch} images.", batch=batch)]


def _reduction(loss: Any) -> str:
    return str(getattr(loss, "reduction", "") or "")


PROBES = (
    Probe("rate at the end of an epoch", schedule, ("images", "optimizer"), 5),
    Probe("momentum against the rate", momentum, ("optimizer",), 2),
    Probe("reduction of the loss", reduction, ("images", "loss"), 2),
)
