"""Computes facts about a subject that several probes need.

They concern its classes, its model and its past training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.contract.task import CLASSES, MULTI_LABEL, REGRESSION, labels_text, shown
from trainer.doctor.finding import NotApplicable
from trainer.doctor.subject.sample import Sample
from trainer.doctor.subject.subject import Split, Subject

ACCURATE = 0.98  # an accuracy from which more epochs gain little, however much the loss may still move
ACCURACIES = ("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy", "binary_accuracy")


def label_name(label: int, names: tuple[str, ...], quoted: bool = False) -> str:
    """Returns the class's name where it is known, else its id.

    Args:
      quoted: True gives the form for a sentence, 'cat' or class 3. False gives the form below an axis, cat or 3.
    """
    if 0 <= label < len(names):
        return repr(names[label]) if quoted else names[label]
    return f"class {label}" if quoted else str(label)


def answer_texts(subject: Subject, sample: Sample) -> list[str]:
    """Returns the label of each image of a sample, as words.

    It is a class, all labels of the image, or its numbers. Example: ["cat", "dog"], ["cat|dog", "no label"] or
    ["0.5, -1.25"].
    """
    if not subject.kind or subject.kind == CLASSES:
        return [label_name(int(label), subject.labels) for label in sample.ids]
    rows = sample.labels.reshape(len(sample.labels), -1)
    if subject.kind == REGRESSION:
        return [", ".join(f"{value:.6g}" for value in row) for row in rows]
    carried = ([label_name(int(i), subject.labels) for i in np.flatnonzero(row)] for row in rows)
    return [shown(MULTI_LABEL, labels_text(names)) for names in carried]


def counts(subject: Subject, split: Split) -> tuple[dict[int, int], bool]:
    """Returns class id -> images of a split, and whether these counts are complete.

    Classes without images are left out.
    """
    if split.counts is not None and subject.labels:
        ids = {name: i for i, name in enumerate(subject.labels)}
        return {ids[name]: n for name, n in split.counts.items() if n and name in ids}, True
    ids_seen, numbers = np.unique(split.sample.labels_seen, return_counts=True)
    found = dict(zip(ids_seen.tolist(), numbers.tolist(), strict=True))
    return {label: n for label, n in found.items() if label >= 0}, split.sample.complete or split.sample.ended


def classes(subject: Subject) -> int:
    """Returns the number of classes, at least 2.

    It is the greatest of the numbers that the class names, the model's output and the labels show. A model that gives
    a class to each pixel or step says itself how many there are.

    Raises:
      NotApplicable: none of these is known.
    """
    shape = getattr(subject.model, "output_shape", None)
    shape = shape if isinstance(shape, tuple) else ()
    units = shape[-1] if shape and isinstance(shape[-1], int) else 0
    if units > 1 and len(shape) > 2:
        return units
    known = [len(subject.labels)] if subject.labels else []
    known += [max(counts(subject, split)[0], default=-1) + 1 for split in subject.splits if len(split.sample)]
    if units > 1:
        known.append(units)
    if not known or max(known) < 1:
        raise NotApplicable("the number of classes is not known")
    return max(2, *known)


def is_trained(subject: Subject) -> bool:
    """Tells whether the model is known to be trained.

    This is so for a finished run's model and for one whose optimizer has counted steps.
    """
    if subject.trained is not None:
        return True
    return steps_taken(subject.model) > 0


def steps_taken(model: Any) -> int:
    """Returns the steps that the model's optimizer has counted; 0 if it has none."""
    optimizer = getattr(model, "optimizer", None)
    iterations = getattr(optimizer, "iterations", None)
    return int(np.asarray(iterations)) if iterations is not None else 0


def answers(outputs: np.ndarray) -> np.ndarray:
    """Converts model outputs to predicted class ids, int64 (N,).

    Args:
      outputs: (N, C), (N, 1) or (N,). Outputs of one unit are taken as probabilities, or as logits if any of them is
        outside 0..1.
    """
    if outputs.ndim > 1 and outputs.shape[-1] > 1:
        return outputs.reshape(len(outputs), -1).argmax(axis=1)
    flat = outputs.reshape(len(outputs))
    middle = 0.5 if flat.min() >= 0 and flat.max() <= 1 else 0.0
    return (flat > middle).astype(np.int64)


def reported_accuracy(history: Mapping[str, tuple[float, ...]] | None) -> tuple[str, float] | None:
    """Returns the name and the best value of a past training's accuracy.

    It is the validation accuracy if that was recorded. The result is None if no accuracy was recorded.
    """
    for name in (*(f"val_{a}" for a in ACCURACIES), *ACCURACIES):
        values = [v for v in (history or {}).get(name, ()) if np.isfinite(v)]
        if values:
            return name, max(values)
    return None


def losses(history: Mapping[str, tuple[float, ...]]) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the training loss and the validation loss by epoch, float64.

    The validation loss is None if it was not recorded.

    Raises:
      NotApplicable: no training loss was recorded.
    """
    if "loss" not in history:
        raise NotApplicable("the history has no column 'loss'")
    validation = history.get("val_loss")
    return np.asarray(history["loss"], np.float64), None if validation is None else np.asarray(validation, np.float64)
