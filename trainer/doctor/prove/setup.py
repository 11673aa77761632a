"""Describes a training that can be repeated and changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from trainer.doctor.copies import model_variants
from trainer.doctor.finding import NotApplicable
from trainer.doctor.subject import state
from trainer.doctor.subject.sample import choose, class_ids
from trainer.doctor.subject.subject import Subject
from trainer.doctor.subject.training import FIT
from trainer.doctor.tools import task, tfdata_steps

STEPS = 300  # of a training whose length is not known
HELD_OUT = 0.25  # share of the training images, where there is no validation split
MOST_HELD_OUT = 512
FEWEST = 16


@dataclasses.dataclass(frozen=True)
class Setup:
    """Holds what a training consists of. A remedy gives another one.

    model: is copied for each training, and not changed.
    x, y: the inputs and the labels of training, as Sample.inputs and Sample.targets; weights: float (N,) or None.
    held_x: the inputs of the held-out data; held_y: their labels, by which every training is judged.
    rule, options: class and settings of the optimizer.
    steps: optimizer steps.
    class_weight: class id -> weight.
    change: gives the layer that stands in the place of a layer.
    unfreeze: True to train all layers.
    answer: turns the outputs into numbers like held_y; for targets that are trained on another scale.
    """

    model: Any
    x: Any
    y: Any
    weights: np.ndarray | None
    held_x: Any
    held_y: np.ndarray
    regression: bool
    loss: Any
    rule: Any
    options: Mapping[str, Any]
    batch_size: int
    steps: int
    shuffle: bool
    class_weight: Mapping[int, float] | None = None
    change: Callable[[Any], Any] | None = None
    unfreeze: bool = False
    answer: Callable[[np.ndarray], np.ndarray] | None = None
    held_out: str = ""
    notes: tuple[str, ...] = ()

    def but(self, **changes: Any) -> Setup:
        """Returns another setup with some fields changed."""
        return dataclasses.replace(self, **changes)

    def with_options(self, **changes: Any) -> Setup:
        """Returns another setup with some settings of the optimizer changed."""
        return self.but(options=dict(self.options) | changes)

    def with_inputs(self, function: Callable[[np.ndarray], np.ndarray]) -> Setup:
        """Returns another setup whose inputs are changed.

        Those of the held-out data are changed as well.
        """
        mapped = [keras.tree.map_structure(function, part) for part in (self.x, self.held_x)]
        return self.but(x=mapped[0], held_x=mapped[1])


def of(subject: Subject) -> Setup:
    """Returns the training of a subject as it is.

    Raises:
      NotApplicable: the subject lacks what a training needs.
    """
    if subject.model is None or not subject.has("loss"):
        raise NotApplicable("it needs a model that is compiled with a loss")
    if subject.train is None or len(subject.train.sample) < 2 * FEWEST:
        raise NotApplicable(f"there are fewer than {2 * FEWEST} training images")
    if isinstance(getattr(subject.model, "output_shape", None), list | dict):
        raise NotApplicable("the model has several outputs")
    train, training = subject.train.sample, subject.training
    x, y, notes = train.inputs, train.targets, []
    given = [batch.w for batch in train.batches if batch.w is not None]
    weights = np.concatenate(given) if given and len(given) == len(train.batches) else None
    if weights is None and training is not None and training.sample_weight is not None:
        weights = training.sample_weight[: len(train)]
    if weights is not None and (np.ndim(weights) != 1 or len(weights) != len(train.images)):
        weights = None
        notes.append("Sample weights were left out.")
    seen = np.arange(len(train.images))
    if subject.has("validation") and len(subject.validation.sample) >= FEWEST:  # type: ignore[union-attr]
        kept = subject.validation.sample  # type: ignore[union-attr]
        held_x, held_y = (choose(part, slice(MOST_HELD_OUT)) for part in (kept.inputs, kept.labels))
        held_out = f"{len(held_y):,} of the program's own validation"
    else:
        held = _stratified(train.ids if not task.is_regression(subject) else np.zeros(len(train.ids)))
        held_x, held_y = choose(x, held), train.labels[held]
        seen = np.setdiff1d(seen, held)
        held_out = f"{len(held):,} of the training data, set apart"
    if not train.complete:
        notes.append(f"Of the training data the first {len(train.images):,} were used.")
    optimizer = model_variants.inner_of(subject.model.optimizer)
    steps = training.total_steps if training is not None and training.kind == FIT else None
    return Setup(
        model=subject.model,
        x=choose(x, seen),
        y=choose(y, seen),
        weights=None if weights is None else weights[seen],
        held_x=held_x,
        held_y=held_y,
        regression=task.is_regression(subject),
        loss=subject.model.loss,
        rule=type(optimizer),
        options=optimizer.get_config(),
        batch_size=(training.batch_size if training is not None else None) or len(train.batches[0].x),
        steps=steps or STEPS,
        shuffle=_shuffles(subject),
        class_weight=training.class_weight if training is not None else None,
        held_out=held_out,
        notes=tuple(notes),
    )


def _stratified(ids: np.ndarray) -> np.ndarray:
    """Returns the indices of HELD_OUT of each class."""
    rng, found = np.random.default_rng(0), []
    for label in np.unique(ids):
        where = rng.permutation(np.flatnonzero(ids == label))
        found.append(where[: round(HELD_OUT * len(where))])
    return np.sort(np.concatenate(found))[:MOST_HELD_OUT]


def _shuffles(subject: Subject) -> bool:
    split, training = subject.train, subject.training
    if split is None or split.shuffled or (training is not None and training.shuffle):
        return True
    return any(step.kind.startswith("Shuffle") for step in tfdata_steps.steps(split.dataset))


def score(setup: Setup, outputs: np.ndarray) -> float:
    """Returns the score of a model's outputs on the held-out data.

    It is the balanced accuracy of classes, the share of right columns where several classes may be right, and the share
    of the variance that is explained of numbers, at least -1.
    """
    return max(-1.0, float(np.sum(shares(setup, outputs))))


def shares(setup: Setup, outputs: np.ndarray) -> np.ndarray:
    """Returns what each held-out record adds to the score, float64 (N,)."""
    wanted, count = setup.held_y, len(setup.held_y)
    if not np.isfinite(outputs).all():
        return np.full(count, -1.0 / count if setup.regression else 0.0)
    if setup.regression:
        told = outputs.reshape(len(outputs), -1) if setup.answer is None else setup.answer(outputs)
        wanted = wanted.reshape(count, -1).astype(np.float64)
        told = told.reshape(len(told), -1)
        if told.shape != wanted.shape:
            return np.full(count, -1.0 / count)
        spread = max(float(np.mean((wanted - wanted.mean(axis=0)) ** 2)), 1e-12)
        return np.asarray((1 - np.mean((told - wanted) ** 2, axis=1) / spread) / count)
    if several(wanted):
        middle = 0.5 if outputs.min() >= 0 and outputs.max() <= 1 else 0.0
        if outputs.shape != wanted.shape:
            return np.zeros(count)
        return np.asarray(((outputs > middle) == (wanted > 0.5)).reshape(count, -1).mean(axis=1) / count)
    _, classes, counts = np.unique(class_ids(wanted), return_inverse=True, return_counts=True)
    return np.asarray((state.answers(outputs) == class_ids(wanted)) / (len(counts) * counts[classes]))


def several(labels: np.ndarray) -> bool:
    """Tells whether several classes may be right of one image."""
    rows = labels.reshape(len(labels), -1)
    return bool(rows.shape[1] > 1 and (np.count_nonzero(rows > 0.5, axis=1) != 1).any())


def score_name(setup: Setup) -> str:
    """Returns what `score` measures."""
    if setup.regression:
        return "explained variance"
    return "share of right labels" if several(setup.held_y) else "balanced accuracy"
