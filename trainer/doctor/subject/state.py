"""What probes of classes, models and past trainings ask of a subject."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer.doctor.finding import NotApplicable
from trainer.doctor.subject.subject import Split, Subject

ACCURACIES = ("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy", "binary_accuracy")


def label_name(label: int, names: tuple[str, ...], quoted: bool = False) -> str:
    """Returns the class's name where it is known, else its id.

    quoted: as it stands in a sentence, 'cat' or class 3; without it as below an axis, cat or 3.
    """
    if 0 <= label < len(names):
        return repr(names[label]) if quoted else names[label]
    return f"class {label}" if quoted else str(label)


def counts(subject: Subject, split: Split) -> tuple[dict[int, int], bool]:
    """Class id -> images of a split, without those that have none, and whether these are all there are."""
    if split.counts is not None and subject.labels:
        ids = {name: i for i, name in enumerate(subject.labels)}
        return {ids[name]: n for name, n in split.counts.items() if n and name in ids}, True
    ids_seen, numbers = np.unique(split.sample.labels_seen, return_counts=True)
    found = dict(zip(ids_seen.tolist(), numbers.tolist(), strict=True))
    return {label: n for label, n in found.items() if label >= 0}, split.sample.complete


def classes(subject: Subject) -> int:
    """How many classes there are: of the vocabulary, the model's head or the labels; the most of them, at least 2.

    Raises:
      NotApplicable: nothing tells.
    """
    known = [len(subject.labels)] if subject.labels else []
    known += [max(counts(subject, split)[0], default=-1) + 1 for split in subject.splits if len(split.sample)]
    shape = getattr(subject.model, "output_shape", None)
    if isinstance(shape, tuple) and isinstance(shape[-1], int) and shape[-1] > 1:
        known.append(shape[-1])
    if not known or max(known) < 1:
        raise NotApplicable("the number of classes is not known")
    return max(2, *known)


def is_trained(subject: Subject) -> bool:
    """Whether the model is known to have been trained: a run's, or one whose optimizer has counted steps."""
    if subject.trained is not None:
        return True
    return steps_taken(subject.model) > 0


def steps_taken(model: Any) -> int:
    """Of its optimizer; 0 where it has none."""
    optimizer = getattr(model, "optimizer", None)
    iterations = getattr(optimizer, "iterations", None)
    return int(np.asarray(iterations)) if iterations is not None else 0


def answers(outputs: np.ndarray) -> np.ndarray:
    """Outputs (N, C) or (N, 1) or (N,) -> class ids, int64 (N,). Of one unit: probabilities, or logits if any is
    outside 0..1.
    """
    if outputs.ndim > 1 and outputs.shape[-1] > 1:
        return outputs.reshape(len(outputs), -1).argmax(axis=1)
    flat = outputs.reshape(len(outputs))
    middle = 0.5 if flat.min() >= 0 and flat.max() <= 1 else 0.0
    return (flat > middle).astype(np.int64)


def reported_accuracy(history: Mapping[str, tuple[float, ...]] | None) -> tuple[str, float] | None:
    """The best accuracy of a past training and its name: of validation if it was measured."""
    for name in (*(f"val_{a}" for a in ACCURACIES), *ACCURACIES):
        values = [v for v in (history or {}).get(name, ()) if np.isfinite(v)]
        if values:
            return name, max(values)
    return None


def losses(history: Mapping[str, tuple[float, ...]]) -> tuple[np.ndarray, np.ndarray | None]:
    """Training and validation loss by epoch.

    Raises:
      NotApplicable: no training loss was kept.
    """
    if "loss" not in history:
        raise NotApplicable("the history has no column 'loss'")
    validation = history.get("val_loss")
    return np.asarray(history["loss"], np.float64), None if validation is None else np.asarray(validation, np.float64)
