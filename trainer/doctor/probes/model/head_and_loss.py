"""Checks whether activation, loss and the form of the labels fit together."""

from __future__ import annotations

import math

import numpy as np

from pipelines.core.text import listed, plural
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools import task
from trainer.doctor.tools.model_head import (
    BINARY,
    CATEGORICAL,
    LINEAR,
    SIGMOID,
    SOFTMAX,
    SPARSE,
    Head,
    Loss,
    head_of,
    loss_of,
)

RIGHT_PAIRS = (
    "Dense(classes) with SparseCategoricalCrossentropy(from_logits=True) for integer labels; for two classes also "
    "Dense(1) with BinaryCrossentropy(from_logits=True)"
)


def activation_and_loss(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a head whose activation does not fit the loss.

    The faults are a softmax of one unit, a sigmoid or a single unit under a categorical loss, and a from_logits that
    contradicts the activation.
    """
    del clock
    head = head_of(subject)
    if head.units == 1 and head.activation == SOFTMAX:
        return [_softmax_of_one(head, subject)]
    loss = loss_of(subject.model)
    if loss.kind in (SPARSE, CATEGORICAL) and head.activation == SIGMOID:
        return [_sigmoid_categorical(head, loss)]
    if loss.kind in (SPARSE, CATEGORICAL) and head.units == 1:
        return [_one_unit_categorical(head, loss)]
    if loss.from_logits and head.activation in (SOFTMAX, SIGMOID):
        return [_probabilities_as_logits(head, loss, subject.outputs)]
    if not loss.from_logits and head.activation == LINEAR:
        return [_logits_as_probabilities(head, loss, subject.outputs)]
    return []


def _softmax_of_one(head: Head, subject: Subject) -> Finding:
    return catalogue.found(
        "softmax-one-unit",
        f"Layer {head.name!r} gives {subject.outputs.min():.4g} to {subject.outputs.max():.4g} for "
        f"{len(subject.outputs)} images: the softmax of one number is that number divided by itself.",
    )


def _sigmoid_categorical(head: Head, loss: Loss) -> Finding:
    evidence = f"Layer {head.name!r}: {plural(head.units, 'unit')}, sigmoid. The loss expects "
    if head.units == 1:
        evidence += (
            "probabilities that sum to 1, and of one unit it divides the number by itself: it is 0 whatever the "
            "model says."
        )
        return catalogue.found("sigmoid-categorical", evidence, case="one-unit", loss=loss.name)
    evidence += "probabilities that sum to 1."
    return catalogue.found("sigmoid-categorical", evidence, case="several-units", loss=loss.name, units=head.units)


def _one_unit_categorical(head: Head, loss: Loss) -> Finding:
    return catalogue.found(
        "one-unit-categorical",
        f"Layer {head.name!r}: 1 unit. The softmax in the loss is 1 for any number.",
        loss=loss.name,
    )


def _probabilities_as_logits(head: Head, loss: Loss, outputs: np.ndarray) -> Finding:
    least = math.log(1 + (head.units - 1) * math.exp(-1)) if head.units > 1 else math.log(1 + math.exp(-1))
    return catalogue.found(
        "probabilities-as-logits",
        f"Layer {head.name!r} gives {outputs.min():.3g} to {outputs.max():.3g}. Of numbers between 0 and 1, "
        f"{loss.name}(from_logits=True) can never be less than {least:.3g}, even when every answer is right and sure.",
        activation=head.activation,
    )


def _logits_as_probabilities(head: Head, loss: Loss, outputs: np.ndarray) -> Finding:
    outside = float(np.mean((outputs < 0) | (outputs > 1)))
    return catalogue.found(
        "logits-as-probabilities",
        f"Layer {head.name!r} gives {outputs.min():.3g} to {outputs.max():.3g}; {outside:.0%} of them are "
        "outside 0..1 and are clipped, where the gradient is 0. from_logits is False, the default.",
        loss=loss.name,
        loss_class=_class_name(loss.name),
        activation=SIGMOID if loss.kind == BINARY else SOFTMAX,
    )


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def label_form(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds labels in a form that the loss does not take.

    The faults are one-hot labels for a sparse loss, integers for a categorical one, and a number of label columns that
    differs from the number of outputs.
    """
    del clock
    head, loss = head_of(subject), loss_of(subject.model)
    return [
        finding
        for split in subject.splits
        if (finding := _form(split.name, split.sample.labels, head, loss)) is not None
    ]


def _form(split: str, labels: np.ndarray, head: Head, loss: Loss) -> Finding | None:
    columns = labels.shape[-1] if labels.ndim > 1 else 1
    shape = f"The {split} labels have the shape {('batch', *labels.shape[1:])} and the outputs ('batch', {head.units})."
    if loss.kind == SPARSE and columns > 1:
        return catalogue.found(
            "one-hot-sparse", shape, split=split, loss=loss.name, dense_loss=loss.name.removeprefix("sparse_")
        )
    if loss.kind == CATEGORICAL and columns == 1:
        return catalogue.found("integers-categorical", shape, split=split, loss=loss.name, units=head.units)
    if columns == head.units or loss.kind == SPARSE:
        return None
    return catalogue.found("label-columns", shape, split=split, columns=columns, units=head.units)


def label_range(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds labels outside the head's range, and labels that begin with 1."""
    del clock
    head = head_of(subject)
    found = []
    for split in subject.splits:
        labels = split.sample.labels
        if labels.ndim > 1 and labels.shape[-1] > 1:
            continue  # `label_form` checks their number of columns
        seen = split.sample.labels_seen
        fraction = labels[np.isfinite(labels)] if labels.dtype.kind == "f" else labels
        if fraction.size != labels.size or (fraction != np.rint(fraction)).any():
            if subject.has("loss") and _is_soft(subject, labels):
                continue
            found.append(_no_ids(split.name, labels))
            continue
        if "hinge" in task.loss_name(subject.model) and set(np.unique(labels)) <= {-1, 1}:
            continue  # as that loss has them
        classes = max(2, head.units)
        if seen.min() == 1 and seen.max() == classes:
            found.append(_off_by_one(split.name, seen, head))
        elif seen.min() < 0 or seen.max() >= classes:
            found.append(_outside(split.name, seen, head))
    return found


def _is_soft(subject: Subject, labels: np.ndarray) -> bool:
    """Returns whether the labels are probabilities for a binary loss.

    Smoothed or mixed labels are such probabilities.
    """
    return loss_of(subject.model).kind == BINARY and bool(((labels >= 0) & (labels <= 1)).all())


def _no_ids(split: str, labels: np.ndarray) -> Finding:
    shown = listed((f"{v:g}" for v in np.unique(labels)), 6)
    return catalogue.found("labels-no-integers", f"Among them are {shown} ({labels.dtype}).", split=split)


def _off_by_one(split: str, seen: np.ndarray, head: Head) -> Finding:
    top = int(seen.max())
    return catalogue.found(
        "labels-off-by-one",
        f"Least label {seen.min()}, greatest {top}, no 0 among {len(seen):,}; layer {head.name!r} has "
        f"{plural(head.units, 'unit')}. {np.mean(seen == top):.1%} have label {top}.",
        split=split,
        top=top,
    )


def _outside(split: str, seen: np.ndarray, head: Head) -> Finding:
    classes = max(2, head.units)
    outside = (seen < 0) | (seen >= classes)
    values = listed(np.unique(seen[outside]), 8)
    evidence = f"{int(outside.sum()):,} of {len(seen):,} labels are outside 0..{classes - 1}: {values}."
    if seen.min() < 0:
        return catalogue.found("labels-out-of-range", evidence, case="negative", split=split, units=head.units)
    return catalogue.found(
        "labels-out-of-range", evidence, case="too-large", split=split, units=head.units, classes=int(seen.max()) + 1
    )


def known_classes(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a head with more or fewer units than there are classes.

    The folder or the contract names the classes.
    """
    del clock
    if not subject.labels:
        raise NotApplicable("the names of the classes are not known")
    head, classes = head_of(subject), len(subject.labels)
    if head.units == classes or (head.units == 1 and classes == 2):
        return []
    return [
        catalogue.found(
            "head-size",
            f"Layer {head.name!r} has {head.units} units; the classes are {listed(subject.labels, 12)}.",
            units=head.units,
            classes=classes,
        )
    ]


PROBES = (
    Probe("activation of the head against the loss", activation_and_loss, ("images", "loss"), 20, matters=True),
    Probe("form of the labels against the loss", label_form, ("images", "loss"), 20, matters=True),
    Probe("labels within the head's range", label_range, ("images", "model"), 20, of_classes=True, matters=True),
    Probe("units of the head against the classes", known_classes, ("images", "model"), 20),
)
