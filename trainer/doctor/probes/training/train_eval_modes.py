"""Checks for layers that are in the wrong mode.

Such layers behave differently in training and in evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from pipelines.core.text import listed
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.copies.model_copy import Twin, copy_of
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.probes.training import initialization
from trainer.doctor.subject import state
from trainer.doctor.subject.sample import choose
from trainer.doctor.subject.subject import Subject, run_model
from trainer.doctor.tools import task

IMAGES = 16
ROUNDING = 1e-4  # outputs of one image and of many differ by this share, however small their spread is
SAME = 1e-3  # share of the spread of the outputs; kernels for one image and for many may round differently
ENOUGH = 4  # images of a batch; Wu and He 2018, "Group Normalization": 2 cost 10 points, 4 cost 4
LAGS = 2.0  # ratio of the loss in evaluation mode to that in training mode
SEEN = 256  # images that show the statistics of what reaches a batch normalization
MISFIT = 1.0  # of a mean, in units of the deviation 1 that the layer assumes, or of the logarithm of a variance
LAGS_BY = 0.3  # nats; the difference of the two must also be at least this


def evaluation(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds dropout or batch statistics that are active at evaluation."""
    sample = subject.split("train").sample
    images, count = choose(sample.inputs, slice(IMAGES)), min(IMAGES, len(sample.images))
    one, two = run_model(subject.model, images), run_model(subject.model, images)
    clock.check()
    span = max(float(np.ptp(one)), 1e-6)
    noise = float(np.max(np.abs(one - two)))
    if noise > SAME * span and noise > ROUNDING * max(1.0, float(np.max(np.abs(one)))):
        return _random(subject, one, noise / span)
    if count < 2:
        raise NotApplicable("one image only")
    alone = np.concatenate([run_model(subject.model, choose(images, slice(i, i + 1))) for i in range(min(4, count))])
    most = float(np.max(np.abs(alone - one[: len(alone)])))
    rounding = ROUNDING * max(1.0, float(np.max(np.abs(one))))
    return [_of_batch(subject, most / span)] if most > 10 * SAME * span and most > rounding else []


def _random(subject: Subject, outputs: np.ndarray, noise: float) -> list[Finding]:
    names = [layer.name for layer in initialization.flat(subject.model) if "dropout" in type(layer).__name__.lower()]
    makes_inputs = outputs.shape[1:] == subject.split("train").sample.images.shape[1:]
    if not names and (makes_inputs or task.ignores_labels(subject)):
        raise NotApplicable("the model draws its answers at random, as a variational autoencoder does")
    return [
        catalogue.found(
            "dropout-at-evaluation",
            f"Two calls with training=False differ by {noise:.1%} of the spread of the outputs. "
            f"Layers of dropout: {listed(names, 4) or 'none; look for random operations in a call'}.",
        )
    ]


def _of_batch(subject: Subject, apart: float) -> Finding:
    names = [layer.name for layer in _batch_norms(subject.model)]
    return catalogue.found(
        "batch-statistics-at-evaluation",
        f"Alone and in a batch of {IMAGES}, an image's outputs differ by {apart:.1%} of their spread. "
        f"Batch-normalization layers: {listed(names, 4) or 'none; look for a mean over axis 0'}.",
    )


def lagging(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds moving averages of batch normalization that do not fit the data."""
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
        catalogue.found(
            "batch-norm-lags",
            f"On the same {twin.images} train images the loss is {in_training:.3g} with the statistics of "
            f"the batch and {at_evaluation:.3g} with the moving averages. Momentum {momentum:g}, "
            f"{state.steps_taken(subject.model):,} steps.",
        )
    ]


def unmoved(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a training that ran in inference mode.

    Moving statistics of batch normalization then still have their first values, 0 and 1.
    """
    training = subject.training
    first, final = (training.first_weights, training.final_weights) if training is not None else (None, None)
    weights = subject.model.weights
    if training is None or not first or not final or not len(first) == len(final) == len(weights):
        raise NotApplicable("it needs a training that was watched")
    if all(np.array_equal(a, b) for a, b in zip(first, final, strict=True)):
        raise NotApplicable("no step was seen")
    values = {id(weight): value for weight, value in zip(weights, final, strict=True)}
    still = {layer.name: layer for layer in _batch_norms(subject.model) if _is_new(layer, values)}
    drops = [layer for layer in initialization.flat(subject.model) if float(getattr(layer, "rate", 0) or 0) > 0]
    if still:
        seen = _seen_by(subject, still)
        name = max(seen, key=lambda name: _misfit(*seen[name]))
        mean, variance = seen[name]
        if _misfit(mean, variance) > MISFIT:
            worst = int(np.argmax(np.abs(mean) + np.abs(np.log(variance))))
            return [
                catalogue.found(
                    "inference-mode-in-training",
                    f"After the training the moving mean of {listed(still, 4)} is still 0 and the variance 1. Column "
                    f"{worst} of what reaches {name} has a mean of {mean[worst]:.3g} and a variance of "
                    f"{variance[worst]:.3g}.",
                    level="error",
                )
            ]
    clock.check()
    if drops and training.in_training is False and _is_calm(subject):
        names = listed((layer.name for layer in drops), 4)
        return [
            catalogue.found(
                "inference-mode-in-training",
                f"The steps call the model without training=True, and two such calls on the same images agree: {names} "
                "drops nothing.",
                level="warning",
            )
        ]
    return []


def _is_new(layer: Any, values: Mapping[int, np.ndarray]) -> bool:
    """Tells whether a trainable batch normalization has its first moving statistics."""
    mean, variance = (values.get(id(part)) for part in (layer.moving_mean, layer.moving_variance))
    return bool(
        layer.trainable and mean is not None and variance is not None and not mean.any() and (variance == 1).all()
    )


def _seen_by(subject: Subject, layers: Mapping[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the mean and the variance of what reaches batch normalizations.

    A copy in training mode gives them. Where the model does not hand the mode on, they stay 0 and 1.
    """
    twin = copy_of(subject.model)
    run_model(twin, choose(subject.split("train").sample.inputs, slice(SEEN)), training=True)
    seen = {}
    for layer in _batch_norms(twin):
        if layer.name in layers:
            share = 1 - float(layer.momentum)
            mean, variance = (np.asarray(v, np.float64) for v in (layer.moving_mean, layer.moving_variance))
            seen[layer.name] = mean / share, np.maximum((variance - (1 - share)) / share, 1e-12)
    return seen


def _misfit(mean: np.ndarray, variance: np.ndarray) -> float:
    """Returns how far the statistics of a layer's input are from 0 and 1."""
    return float(max(np.abs(mean).max(), np.abs(np.log(variance)).max()))


def _is_calm(subject: Subject) -> bool:
    """Tells whether two calls without a mode give the same answers."""
    images = choose(subject.split("train").sample.inputs, slice(IMAGES))
    one, two = (run_model(subject.model, images, training=None) for _ in range(2))
    return bool(np.array_equal(one, two))


def lonely(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds batch normalization over batches of one image or a few."""
    del clock
    norms = [layer for layer in _batch_norms(subject.model) if layer.trainable]
    sizes = [len(batch.x) for batch in subject.split("train").sample.batches[:8]]
    if subject.training is not None and subject.training.batch_size:
        sizes = [subject.training.batch_size]
    if not norms or max(sizes) >= ENOUGH:
        return []
    if max(sizes) > 1:
        return [
            catalogue.found(
                "batch-norm-small",
                f"The first batches hold {max(sizes)} images; {len(norms)} BatchNormalization layers normalize over "
                "the batch.",
                images=max(sizes),
            )
        ]
    return [
        catalogue.found(
            "batch-norm-alone",
            f"The first {len(sizes)} batches hold one image each; {len(norms)} BatchNormalization layers "
            "normalize over the batch.",
        )
    ]


def _batch_norms(model: Any) -> list[Any]:
    return [layer for layer in initialization.flat(model) if isinstance(layer, keras.layers.BatchNormalization)]


PROBES = (
    Probe("modes of layers at evaluation", evaluation, ("images", "model"), 8.0),
    Probe("moving averages of batch norm", lagging, ("images", "model", "loss"), 10.0),
    Probe("mode of the model in the training steps", unmoved, ("images", "model"), 5.0),
    Probe("batch norm and batch size", lonely, ("images", "model"), 1.0),
)
