"""Checks how the images were divided into training and validation."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.core.text import listed
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import ERROR, WARNING, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import DATASET, FOLDER, Subject
from trainer.doctor.tools import image_features, tfdata_steps
from trainer.doctor.tools.kernel_classifier import answers_of

FEW = 40  # validation images; each is 2.5 points of accuracy or more, and the 95 % interval is 30 points wide
MOST = 800  # images of a split for the quick classifier; its time grows with the cube of their number
LEAST = 60  # images of a split for it
ROWS_MATCHED = 0.75  # share of rows that is right once the ids are renamed
SURE = 5.0  # standard errors; 5 is exceeded by chance once in three million
KEEPS = 0.5  # share of what the classifier learned that it must show on validation once the ids are renamed


def one_class(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a training set of one class only."""
    del clock
    train = subject.split("train")
    counts, whole = state.counts(subject, train)
    if len(counts) != 1 or not whole or sum(counts.values()) < 2:
        return []
    if train.sample.labels.ndim > 1 and train.sample.labels.shape[-1] > 1 and not _exclusive(train.sample.labels):
        return []
    if len(np.unique(train.sample.labels)) > 1 and train.sample.labels.size == len(train.sample.labels):
        return []  # such as -1 and 1, of which only one is an id
    label = next(iter(counts))
    return [
        catalogue.found(
            "one-class",
            f"All {sum(counts.values()):,} training labels are {state.label_name(label, subject.labels, quoted=True)}.",
        )
    ]


def _exclusive(labels: np.ndarray) -> bool:
    return bool(((labels > 0.5).sum(axis=-1) == 1).all())


def shuffled_before(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds splits that take and skip cut out of a shuffle that draws anew each epoch."""
    del clock
    if subject.origin != DATASET or subject.validation is None or subject.validation.dataset is None:
        raise NotApplicable("it looks into the steps of --dataset")
    parts = [part for split in subject.splits if (part := _cut_of_shuffle(split.dataset)) is not None]
    if len(parts) < 2:
        return []
    (one, first), (two, _) = parts
    return [
        catalogue.found(
            "split-after-shuffle",
            f"The steps of the training dataset hold .shuffle({first}) and then .{one.lower()}(), those of validation "
            f".shuffle and then .{two.lower()}().",
        )
    ]


def _cut_of_shuffle(dataset: Any) -> tuple[str, int] | None:
    """Returns the cut (Take or Skip) that has a shuffle of every epoch before it."""
    for step in tfdata_steps.steps(dataset) if dataset is not None else ():
        if step.kind not in ("Take", "Skip"):
            continue
        for before in tfdata_steps.steps(step.source):
            again = getattr(before.dataset, "_reshuffle_each_iteration", True) is not False
            if before.kind.startswith("Shuffle") and again:
                return step.kind, int(np.asarray(getattr(before.dataset, "_buffer_size", 0)))
            if before.kind == "Cache":
                break
    return None


def small(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a validation split of too few images to tell anything."""
    del clock
    split = subject.split("validation")
    counts, whole = state.counts(subject, split)
    total = sum(counts.values())
    if not whole:
        return []
    if not 0 < total < FEW:
        return []
    return [
        catalogue.found(
            "validation-small",
            f"One image more or less changes the accuracy by {1 / total:.1%}. If half are right, the 95 % interval is "
            f"{0.5 - 0.98 / total**0.5:.0%} to {min(1, 0.5 + 0.98 / total**0.5):.0%}.",
            images=total,
        )
    ]


def endless(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a validation dataset that never ends."""
    del clock
    dataset = subject.split("validation").dataset
    if dataset is None or subject.origin == FOLDER:
        raise NotApplicable("validation is no tf.data.Dataset")
    training = subject.training
    if int(dataset.cardinality()) != tf.data.INFINITE_CARDINALITY:
        return []
    if training is not None and training.validation_steps:
        return []
    return [catalogue.found("validation-endless", "Its cardinality is infinite: it has .repeat() without a number.",
                            level=WARNING if training is None else ERROR)]  # fmt: skip


def _scaled(rows: np.ndarray, count: int) -> np.ndarray:
    """Returns rows whose columns have the deviation 1 in the first `count`.

    Raises:
      NotApplicable: they are whole numbers, which may stand for words, or are not finite.
    """
    values = rows.astype(np.float64)
    if not np.isfinite(values).all() or (values == np.rint(values)).all():
        raise NotApplicable("the rows are whole numbers, such as words")
    deviation = values[:count].std(axis=0)
    return (values - values[:count].mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)


def ids_exchanged(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds class ids that are in another order in validation than in training.

    A quick classifier that learned from training is judged on validation, with the ids as they are and renamed.
    """
    if subject.origin == FOLDER:
        raise NotApplicable("the folders of both splits have the same names")
    train, other = subject.split("train").sample, subject.split("validation").sample
    are_rows = train.images.ndim == 2
    if (
        min(len(train.ids), len(other.ids)) < LEAST
        or train.shapes[0] != other.shapes[0]
        or not (are_rows or train.images.ndim == 4)
    ):
        raise NotApplicable(f"it needs {LEAST} images of one size in both splits")
    values, count = np.concatenate([train.images[:MOST], other.images[:MOST]]), len(train.images[:MOST])
    features = _scaled(values, count) if are_rows else image_features.describe(image_features.thumbnails(values, clock))
    clock.check()
    labels, true = train.ids[:MOST], other.ids[:MOST]
    classes = np.unique(labels)
    if len(classes) < 2 or not set(np.unique(true)) <= set(classes):
        raise NotApplicable("the splits hold other classes")
    given = answers_of(features[:count], labels, features[count:])
    matrix = np.array([[np.mean(given[true == a] == b) if (true == a).any() else 0 for b in classes] for a in classes])
    meant = matrix.argmax(axis=1)
    chance = 1 / len(classes)
    error = float(np.sqrt((chance * (1 - chance) / np.maximum(1, np.bincount(np.searchsorted(classes, true)))).sum()))
    error /= len(classes)
    as_is, renamed = float(np.diag(matrix).mean()), float(matrix.max(axis=1).mean())
    moved = np.flatnonzero(meant != np.arange(len(classes)))
    if are_rows and renamed < ROWS_MATCHED:
        return []  # what is known of rows changes with time, as of prices
    if len(set(meant)) < len(classes) or len(moved) < 2 or renamed < as_is + SURE * error * np.sqrt(2):
        return []
    if renamed < chance + SURE * error or any(matrix[m, meant[m]] < matrix[m, m] + 0.1 for m in moved):
        return []
    name = {i: state.label_name(int(c), subject.labels) for i, c in enumerate(classes)}
    pairs = listed((f"{name[m]} looks like {name[int(meant[m])]} of training" for m in map(int, moved)), 6, "; ")
    return [
        catalogue.found(
            "labels-other-order",
            f"A quick classifier of the training images is right on {as_is:.0%} of the validation images as they are "
            f"labelled (mean over {len(classes)} classes; guessing gives {chance:.0%}), and on {renamed:.0%} once the "
            f"ids are renamed: {pairs}.",
            case="between-splits",
        )
    ]


PROBES = (
    Probe("more than one class", one_class, ("images",), 1, exclusive=True),
    Probe("splits cut before the shuffle", shuffled_before, ("images", "validation"), 2),
    Probe("number of validation images", small, ("images", "validation"), 1),
    Probe("end of the validation images", endless, ("images", "validation"), 1),
    Probe(
        "the same class ids in both splits",
        ids_exchanged,
        ("images", "validation"),
        15,
        of_classes=True,
        exclusive=True,
    ),
)
