"""What the doctor looks at, gathered once: parts of the data in memory, the model, the contract, a past training."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from pipelines.contract import Contract
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.subject.folder import Folder
from trainer.doctor.subject.history import History
from trainer.doctor.subject.sample import Sample

Value = TypeVar("Value")

FOLDER, PREPARED, DATASET = "folder", "prepared", "dataset"  # where train and validation come from
DEEPER = 5  # --deep: so many times the images and seconds
OUTPUT_IMAGES = 256  # at most so many go through the model to see what it says
OUTPUT_SECONDS = 10.0
OUTPUT_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of what the doctor looks at.

    name: train or validation.
    sample: the first batches of a pass.
    second: the first batches of another pass, fewer; None where there is nothing to pass over (a folder).
    dataset: to be iterated again by probes that need more; batches of (x, y) or (x, y, weight). None for a folder.
    counts: images of each class over the whole split where that is known without reading it: from a contract or folder.
    """

    name: str
    sample: Sample
    second: Sample | None = None
    dataset: Any = None
    counts: Mapping[str, int] | None = None


@dataclasses.dataclass(frozen=True)
class Subject:
    """Nothing of it is changed by a probe; a probe that trains, trains a copy of `model`.

    origin: of train and validation: FOLDER, PREPARED or DATASET (the user's function).
    labels: class names in id order, where a folder or contract tells them; else ().
    folder, contract, directory: of --data, also where it is only there to compare the user's dataset with.
    model: a keras.Model, which may not be compiled.
    trained: the contract that the model was trained under, where it is a finished run's.
    problems: what was found while gathering, such as a function of the user's that raised.
    """

    origin: str = ""
    train: Split | None = None
    validation: Split | None = None
    labels: tuple[str, ...] = ()
    folder: Folder | None = None
    contract: Contract | None = None
    directory: str = ""
    model: Any = None
    trained: Contract | None = None
    history: History | None = None
    deep: bool = False
    problems: tuple[Finding, ...] = ()
    _memo: dict[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def has(self, need: str) -> bool:
        """Whether there is what a probe needs: one of probes.base.NEEDS."""
        return {
            "images": self.train is not None and len(self.train.sample) > 0,
            "dataset": self.train is not None and self.train.dataset is not None,
            "folder": self.folder is not None,
            "contract": self.contract is not None,
            "validation": self.validation is not None and len(self.validation.sample) > 0,
            "model": self.model is not None,
            "loss": self.model is not None and bool(getattr(self.model, "compiled", False)),
            "history": self.history is not None,
        }[need]

    def once(self, name: str, make: Callable[[], Value]) -> Value:
        """What `make` gives, made once for all probes that ask under this name."""
        if name not in self._memo:
            self._memo[name] = make()
        return self._memo[name]

    @property
    def times(self) -> int:
        """What limits on images and seconds are to be multiplied by."""
        return DEEPER if self.deep else 1

    @property
    def splits(self) -> tuple[Split, ...]:
        return tuple(split for split in (self.train, self.validation) if split is not None)

    def split(self, name: str) -> Split:
        """The split of this name; NotApplicable where there is none."""
        found = next((split for split in self.splits if split.name == name and len(split.sample)), None)
        if found is None:
            raise NotApplicable(f"there is no {name} split")
        return found

    @functools.cached_property
    def scored(self) -> tuple[Split, np.ndarray]:
        """The split that is better to judge a model on (validation, else train), and the model's outputs for its first
        images: float32 (n, ...), n up to OUTPUT_IMAGES. NotApplicable where the model does not take them.
        """
        split = self.splits[-1] if self.splits else None
        if self.model is None or split is None or not len(split.sample):
            raise NotApplicable("it needs a model and images")
        images = split.sample.images[:OUTPUT_IMAGES]
        clock, found = Clock(OUTPUT_SECONDS), []
        for start in range(0, len(images), OUTPUT_BATCH):
            found.append(run_model(self.model, images[start : start + OUTPUT_BATCH]))
            if clock.over:
                break
        return split, np.concatenate(found)

    @property
    def outputs(self) -> np.ndarray:
        """The array of `scored`."""
        return self.scored[1]


def run_model(model: Any, images: np.ndarray) -> np.ndarray:
    """The outputs of a model in evaluation mode, float32; NotApplicable where it raises or gives several."""
    try:
        given = model(images, training=False)
        if isinstance(given, dict | list | tuple):
            raise NotApplicable(f"the model gives {len(given)} outputs; one is understood")
        return np.asarray(given, np.float32)
    except NotApplicable:
        raise
    except Exception as e:  # whatever layers raise on a shape or dtype that they do not take
        raise NotApplicable(f"the model does not take the images ({type(e).__name__})") from e
