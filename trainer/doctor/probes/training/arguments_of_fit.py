"""Checks the arguments of fit, which a program shows that the doctor runs."""

from __future__ import annotations

from pipelines.core.text import plural
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.subject import Subject
from trainer.doctor.subject.training import FIT, Training

FEW_STEPS = 60  # a small network of random weights needs some hundred steps to tell two kinds of photographs apart


def validated(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a training that is judged by its own images only."""
    del clock
    training = _of_fit(subject)
    if training.validation_form or training.judged:
        return []
    return [catalogue.found("no-validation", "fit has neither validation_data nor validation_split.")]


def steps(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a training that ends before a network can have learned."""
    del clock
    training = _of_fit(subject)
    total, per_epoch = training.total_steps, training.steps
    if total is None or per_epoch is None:
        raise NotApplicable("the number of steps is not known")
    if any(call.name == "load_weights" for call in training.calls) or training.number > 1:
        return []
    if total >= FEW_STEPS:
        return []
    images = "" if training.samples is None else f"{plural(training.samples, 'image')}, "
    epochs = training.epochs - training.initial_epoch
    return [
        catalogue.found(
            "few-steps",
            f"{images}{plural(per_epoch, 'step')} an epoch, {plural(epochs, 'epoch')}.",
            total=total,
        )
    ]


def _of_fit(subject: Subject) -> Training:
    if subject.training is None or subject.training.kind != FIT:
        raise NotApplicable("it reads the arguments of fit; give the program itself")
    return subject.training


PROBES = (
    Probe("validation data", validated, (), 1.0),
    Probe("number of training steps", steps, (), 1.0),
)
