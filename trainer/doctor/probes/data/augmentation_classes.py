"""Checks whether a flip that augments the images turns one class into another.

A mirrored arrow to the left is one to the right, and a 6 upside down is a 9. A classifier that was trained on images as
they are judges flipped ones that it did not see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.probes.data import augmentation
from trainer.doctor.subject import state
from trainer.doctor.subject.sample import class_ids
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools import flips, image_features, kernel_classifier, tfdata_steps
from trainer.doctor.tools.first_weights import flat_layers

ELEMENTS, TIMES = 3, 8  # of a map or a layer that is tried
TRIED = 16  # images of a layer
IMAGES = 800
OF_CLASS = 20  # images of a class, at least
FOLDS = 4
KNOWN, KNOWN_ERRORS = 0.08, 2.5  # by which both classes are recognized more often than chance; also in standard errors
LIKE_THE_OTHER = 0.8  # of the share of the other class that is recognized, flipped images are taken for it
MORE, MORE_ERRORS = 0.15, 4.0  # by which they are taken for it more often than those as they are; in standard errors
LOST = 0.1  # by which they are recognized less often
HALF_TURN = 0.5  # of RandomRotation


def changing(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a flip with which two classes change places."""
    told, unflipped = _flips(subject, clock)
    if not told:
        return []
    images, labels = unflipped if unflipped is not None else _sample(subject)
    if images.ndim != 4:
        raise NotApplicable("the images before the augmentation are not known")
    classes, counts = np.unique(labels, return_counts=True)
    chosen = np.flatnonzero(np.isin(labels, classes[counts >= OF_CLASS]))[:IMAGES]
    images, labels = images[chosen], labels[chosen]
    classes = np.unique(labels)
    if len(classes) < 2:
        raise NotApplicable(f"fewer than two classes have {OF_CLASS} images")
    small = image_features.thumbnails(images, clock)
    for flip, where in told.items():
        both = image_features.describe(np.concatenate([small, flips.FLIPS[flip](small)]))
        clock.check()
        upright, flipped = (_shares(answers, labels, classes) for answers in _answers(both, labels, clock))
        counts = np.array([np.count_nonzero(labels == label) for label in classes])
        pair = _exchanged(upright, flipped, counts)
        if pair is not None:
            names = [state.label_name(int(classes[i]), subject.labels, quoted=True) for i in pair]
            return [_finding(flip, where, names, [s[np.ix_(pair, pair)] for s in (upright, flipped)])]
    return []


def _flips(subject: Subject, clock: Clock) -> tuple[dict[str, str], tuple[np.ndarray, np.ndarray] | None]:
    """Returns flip -> what makes it, and images and labels before it.

    These are None where the sample has them.
    """
    found: dict[str, str] = {}
    for layer in flat_layers(subject.model) if subject.model is not None else ():
        found |= dict.fromkeys(sorted(_of_layer(layer, subject)), f"The layer {layer.name}")
    if found:
        return found, None
    if subject.training is not None and subject.training.flips:
        return dict.fromkeys(subject.training.flips, "The ImageDataGenerator"), _validation(subject)
    for step, _ in augmentation.image_maps(subject.train, clock) if _has_maps(subject) else ():
        made: set[str] = set()
        for element in step.source.take(ELEMENTS):
            before = np.asarray(tf.nest.flatten(element)[0])
            for after in tfdata_steps.run_traced(step, element, TIMES):
                clock.check()
                if before.ndim == after.ndim == 4 and before.shape == after.shape:
                    made |= {flips.which(b, a) for b, a in zip(before[:ELEMENTS], after[:ELEMENTS], strict=True)}
                elif before.dtype.kind in "fiu":
                    made.add(flips.which(before, after))
        made.discard("")
        if made:
            return dict.fromkeys(sorted(made), augmentation.where(step)), _before(step, clock)
    return {}, None


def _of_layer(layer: Any, subject: Subject) -> set[str]:
    """Returns the flips that a layer makes of some training images."""
    kind = type(layer).__name__
    if kind not in ("RandomRotation", "RandomFlip"):
        return set()  # a layer of the user may have no configuration
    options = layer.get_config()
    if kind == "RandomRotation":
        return {"turned by 180 degrees"} if np.max(np.abs(options["factor"])) >= HALF_TURN else set()
    images = subject.split("train").sample.images[:TRIED].astype(np.float32)
    if images.ndim != 4:
        return set()
    copy = type(layer).from_config(options)
    results = [np.asarray(copy(images, training=True)) for _ in range(TIMES)]
    return {flips.which(b, a) for result in results for b, a in zip(images, result, strict=True)} - {""}


def _has_maps(subject: Subject) -> bool:
    dataset = subject.train.dataset if subject.train is not None else None
    return dataset is not None and next(tfdata_steps.maps(dataset), None) is not None


def _before(step: Any, clock: Clock) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels as they go into a map."""
    images, labels, count = list[np.ndarray](), list[np.ndarray](), 0
    for element in step.source:
        clock.check()
        x, y = (np.asarray(part) for part in tf.nest.flatten(element)[:2])
        x, y = (x, y) if x.ndim == 4 else (x[None], y[None])
        if images and x.shape[1:] != images[0].shape[1:]:
            continue
        images.append(x)
        labels.append(class_ids(y))
        count += len(x)
        if count >= IMAGES:
            break
    return np.concatenate(images), np.concatenate(labels)


def _sample(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    sample = subject.split("train").sample
    return sample.images, sample.ids


def _validation(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    sample = subject.split("validation").sample
    return sample.images, sample.ids


def _answers(features: np.ndarray, labels: np.ndarray, clock: Clock) -> tuple[np.ndarray, np.ndarray]:
    """Returns the answers for images as they are and flipped.

    Each is by a classifier that did not see the image.
    """
    count = len(labels)
    answers = np.zeros((2, count), labels.dtype)
    fold = np.empty(count, np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        fold[members] = np.arange(len(members)) % FOLDS
    for k in range(FOLDS):
        clock.check()
        seen, other = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        both = np.concatenate([features[other], features[count + other]])
        answers[:, other] = kernel_classifier.answers_of(features[seen], labels[seen], both).reshape(2, -1)
    return answers[0], answers[1]


def _shares(answers: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Returns for each class the shares of the answers, (classes, classes)."""
    return np.array([[np.mean(answers[labels == a] == b) for b in classes] for a in classes])


def _exchanged(upright: np.ndarray, flipped: np.ndarray, counts: np.ndarray) -> list[int] | None:
    """Returns the two classes that change places; None if none do.

    Flipped images of each are taken for the other about as often as those of the other are recognized.

    Args:
      counts: images of each class.
    """
    chance, own = 1 / len(upright), np.diag(upright)
    known = own >= chance + np.maximum(KNOWN, KNOWN_ERRORS * np.sqrt(chance * (1 - chance) / counts))
    errors = np.sqrt((upright * (1 - upright) + flipped * (1 - flipped)) / counts[:, None])
    goes = (flipped - upright >= np.maximum(MORE, MORE_ERRORS * errors)) & (flipped >= LIKE_THE_OTHER * own)
    goes &= (known & (np.diag(flipped) <= own - LOST))[:, None]
    pairs = np.argwhere(np.triu(goes & goes.T, 1))
    return [int(i) for i in pairs[0]] if len(pairs) else None


def _finding(flip: str, where: str, names: list[str], shares: list[np.ndarray]) -> Finding:
    upright, flipped = shares
    return catalogue.found(
        "augmentation-changes-class",
        f"{where} makes images that are {flip}. A classifier on colors, layout and edges, trained on images as they "
        f"are, recognizes {upright[0, 0]:.0%} of {names[0]} and {upright[1, 1]:.0%} of {names[1]} that it did not see. "
        f"Of images that are {flip} it takes {flipped[0, 1]:.0%} of {names[0]} for {names[1]} and {flipped[1, 0]:.0%} "
        f"of {names[1]} for {names[0]}.",
        flip=flip,
        first=names[0],
        second=names[1],
    )


PROBES = (
    Probe(
        "augmentation that keeps the class", changing, ("images",), 15.0, of_classes=True, exclusive=True, alone=True
    ),
)
