"""Labels and head: do activation, loss and the form of the labels go together?"""

from __future__ import annotations

import math

import numpy as np

from trainer.doctor.clock import Clock
from trainer.doctor.finding import ERROR, Finding
from trainer.doctor.outcome import NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.subject import Subject
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
    """Softmax of one unit, sigmoid under a categorical loss, from_logits against the activation."""
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
    return Finding(
        id="softmax-one-unit",
        level=ERROR,
        what="The model ends in a softmax over one unit, which is always 1",
        evidence=f"Layer {head.name!r} gives {subject.outputs.min():.4g} to {subject.outputs.max():.4g} for "
        f"{len(subject.outputs)} images: the softmax of one number is that number divided by itself.",
        cost="It answers the same for every image; no gradient reaches any weight.",
        fix="Dense(1, activation='sigmoid') with binary_crossentropy for two classes, or "
        "Dense(classes, activation='softmax') with sparse_categorical_crossentropy.",
        impact=1.0,
    )


def _sigmoid_categorical(head: Head, loss: Loss) -> Finding:
    one = head.units == 1
    return Finding(
        id="sigmoid-categorical",
        level=ERROR,
        what=f"The model ends in a sigmoid and is compiled with {loss.name}",
        evidence=f"Layer {head.name!r}: {head.units} unit{'s' if head.units > 1 else ''}, sigmoid. The loss expects "
        "probabilities that sum to 1"
        + (", and of one unit it divides the number by itself: it is 0 whatever the model says." if one else "."),
        cost="Nothing is learnt: the loss is the same for every answer."
        if one
        else "The loss looks at the outputs' ratios only; training is slow, and the numbers are no probabilities.",
        fix="loss='binary_crossentropy', which goes with a sigmoid"
        if one
        else f"Dense({head.units}, activation='softmax'); or, where an image may have several labels, "
        "binary_crossentropy with labels of 0 and 1 for each class.",
        impact=1.0 if one else 0.5,
    )


def _one_unit_categorical(head: Head, loss: Loss) -> Finding:
    return Finding(
        id="one-unit-categorical",
        level=ERROR,
        what=f"The model has one output and is compiled with {loss.name}, which wants one for each class",
        evidence=f"Layer {head.name!r}: 1 unit. The softmax in the loss is 1 for any number.",
        cost="Nothing is learnt: the loss is the same for every answer, or the label 1 is outside the head.",
        fix=f"{RIGHT_PAIRS}.",
        impact=1.0,
    )


def _probabilities_as_logits(head: Head, loss: Loss, outputs: np.ndarray) -> Finding:
    least = math.log(1 + (head.units - 1) * math.exp(-1)) if head.units > 1 else math.log(1 + math.exp(-1))
    return Finding(
        id="probabilities-as-logits",
        level=ERROR,
        what=f"The model ends in {head.activation}, and the loss applies it once more (from_logits=True)",
        evidence=f"Layer {head.name!r} gives {outputs.min():.3g} to {outputs.max():.3g}. Of numbers between 0 and 1, "
        f"{loss.name}(from_logits=True) can never be less than {least:.3g}, even when every answer is right and sure.",
        cost="Gradients are flattened: training is several times slower and ends worse; the loss seems to be stuck.",
        fix="Take the activation out of the last layer, or from_logits=True out of the loss.",
        impact=0.5,
    )


def _logits_as_probabilities(head: Head, loss: Loss, outputs: np.ndarray) -> Finding:
    outside = float(np.mean((outputs < 0) | (outputs > 1)))
    return Finding(
        id="logits-as-probabilities",
        level=ERROR,
        what=f"The model ends without an activation, and {loss.name} takes its outputs for probabilities",
        evidence=f"Layer {head.name!r} gives {outputs.min():.3g} to {outputs.max():.3g}; {outside:.0%} of them are "
        "outside 0..1 and are clipped, where the gradient is 0. from_logits is False, the default.",
        cost="The loss is wrong from the first step: it jumps between 0 and 16, and the accuracy stays near guessing.",
        fix=f"keras.losses.{_class_name(loss.name)}(from_logits=True) in compile; or activation="
        f"'{SIGMOID if loss.kind == BINARY else SOFTMAX}' in the last layer.",
        impact=0.9,
    )


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def label_form(subject: Subject, clock: Clock) -> list[Finding]:
    """One-hot labels for a sparse loss, integers for a categorical one, another number of columns than outputs."""
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
        return Finding(
            id="one-hot-sparse",
            level=ERROR,
            what=f"The {split} labels are one-hot, and {loss.name} wants integers",
            evidence=shape,
            cost="Training stops with an error of shapes, or learns the numbers 0 and 1 as classes.",
            fix=f"loss='{loss.name.removeprefix('sparse_')}' (with the same from_logits), or integer labels: "
            "label_mode='int', tf.argmax(label, -1).",
            impact=1.0,
        )
    if loss.kind == CATEGORICAL and columns == 1:
        return Finding(
            id="integers-categorical",
            level=ERROR,
            what=f"The {split} labels are integers, and {loss.name} wants one-hot rows",
            evidence=shape,
            cost="Training stops with an error of shapes, or multiplies the wrong numbers without one.",
            fix=f"loss='sparse_{loss.name}' (with the same from_logits), or tf.one_hot(label, {head.units}).",
            impact=1.0,
        )
    if columns == head.units or loss.kind == SPARSE:
        return None
    return Finding(
        id="label-columns",
        level=ERROR,
        what=f"The {split} labels have {columns} column{'s' if columns > 1 else ''} and the model {head.units} "
        f"output{'s' if head.units > 1 else ''}",
        evidence=shape,
        cost="Training stops with an error of shapes, or broadcasts one label over all outputs.",
        fix=f"Give the last layer {columns} units, or the labels {head.units} columns: {RIGHT_PAIRS}.",
        impact=1.0,
    )


def label_range(subject: Subject, clock: Clock) -> list[Finding]:
    """Labels outside of the head, and those that begin with 1."""
    del clock
    head = head_of(subject)
    found = []
    for split in subject.splits:
        labels = split.sample.labels
        if labels.ndim > 1 and labels.shape[-1] > 1:
            continue  # their number of columns is looked at by `label_form`
        seen = split.sample.labels_seen
        fraction = labels[np.isfinite(labels)] if labels.dtype.kind == "f" else labels
        if fraction.size != labels.size or (fraction != np.rint(fraction)).any():
            if subject.has("loss") and _is_soft(subject, labels):
                continue
            found.append(_no_ids(split.name, labels))
            continue
        classes = max(2, head.units)
        if seen.min() == 1 and seen.max() == classes:
            found.append(_off_by_one(split.name, seen, head))
        elif seen.min() < 0 or seen.max() >= classes:
            found.append(_outside(split.name, seen, head))
    return found


def _is_soft(subject: Subject, labels: np.ndarray) -> bool:
    """Probabilities as labels of a binary loss: smoothed or mixed."""
    return loss_of(subject.model).kind == BINARY and bool(((labels >= 0) & (labels <= 1)).all())


def _no_ids(split: str, labels: np.ndarray) -> Finding:
    shown = ", ".join(f"{v:g}" for v in np.unique(labels)[:6])
    return Finding(
        id="labels-no-integers",
        level=ERROR,
        what=f"The {split} labels are no whole numbers",
        evidence=f"Among them are {shown} ({labels.dtype}).",
        cost="They are cut to whole numbers or make the loss NaN.",
        fix="Give every class a whole number from 0 on; look for labels that were scaled together with the images.",
        impact=1.0,
    )


def _off_by_one(split: str, seen: np.ndarray, head: Head) -> Finding:
    top = int(seen.max())
    return Finding(
        id="labels-off-by-one",
        level=ERROR,
        what=f"The {split} labels count from 1 to {top}; a head counts from 0",
        evidence=f"Least label {seen.min()}, greatest {top}, no 0 among {len(seen):,}; layer {head.name!r} has "
        f"{head.units} unit{'s' if head.units > 1 else ''}. {np.mean(seen == top):.1%} have label {top}.",
        cost=f"Label {top} is outside the head: its loss is NaN, 0 or an error; output 0 is never right.",
        fix="label - 1 in the map.",
        impact=1.0,
    )


def _outside(split: str, seen: np.ndarray, head: Head) -> Finding:
    classes = max(2, head.units)
    outside = (seen < 0) | (seen >= classes)
    values = ", ".join(str(v) for v in np.unique(seen[outside])[:8])
    return Finding(
        id="labels-out-of-range",
        level=ERROR,
        what=f"The {split} labels do not fit a head of {head.units} unit{'s' if head.units > 1 else ''}",
        evidence=f"{int(outside.sum()):,} of {len(seen):,} labels are outside 0..{classes - 1}: {values}.",
        cost="Their loss is NaN, 0 or an error, by the device; their classes can never be answered.",
        fix=f"Give the last layer {int(seen.max()) + 1} units, one for each class"
        if seen.min() >= 0
        else "Number the classes from 0 on; -1 often means that a name was not found in a lookup table.",
        impact=1.0,
    )


def known_classes(subject: Subject, clock: Clock) -> list[Finding]:
    """A head of another size than the number of classes that folder or contract name."""
    del clock
    if not subject.labels:
        raise NotApplicable("the names of the classes are not known")
    head, classes = head_of(subject), len(subject.labels)
    if head.units == classes or (head.units == 1 and classes == 2):
        return []
    return [
        Finding(
            id="head-size",
            level=ERROR,
            what=f"The model has {head.units} output{'s' if head.units > 1 else ''} for {classes} classes",
            evidence=f"Layer {head.name!r} has {head.units} units; the classes are {', '.join(subject.labels[:12])}"
            f"{', …' if classes > 12 else ''}.",
            cost="Classes without an output are never answered; outputs without a class take part of the probability.",
            fix=f"Give the last layer {classes} units.",
            impact=0.9,
        )
    ]


PROBES = (
    Probe("activation of the head against the loss", activation_and_loss, ("images", "loss"), 20),
    Probe("form of the labels against the loss", label_form, ("images", "loss"), 20),
    Probe("labels within the head's range", label_range, ("images", "model"), 20),
    Probe("units of the head against the classes", known_classes, ("images", "model"), 20),
)
