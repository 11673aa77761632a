"""Checks the weights with which images count in the loss."""

from __future__ import annotations

import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import Subject

ZERO = 0.5  # share of the images; padding and masks of a few images are no fault
LEAST_IMAGES = 50
UNBALANCED = 2.0  # images of the largest class to those of the smallest; below, weights may have other reasons
REVERSED = 1.5  # weight of the largest class to that of the smallest
ALIKE = 0.5  # correlation of log(images) and log(weight) over the classes; it is 1 for two


def weights(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds sample weights of which most are 0, or some are negative or not finite."""
    del clock
    found = _weights(subject)
    if found is None:
        raise NotApplicable("there are no sample weights")
    zero, bad = float(np.mean(found == 0)), int(np.count_nonzero(~np.isfinite(found) | (found < 0)))
    if bad:
        return [
            catalogue.found(
                "sample-weights", f"{bad:,} of {len(found):,} are negative, NaN or infinite.", case="bad", impact=0.9
            )
        ]
    if zero < ZERO:
        return []
    return [
        catalogue.found(
            "sample-weights",
            f"{int(np.count_nonzero(found == 0)):,} of {len(found):,} weights are 0; the mean of the others is "
            f"{found[found > 0].mean() if zero < 1 else 0:.3g}.",
            case="zero",
            share=zero,
            impact=min(1.0, zero),
        )
    ]


def against_balance(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds weights that grow with the number of images of a class, and do not fall."""
    del clock
    found = _weights(subject)
    if found is None:
        raise NotApplicable("there are no sample weights")
    if subject.split("train").sample.labels.ndim > 2:
        raise NotApplicable("an image has more than one label")
    labels = subject.split("train").sample.labels_seen[: len(found)]
    found = found[: len(labels)]
    if not np.isfinite(found).all():
        raise NotApplicable("some weights are no numbers")
    ids, counts = np.unique(labels, return_counts=True)
    means = np.array([found[labels == label].mean() for label in ids])
    if len(ids) < 2 or counts.sum() < LEAST_IMAGES or means.min() <= 0:
        raise NotApplicable("too few images of two classes with weights were seen to tell")
    common, rare = int(counts.argmax()), int(counts.argmin())
    more, heavier = counts[common] / counts[rare], means[common] / means[rare]
    if more < UNBALANCED or heavier < REVERSED or np.corrcoef(np.log(counts), np.log(means))[0, 1] < ALIKE:
        return []
    names = [state.label_name(int(ids[i]), subject.labels, quoted=True) for i in (common, rare)]
    return [
        catalogue.found(
            "class-weights-reversed",
            f"{counts[common]:,} images of {names[0]} weigh {means[common]:.3g} each and {counts[rare]:,} of "
            f"{names[1]} {means[rare]:.3g}: together {more * heavier:.3g} times as much, and {more:.3g} times "
            "without weights.",
            common=names[0],
            rare=names[1],
            impact=min(0.9, 1 - 1 / (more * heavier)),
        )
    ]


def _weights(subject: Subject) -> np.ndarray | None:
    """Returns the weights of the training images that were seen.

    They are those of the batches, those of fit, or those of the classes.
    """
    sample, training = subject.split("train").sample, subject.training
    parts = [np.ravel(batch.w) for batch in sample.batches if batch.w is not None and len(batch.w) == len(batch.x)]
    if parts:
        return np.concatenate(parts).astype(np.float64)
    if training is not None and training.sample_weight is not None:
        return np.ravel(training.sample_weight).astype(np.float64)
    if training is not None and training.class_weight:
        given = training.class_weight
        return np.array([given.get(int(label), 1.0) for label in sample.labels_seen], np.float64)
    return None


PROBES = (
    Probe("sample weights", weights, ("images",), 1),
    Probe("weights against the balance of the classes", against_balance, ("images",), 1, exclusive=True),
)
