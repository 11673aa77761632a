"""Checks whether there are enough train images.

A network that begins with random weights needs more of them.
"""

from __future__ import annotations

import numpy as np

from pipelines.core.text import listed
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import FOLDER, PREPARED, Subject
from trainer.models.pretrained import FEW_IMAGES

FEW = 10  # train images of a class; fewer hardly show how the class varies
HIGH = 0.95  # an accuracy that leaves little to be won
LEAST_SIDE = 32  # pixels; the networks of keras.applications take no smaller photographs
MOVED = "bias", "beta", "moving_mean"  # these begin at one value, and a training moves them apart


def of_a_class(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds classes with fewer than FEW train images."""
    del clock
    counts, whole = state.counts(subject, subject.split("train"))
    if not whole:
        raise NotApplicable("not all train labels were seen; --deep looks at more")
    poor = {label: n for label, n in counts.items() if n < FEW}
    if not poor:
        return []
    names = (f"{state.label_name(label, subject.labels, quoted=True)} {n}" for label, n in sorted(poor.items()))
    return [
        catalogue.found("few-images", f"Fewer than {FEW}: {listed(names, 10)}.", case="of-a-class", classes=len(poor))
    ]


def of_a_run(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a run of `train` that began with random weights and had few images."""
    del clock
    if not subject.few_images:
        raise NotApplicable("it is no run of `train` that began with random weights and had few images")
    if _is_accurate(subject):
        return []
    return [catalogue.found("few-images", f"It had {subject.few_images}.{_reached(subject)}", case="of-a-run")]


def at_random(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a network that begins with random weights and has few images.

    These are fewer than FEW_IMAGES train images for each class.
    """
    del clock
    shape = subject.split("train").sample.images.shape[1:]
    if subject.trained is not None or subject.origin in (FOLDER, PREPARED):
        raise NotApplicable("runs of `train` and advice on --data say how to begin")
    if len(shape) != 3 or min(shape[:2]) < LEAST_SIDE or shape[2] not in (1, 3):
        raise NotApplicable(f"the inputs are no photographs of at least {LEAST_SIDE} pixels")
    if not _began_at_random(subject):
        return []
    each = _images(subject) / state.classes(subject)
    if each >= FEW_IMAGES or _is_accurate(subject):
        return []
    evidence = f"It had {each:,.0f} train images for each class on average.{_reached(subject)}"
    return [catalogue.found("few-images", evidence, case="at-random")]


def _is_accurate(subject: Subject) -> bool:
    """Tells whether the accuracy is so high that other weights would gain little."""
    reported = _reported(subject)
    return reported is not None and reported[1] >= HIGH


def _reached(subject: Subject) -> str:
    reported = _reported(subject)
    return f" The best {reported[0]} was {reported[1]:.1%}." if reported is not None else ""


def _reported(subject: Subject) -> tuple[str, float] | None:
    cut = subject.training.history if subject.training is not None else None  # of the epochs that ran
    return state.reported_accuracy(subject.history or cut)


def _images(subject: Subject) -> int:
    """Returns the number of train images.

    Raises:
      NotApplicable: it is not known.
    """
    counts, whole = state.counts(subject, subject.split("train"))
    if whole:
        return sum(counts.values())
    if subject.training is None or subject.training.samples is None:
        raise NotApplicable("the number of train images is not known; --deep looks at more")
    return subject.training.samples


def _began_at_random(subject: Subject) -> bool:
    """Tells whether no offset of the model had been moved before the training.

    Offsets are biases and the means of batch normalization.

    Raises:
      NotApplicable: the model has no offsets, or the weights before its training are not known.
    """
    values, training = subject.model.get_weights(), subject.training
    if state.is_trained(subject):
        if training is None or training.first_weights is None or len(training.first_weights) != len(values):
            raise NotApplicable("the weights before the training are not known")
        values = training.first_weights
    offsets = [
        np.asarray(value)
        for variable, value in zip(subject.model.weights, values, strict=True)
        if variable.path.rsplit("/", 1)[-1] in MOVED
    ]
    if not offsets:
        raise NotApplicable("the model has no biases and no batch normalization, which would show a training")
    return all(np.ptp(offset) == 0 for offset in offsets)


PROBES = (
    Probe("images of each class", of_a_class, ("images",), 1.0, exclusive=True),
    Probe("weights that a run began with", of_a_run, ("model",), 1.0),
    Probe("weights that a network began with", at_random, ("images", "model"), 1.0, exclusive=True),
)
