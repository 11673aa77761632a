"""Takes several outputs apart: a model, labels and a loss for each."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from trainer.doctor.subject.sample import Batch, Sample, class_ids
from trainer.doctor.subject.subject import Split, Subject


@dataclasses.dataclass(frozen=True)
class Output:
    """Describes one of several outputs.

    name: as Keras names it in the history and in dictionaries.
    subject: the model with this output alone, compiled with its loss, and its labels.
    weight: that of its loss, by compile(loss_weights=...).
    """

    name: str
    subject: Subject
    weight: float


def of(subject: Subject) -> tuple[Output, ...]:
    """Returns the outputs of a model that have labels and a loss, computed once.

    It returns () for a model with one output, or whose outputs or labels have no names or order that tells which belong
    together.
    """
    return subject.once("several outputs", lambda: _of(subject))


def _of(subject: Subject) -> tuple[Output, ...]:
    model, train = subject.model, subject.train
    tensors = getattr(model, "outputs", None)
    if train is None or not train.sample.has_several_targets or not tensors or len(tensors) < 2:
        return ()
    if not subject.has("loss"):
        return ()
    names = list(model.output) if isinstance(model.output, dict) else list(model.output_names)
    tensors = [model.output[name] for name in names] if isinstance(model.output, dict) else tensors
    weights = getattr(getattr(model, "_compile_loss", None), "_user_loss_weights", None)
    metrics = getattr(getattr(model, "_compile_metrics", None), "_user_metrics", None)
    found = []
    for position, name in enumerate(names):

        def own(of_all: Any, name: str = name, position: int = position) -> Any:
            return _own(of_all, name, position, len(names))

        splits = [None if split is None else _split(split, own) for split in (train, subject.validation)]
        loss = own(model.loss)
        if loss is None or splits[0] is None:
            continue
        single = _single(model, tensors[position], loss, own(metrics))
        if single is None:
            continue
        alone = dataclasses.replace(
            subject, train=splits[0], validation=splits[1], model=single, history=None, labels=(), problems=(), _memo={}
        )
        weight = own(weights)
        found.append(Output(name, alone, 1.0 if weight is None else float(np.asarray(weight))))
    return tuple(found)


def _single(model: Any, tensor: Any, loss: Any, metrics: Any) -> Any:
    """Returns a compiled model of one output; None if it cannot be built."""
    try:
        single = keras.Model(model.input, tensor, name=f"{model.name}_of_one")
        given = metrics if isinstance(metrics, list | tuple | type(None)) else [metrics]
        single.compile(model.optimizer, loss, metrics=given, jit_compile=False)
    except Exception:  # losses and metrics may be anything
        return None
    return single


def _own(of_all: Any, name: str, position: int, count: int) -> Any:
    """Returns what belongs to one output of what compile or a dataset gives for all."""
    if isinstance(of_all, dict):
        return of_all.get(name)
    if isinstance(of_all, list | tuple):
        return of_all[position] if len(of_all) == count else None
    return of_all


def _split(split: Split, own: Any) -> Split | None:
    """Returns a split with the labels of one output; None if it has none."""
    batches = []
    for batch in split.sample.batches:
        labels = own(batch.targets)
        if not isinstance(labels, np.ndarray) or labels.ndim < 1:
            return None
        batches.append(Batch(batch.x, labels, None, batch.inputs))
    if not batches:
        return None
    seen = np.concatenate([class_ids(batch.y) for batch in batches])
    return dataclasses.replace(split, sample=Sample(tuple(batches), seen, split.sample.complete), second=None)
