"""Defines what the doctor examines: data, a model, a contract, a past training.

It is gathered once for all probes. The data are samples in memory.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras
import numpy as np

from pipelines.contract import Contract
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.subject.folder import Folder
from trainer.doctor.subject.history import History
from trainer.doctor.subject.sample import Sample, choose
from trainer.doctor.subject.training import Training

Value = TypeVar("Value")

FOLDER, PREPARED, DATASET = "folder", "prepared", "dataset"  # where train and validation come from
DEEPER = 5  # factor by which --deep multiplies the limits on images and seconds
OUTPUT_IMAGES = 256  # greatest number of images whose model outputs are computed
OUTPUT_SECONDS = 10.0
OUTPUT_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Split:
    """Describes one split of the examined data.

    name: train or validation.
    sample: the first batches of a pass.
    second: fewer first batches of another pass; None for a folder, which has no passes.
    dataset: the dataset, with batches of (x, y) or (x, y, weight), for probes that need more; None for a folder.
    counts: number of images of each class in the complete split, if a contract or folder gives it; else None.
    form: one of the forms of data in `training`; "" for a folder.
    shuffled: True if Keras shuffles the images itself in each epoch. Then the order of a pass says nothing.
    """

    name: str
    sample: Sample
    second: Sample | None = None
    dataset: Any = None
    counts: Mapping[str, int] | None = None
    form: str = ""
    shuffled: bool = False


@dataclasses.dataclass(frozen=True)
class Subject:
    """Holds everything that the doctor examines.

    Probes do not change it. A probe that trains uses a copy of `model`.

    origin: where train and validation come from: FOLDER, PREPARED or DATASET (the user's function).
    kind: kind of the task, if the contract of the data says it: one of contract.task.KINDS; else "".
    labels: class names in the order of the ids, if a folder or contract gives them; else ().
    folder, contract, directory: content of --data, also if it only serves as the reference for the user's dataset.
    model: a keras.Model, which may or may not be compiled.
    part: the layers before the one that could not be built, as a keras.Model, for a program that stopped there.
    trained: the contract of the data that the model was trained on, if it is the model of a finished run.
    few_images: how few images a run had that began with random weights; "" for any other model.
    kept: the epoch whose weights the model of a run has, from 1 on; None where that is not known.
    training: how a program trains, if the doctor runs one; None for data and models that are given by themselves.
    problems: findings made while gathering, for example about a user's function that raised an exception.
    """

    origin: str = ""
    kind: str = ""
    train: Split | None = None
    validation: Split | None = None
    labels: tuple[str, ...] = ()
    folder: Folder | None = None
    contract: Contract | None = None
    directory: str = ""
    model: Any = None
    part: Any = None
    trained: Contract | None = None
    history: History | None = None
    few_images: str = ""
    kept: int | None = None
    training: Training | None = None
    deep: bool = False
    problems: tuple[Finding, ...] = ()
    _memo: dict[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def has(self, need: str) -> bool:
        """Tells whether the subject has what a probe needs, one of probes.base.NEEDS."""
        return {
            "images": any(len(split.sample) for split in self.splits),
            "dataset": self.train is not None and self.train.dataset is not None,
            "folder": self.folder is not None,
            "contract": self.contract is not None,
            "validation": self.validation is not None and len(self.validation.sample) > 0,
            "model": self.model is not None,
            "layers": self.model is not None or self.part is not None,
            "optimizer": self.model is not None and bool(getattr(self.model, "compiled", False)),
            "loss": self.model is not None and _has_loss(self.model),
            "history": self.history is not None,
        }[need]

    def once(self, name: str, make: Callable[[], Value]) -> Value:
        """Returns the result of `make`, computed once and cached under `name`."""
        if name not in self._memo:
            self._memo[name] = make()
        return self._memo[name]

    @property
    def times(self) -> int:
        """Returns the factor for limits on images and seconds: DEEPER or 1."""
        return DEEPER if self.deep else 1

    @property
    def splits(self) -> tuple[Split, ...]:
        return tuple(split for split in (self.train, self.validation) if split is not None)

    def split(self, name: str) -> Split:
        """Returns the split of this name.

        Raises:
          NotApplicable: there is no such split, or it has no images.
        """
        found = next((split for split in self.splits if split.name == name and len(split.sample)), None)
        if found is None:
            raise NotApplicable(f"there is no {name} split")
        return found

    @functools.cached_property
    def scored(self) -> tuple[Split, np.ndarray]:
        """Returns a split and the model's outputs for its first images.

        The split is validation if there is one, else train. The outputs are float32 (n, ...), with n up to
        OUTPUT_IMAGES.

        Raises:
          NotApplicable: there is no model or no image, or the model does not accept the images.
        """
        split = self.splits[-1] if self.splits else None
        if self.model is None or split is None or not len(split.sample):
            raise NotApplicable("it needs a model and images")
        count = min(OUTPUT_IMAGES, len(split.sample.images))
        clock, found = Clock(OUTPUT_SECONDS), []
        for start in range(0, count, OUTPUT_BATCH):
            part = slice(start, min(start + OUTPUT_BATCH, count))
            found.append(run_model(self.model, choose(split.sample.inputs, part)))
            if clock.over:
                break
        return split, np.concatenate(found)

    @property
    def outputs(self) -> np.ndarray:
        """Returns the model's outputs in `scored`."""
        return self.scored[1]


def _has_loss(model: Any) -> bool:
    """Tells whether a model is compiled with a loss.

    Without one, only a train_step of its own may know what is to be computed.
    """
    if not getattr(model, "compiled", False):
        return False
    kind = type(model)
    is_hidden = kind.train_step is not keras.Model.train_step and kind.compute_loss is keras.Model.compute_loss
    return model.loss is not None or not is_hidden


def run_model(model: Any, images: Any, training: bool | None = False) -> np.ndarray:
    """Returns the outputs of a model, float32.

    Args:
      images: an array, or the structure of all inputs of the model.
      training: False for evaluation mode, True for training mode; None calls the model without a mode.

    Raises:
      NotApplicable: the model raises an exception or has several outputs.
    """
    try:
        given = model(images) if training is None else model(images, training=training)
        if isinstance(given, dict | list | tuple):
            raise NotApplicable(f"the model gives {len(given)} outputs; only one is supported")
        return np.asarray(given, np.float32)
    except NotApplicable:
        raise
    except Exception as e:  # layers raise many kinds of exceptions for a shape or dtype
        raise NotApplicable(f"the model does not take the images ({type(e).__name__})") from e
