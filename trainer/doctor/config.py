"""Configures the doctor.

This module needs only the standard library, like trainer/config.py.
"""

from __future__ import annotations

import dataclasses
import os

from trainer.config import TrainerError, check_type, flag, option

STANDARD_OUTPUT = "-"


@dataclasses.dataclass(frozen=True)
class DoctorConfig:
    """Holds the options of the doctor.

    Raises:
      TrainerError: no option names an input, or two options contradict each other. The message names the option.
    """

    data: str = option(
        "",
        "a folder of class folders of images, or the directory of a prepared dataset; beside --dataset: where its "
        "images come from, to be compared with",
        metavar="DIR",
    )
    dataset: str = option(
        "",
        "your own input: module:function, which gives a tf.data.Dataset of (images, labels) batches, or a pair of them "
        "(training, validation); modules are found from the current directory",
        metavar="MODULE:FUNCTION",
    )
    model: str = option(
        "",
        "your own model: module:function, which gives a compiled Keras model, a .keras file, or the --output directory "
        "of a training run; with a prepared dataset also a name that the train command takes, such as cnn",
        metavar="MODEL",
    )
    history: str = option(
        "",
        "the course of a past training: metrics.csv of a run or of keras.callbacks.CSVLogger, or JSON of "
        "History.history",
        metavar="FILE",
    )
    json: str = option(
        "", "also write the findings to this JSON file; - writes them to standard output", metavar="FILE"
    )
    html: str = option("", "also write a page with the findings and plots", metavar="FILE")
    deep: bool = option(False, "look at more images and for longer: some ten minutes instead of under two")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_type(field.name, getattr(self, field.name), str(field.type))
        if not (self.data or self.dataset or self.model or self.history):
            raise TrainerError("Give something to look at: --data, --dataset, --model or --history.")
        if self.dataset and ":" not in self.dataset:
            raise TrainerError(
                f"--dataset should be module:function. Received: {self.dataset!r}. A folder is given with --data."
            )
        for name in ("json", "html"):
            value = getattr(self, name)
            if value and value != STANDARD_OUTPUT and not _can_be_written(value):
                raise TrainerError(f"{flag(name)} should be a file in a folder that is there. Received: {value!r}.")
        if self.html == STANDARD_OUTPUT:
            raise TrainerError("--html should be a file. Received: '-'.")


def _can_be_written(path: str) -> bool:
    return not os.path.isdir(path) and os.path.isdir(os.path.dirname(os.path.abspath(path)))
