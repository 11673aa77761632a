"""Checks the weights with which images count in the loss."""

from __future__ import annotations

import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.subject import Subject

ZERO = 0.5  # share of the images; padding and masks of a few images are no fault


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


PROBES = (Probe("sample weights", weights, ("images",), 1),)
