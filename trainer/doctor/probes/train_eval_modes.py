"""Model and training: layers that behave differently in training and evaluation, in the wrong mode."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from trainer.doctor.clock import Clock
from trainer.doctor.finding import ERROR, WARNING, Finding
from trainer.doctor.outcome import NotApplicable
from trainer.doctor.probes import initialization
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import Subject, run_model
from trainer.doctor.tools.model_copy import Twin

IMAGES = 16
SAME = 1e-3  # of the spread of the outputs: kernels for one image and for many may round differently
LAGS = 2.0  # times the loss in training mode, and this much more in nats:
LAGS_BY = 0.3


def evaluation(subject: Subject, clock: Clock) -> list[Finding]:
    """Dropout, or statistics of the batch, at evaluation."""
    images = subject.split("train").sample.images[:IMAGES]
    one, two = run_model(subject.model, images), run_model(subject.model, images)
    clock.check()
    span = max(float(np.ptp(one)), 1e-6)
    noise = float(np.max(np.abs(one - two))) / span
    if noise > SAME:
        return [_random(subject, noise)]
    if len(images) < 2:
        raise NotApplicable("one image only")
    alone = np.concatenate([run_model(subject.model, images[i : i + 1]) for i in range(min(4, len(images)))])
    apart = float(np.max(np.abs(alone - one[: len(alone)]))) / span
    return [_of_batch(subject, apart)] if apart > 10 * SAME else []


def _random(subject: Subject, noise: float) -> Finding:
    names = [layer.name for layer in initialization.flat(subject.model) if "dropout" in type(layer).__name__.lower()]
    return Finding(
        id="dropout-at-evaluation",
        level=ERROR,
        what="The model gives other answers to the same images at evaluation: dropout or noise is on",
        evidence=f"Two calls with training=False differ by {noise:.1%} of the spread of the outputs. "
        f"Layers of dropout: {', '.join(names[:4]) or 'none; look for random operations in a call'}.",
        cost="Validation and served predictions are worse than the model is, and differ from call to call.",
        fix="Do not pass training=True to a layer while the model is built: x = layers.Dropout(0.5)(x). Keras gives "
        "it the right mode.",
        impact=0.5,
    )


def _of_batch(subject: Subject, apart: float) -> Finding:
    names = [layer.name for layer in _batch_norms(subject.model)]
    return Finding(
        id="batch-statistics-at-evaluation",
        level=ERROR,
        what="What the model answers to an image at evaluation depends on the other images of the batch",
        evidence=f"Alone and in a batch of {IMAGES}, an image's outputs differ by {apart:.1%} of their spread. "
        f"Batch-normalization layers: {', '.join(names[:4]) or 'none; look for a mean over axis 0'}.",
        cost="A single image, or a batch sorted by class, gets wrong answers.",
        fix="Do not pass training=True to a BatchNormalization layer while the model is built, and give the argument "
        "training on in a call of your own: self.norm(x, training=training).",
        impact=0.6,
    )


def lagging(subject: Subject, clock: Clock) -> list[Finding]:
    """Moving averages of batch norm that are not those of the data."""
    if not state.is_trained(subject):
        raise NotApplicable("the model is not trained yet")
    if not _batch_norms(subject.model):
        return []
    twin = Twin(subject)
    clock.check()
    in_training, at_evaluation = float(twin._loss(True)), float(twin._loss(False))
    if at_evaluation < LAGS * in_training or at_evaluation < in_training + LAGS_BY:
        return []
    momentum = max(float(getattr(layer, "momentum", 0.99)) for layer in _batch_norms(subject.model))
    return [
        Finding(
            id="batch-norm-lags",
            level=WARNING,
            what="Batch normalization at evaluation does not know the data: its moving averages lag behind",
            evidence=f"On the same {len(twin.x)} train images the loss is {in_training:.3g} with the statistics of "
            f"the batch and {at_evaluation:.3g} with the moving averages. Momentum {momentum:g}, "
            f"{state.steps_taken(subject.model):,} steps.",
            cost="Training looks well and validation does not, from the same images.",
            fix="Lower the momentum, BatchNormalization(momentum=0.9), or train more steps: after n steps the averages "
            "still hold momentum ** n of their initial values. Feed training and validation alike.",
            impact=0.6,
        )
    ]


def lonely(subject: Subject, clock: Clock) -> list[Finding]:
    """Batch normalization over one image."""
    del clock
    norms = [layer for layer in _batch_norms(subject.model) if layer.trainable]
    sizes = [len(batch.x) for batch in subject.split("train").sample.batches[:8]]
    if not norms or max(sizes) > 1:
        return []
    return [
        Finding(
            id="batch-norm-alone",
            level=ERROR,
            what="Batch normalization is trained on batches of one image",
            evidence=f"The first {len(sizes)} batches hold one image each; {len(norms)} BatchNormalization layers "
            "normalize over the batch.",
            cost="Each image is normalized by itself, behind the last pooling to exactly 0: training learns what "
            "evaluation never sees.",
            fix="Use .batch(16) or more; where memory allows no more than one, GroupNormalization or "
            "LayerNormalization.",
            impact=0.8,
        )
    ]


def _batch_norms(model: Any) -> list[Any]:
    return [layer for layer in initialization.flat(model) if isinstance(layer, keras.layers.BatchNormalization)]


PROBES = (
    Probe("modes of layers at evaluation", evaluation, ("images", "model"), 8.0),
    Probe("moving averages of batch norm", lagging, ("images", "model", "loss"), 10.0),
    Probe("batch norm and batch size", lonely, ("images", "model"), 1.0),
)
