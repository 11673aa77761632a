"""Describes how a program trains: its calls of Keras, with arguments and lines.

A call of `fit`, a loop of `train_on_batch` and a loop with GradientTape each give one `Training`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

# Kinds of a training, and of what else a program may do with a model.
FIT, STEPS, LOOP, EVALUATE, PREDICT = "fit", "train_on_batch", "GradientTape", "evaluate", "predict"
# Forms of data. ITERABLE is anything else that can be passed over several times, such as a list of batches.
ARRAYS, TFDATA, GENERATOR, PYDATASET, DATALOADER, ITERABLE = (
    "arrays", "tf.data", "generator", "PyDataset", "DataLoader", "iterable",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Place:
    """Holds a line of the user's code.

    file: relative to the folder where the doctor was started, if it lies below it.
    code: the text of the line, without leading spaces; "" if it cannot be read.
    """

    file: str
    line: int
    code: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def quoted(self) -> str:
        """Returns the place with its code."""
        return f"{self}: {self.code}" if self.code else str(self)


@dataclasses.dataclass(frozen=True)
class Call:
    """Describes one call of the user's program that was watched.

    name: such as "compile", "fit" or "load_weights".
    place: None if no line of the user's code was found in the stack.
    """

    name: str
    place: Place | None


@dataclasses.dataclass(frozen=True)
class Training:
    """Describes one training of a program, before its first step.

    kind: FIT, STEPS or LOOP; EVALUATE or PREDICT for a program that trains nothing.
    place: the call of fit, or the step of the loop.
    compiled_at: the last call of compile of this model; None for a loop.
    built_at: the line that made the model.
    layers_at: name of a layer -> the line that made it.
    form, validation_form: one of the forms of data above; "" without data. The validation form of a validation_split
      is ARRAYS.
    number: 1 for the first training of the program, and so on. `others` holds the other trainings that were watched.

    Arguments of fit, as Keras understands them:
      epochs, initial_epoch, batch_size: batch_size is None where the data come in batches.
      steps_per_epoch, validation_steps: None where they were not given.
      shuffle: True if Keras shuffles the data itself in each epoch, which it does only with arrays (and the order of
        the batches of a PyDataset). It is False where fit was told so, and None where the data come in their own order.
      validation_split: 0 without.
      validation_freq: epochs between two validations.
      class_weight: class id -> weight; None without.
      sample_weight: float (N,) of fit(sample_weight=...) for the training images; None without. Weights in batches are
        in Batch.w.
      callbacks: the objects, without those of the doctor. callbacks_at: the lines that made them, None where they were
        not seen; () for none.

    samples: number of training images of an epoch, after validation_split; None where it is not known.
    steps: optimizer steps of an epoch; None where it is not known.
    in_turn: True if the program's loop trains several models, as a generator and a discriminator.
    in_training: True if the steps of the program's own loop call the model with training=True; None where it is
      not known.
    flips: what an ImageDataGenerator does to half of the images: "mirrored", "upside down".
    metrics: the names of compile(metrics=...), such as "accuracy".
    own_train_step: True if the model's class defines train_step.
    judged: True if the program's code calls evaluate or predict, so that it may judge the model by other data.
    calls: all watched calls on this model before the training, in order.

    What the doctor let run:
      epochs_run: whole epochs.
      whole: True if all epochs ran. Then the subject has the model as trained, and its history. Otherwise it has the
        model as it was before this training, and no history.
      history: metric -> one number per epoch that ran, also where `whole` is False.
      first_weights, final_weights: the weights before the training and after the epochs that ran, in the order of
        Model.get_weights(); None where they were not kept.
    """

    kind: str
    place: Place | None = None
    compiled_at: Place | None = None
    built_at: Place | None = None
    layers_at: Mapping[str, Place] = dataclasses.field(default_factory=dict)
    form: str = ""
    validation_form: str = ""
    number: int = 1
    epochs: int = 1
    initial_epoch: int = 0
    batch_size: int | None = None
    steps_per_epoch: int | None = None
    validation_steps: int | None = None
    shuffle: bool | None = None
    validation_split: float = 0.0
    validation_freq: int = 1
    class_weight: Mapping[int, float] | None = None
    sample_weight: np.ndarray | None = None
    callbacks: tuple[Any, ...] = ()
    callbacks_at: tuple[Place | None, ...] = ()
    samples: int | None = None
    steps: int | None = None
    in_turn: bool = False
    in_training: bool | None = None
    flips: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    own_train_step: bool = False
    judged: bool = False
    calls: tuple[Call, ...] = ()
    epochs_run: int = 0
    whole: bool = False
    history: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    first_weights: list[np.ndarray] | None = None
    final_weights: list[np.ndarray] | None = None
    others: tuple[Training, ...] = ()

    @property
    def total_steps(self) -> int | None:
        """Returns the optimizer steps of all epochs; None if not known."""
        return None if self.steps is None else self.steps * max(0, self.epochs - self.initial_epoch)
