"""Checks whether the head can give what the labels and the loss ask for."""

from __future__ import annotations

import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import ERROR, WARNING, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.subject import OUTPUT_BATCH, Subject
from trainer.doctor.tools import metrics, task
from trainer.doctor.tools.model_head import (
    BINARY,
    CATEGORICAL,
    LINEAR,
    SIGMOID,
    SOFTMAX,
    activation_of,
    head_of,
    loss_of,
)

RANGES = {SIGMOID: (0.0, 1.0), SOFTMAX: (0.0, 1.0), "tanh": (-1.0, 1.0), "softsign": (-1.0, 1.0),
          "hard_sigmoid": (0.0, 1.0), "relu": (0.0, np.inf), "softplus": (0.0, np.inf)}  # fmt: skip
PROBABILITIES = (SIGMOID, SOFTMAX, "hard_sigmoid")
OUTSIDE = 0.01  # share of the targets; fewer may be outliers
FEW_CLASSES = 10  # distinct integers; more of them may be numbers
LEARNED = 0.9  # R² of a model that its training brought to such targets in spite of them
LARGE_TARGETS = 50.0  # root mean square; a head begins with numbers near 1, and Adam moves them by about 1e-3 a step


def activation(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a head of relu, tanh and the like under a cross-entropy."""
    del clock
    head, loss = head_of(subject), loss_of(subject.model)
    if head.activation in (*PROBABILITIES, LINEAR) or head.activation not in RANGES:
        return []
    outputs = subject.outputs
    return [
        catalogue.found(
            "head-activation",
            f"Layer {head.name!r} has the activation {head.activation} and gives {outputs.min():.3g} to "
            f"{outputs.max():.3g}; {np.mean(outputs == 0):.0%} of its outputs are exactly 0.",
            activation=head.activation,
            loss=loss.name,
            right=SIGMOID if loss.kind == BINARY else SOFTMAX,
        )
    ]


def targets(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds targets that the head cannot give or that are far too large."""
    del clock
    wanted = subject.split("train").sample.labels
    pictures = wanted.ndim > 2
    if not (_is_compared(subject, wanted) if pictures else task.is_regression(subject)):
        raise NotApplicable("the targets are classes")
    last = activation_of(subject) if pictures else head_of(subject).activation
    wanted = wanted.astype(np.float64)
    low, high = RANGES.get(last, (-np.inf, np.inf))
    outside = float(np.mean((wanted < low) | (wanted > high)))
    evidence = f"The targets are {wanted.min():.4g} to {wanted.max():.4g}, with a mean of {wanted.mean():.4g}"
    if outside > OUTSIDE:
        return [
            catalogue.found(
                "head-range",
                f"{evidence}; {outside:.0%} of them are outside of what {last} gives, {low:g} to {high:g}.",
                activation=last,
            )
        ]
    if pictures:
        return []  # a decoder has more layers than a head, and pixels of 0..255 have a finding of their own
    size = float(np.sqrt(np.mean(np.square(wanted))))
    if size <= LARGE_TARGETS or _ends_with_scaling(subject) or _explained(subject) >= LEARNED:
        return []
    return [catalogue.found("targets-unscaled", f"{evidence} and a deviation of {wanted.std():.4g}.")]


def _explained(subject: Subject) -> float:
    """Returns the share of the targets' variance that the model explains, its R²."""
    split, outputs = subject.scored
    truth, given = (values[: len(outputs)].reshape(len(outputs), -1) for values in (split.sample.labels, outputs))
    if truth.shape != given.shape:
        return 0.0
    variance = np.maximum(truth.astype(np.float64).var(axis=0), 1e-12)
    return 1 - float(np.mean(np.square(given - truth.astype(np.float64)).mean(axis=0) / variance))


def _is_compared(subject: Subject, wanted: np.ndarray) -> bool:
    """Tells whether the loss compares outputs with targets of their shape.

    So it does in an autoencoder.
    """
    loss = task.loss_name(subject.model)
    known = loss in task.REGRESSION_LOSSES or loss == "binary_crossentropy"
    return known and subject.outputs.shape[1:] == wanted.shape[1:] and bool(np.isfinite(wanted).all())


def _ends_with_scaling(subject: Subject) -> bool:
    layers = getattr(subject.model, "layers", None) or [None]
    return type(layers[-1]).__name__ in ("Rescaling", "Normalization", "Lambda")


def regression_of_classes(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds class ids or one-hot labels under a loss for numbers."""
    del clock
    name = task.loss_name(subject.model)
    if name not in task.REGRESSION_LOSSES:
        raise NotApplicable("the loss is not one for numbers")
    labels, head = subject.split("train").sample.labels, head_of(subject)
    if task.is_regression(subject) or not np.isfinite(labels).all():
        return []
    if labels.ndim > 1 and labels.shape[-1] > 1:
        if not ((labels > 0.5).sum(axis=-1) == 1).all():
            return []
    elif (labels != np.rint(labels)).any() or len(np.unique(labels)) > FEW_CLASSES:
        return []
    if labels.ndim < 3 and labels.shape[-1:] == (1,) and head.units == 1 and not _calls_it_accuracy(subject):
        return []  # grades in a column may be meant as numbers
    values = ", ".join(f"{v:g}" for v in np.unique(labels)[:8])
    broken = head.units > 1 and (labels.ndim == 1 or labels.shape[-1] == 1)
    return [
        catalogue.found(
            "regression-of-classes",
            f"The labels are {values}, of the shape {('batch', *labels.shape[1:])}; layer {head.name!r} has "
            f"{head.units} outputs.",
            level=ERROR if broken or _calls_it_accuracy(subject) else WARNING,
            loss=name,
        )
    ]


def _calls_it_accuracy(subject: Subject) -> bool:
    return any("accuracy" in name or name == "acc" for name in metrics.names(subject.model))


def independent_or_exclusive(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a binary cross-entropy over classes that exclude each other."""
    del clock
    head, loss = head_of(subject), loss_of(subject.model)
    labels = subject.split("train").sample.labels
    if loss.kind == CATEGORICAL and task.is_multilabel(subject) and labels.shape[-1] == head.units:
        return [_several_right(labels, head.units, head.name, loss.name)]
    if loss.kind != BINARY or head.units < 2:
        return []
    columns = labels.shape[-1] if labels.ndim > 1 else 1
    if columns not in (1, head.units):
        return []  # `label-columns` reports it
    exclusive = columns == 1 or bool(((labels > 0.5).sum(axis=-1) == 1).all())
    several = "" if columns == 1 else f", and each of {len(labels):,} rows of labels has exactly one class"
    evidence = f"Layer {head.name!r} has {head.units} units{several}."
    if head.activation == SOFTMAX:
        return [catalogue.found("softmax-binary", evidence, loss=loss.name, units=head.units)]
    if exclusive and columns > 1 and head.units > 2:
        return [catalogue.found("sigmoids-exclusive", evidence, units=head.units)]
    return []


def _several_right(labels: np.ndarray, units: int, layer: str, loss: str) -> Finding:
    count = labels.sum(axis=1)
    return catalogue.found(
        "softmax-multilabel",
        f"Of {len(labels):,} rows of labels {np.mean(count > 1):.0%} have several classes, {count.max():g} at most, "
        f"and {np.mean(count == 0):.0%} none; layer {layer!r} shares 1 among {units} units.",
        loss=loss,
        units=units,
    )


def numbers(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds numbers that are to be predicted under a loss for classes."""
    del clock
    loss = loss_of(subject.model)
    wanted = subject.split("train").sample.labels
    if not task.is_regression(subject) or wanted.ndim > 2:
        return []  # pixels of 0..1 may be taken for probabilities, and masks are classes
    wanted = wanted.astype(np.float64)
    return [
        catalogue.found(
            "loss-of-numbers",
            f"The targets are {wanted.min():.4g} to {wanted.max():.4g}, {len(np.unique(wanted)):,} different ones of "
            f"{len(wanted):,}.",
            loss=loss.name,
        )
    ]


def axis(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a softmax over the images of a batch in the place of the classes."""
    del clock
    outputs = subject.outputs
    if outputs.ndim != 2 or len(outputs) < OUTPUT_BATCH or outputs.shape[1] < 2:
        raise NotApplicable("there are too few images or outputs")
    batch = outputs[:OUTPUT_BATCH]
    if batch.min() < 0 or not np.allclose(batch.sum(axis=0), 1, atol=1e-3) or np.allclose(batch.sum(axis=1), 1, 0.1):
        return []
    return [
        catalogue.found(
            "softmax-axis",
            f"Over a batch of {OUTPUT_BATCH} images the outputs of each class sum to 1; for one image they sum to "
            f"{batch.sum(axis=1).min():.3g} to {batch.sum(axis=1).max():.3g}.",
        )
    ]


PROBES = (
    Probe("activation of the head", activation, ("images", "loss"), 15),
    Probe("targets within the head's range", targets, ("images", "loss"), 15),
    Probe("classes under a loss for numbers", regression_of_classes, ("images", "loss"), 15),
    Probe("exclusive classes under a binary loss", independent_or_exclusive, ("images", "loss"), 15),
    Probe("numbers under a loss for classes", numbers, ("images", "loss"), 15),
    Probe("axis of the softmax", axis, ("images", "model"), 15),
)
