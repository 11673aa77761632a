"""Configures the doctor.

It imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import os

from pipelines.core.errors import ConfigError
from pipelines.options import config_fields
from pipelines.options.config_fields import Range, flag, option

STANDARD_OUTPUT = "-"


@dataclasses.dataclass(frozen=True)
class DoctorConfig:
    """Holds the options of the doctor.

    Raises:
      ConfigError: no option names an input, or two options contradict each other. The message names the option.
    """

    data: str = option(
        "",
        "folder of class folders with images, or directory of a prepared dataset; together with --dataset it is the "
        "reference that the images of --dataset are compared with",
        metavar="DIR",
    )
    dataset: str = option(
        "",
        "your own data as module:name, a function that returns them or a variable that holds them: "
        "a tf.data.Dataset, arrays, a PyDataset, a generator or a DataLoader of (images, labels), or several of them: "
        "training, validation, test; modules are searched from the current directory",
        metavar="MODULE:NAME",
    )
    model: str = option(
        "",
        "model to examine: module:name, a function that returns a compiled Keras model or a variable that holds it; a "
        ".keras file; the --output directory of a training run; or, with a prepared dataset in --data, a network's "
        "name as in the train command, such as cnn",
        metavar="MODEL",
    )
    history: str = option(
        "",
        "history of a past training: metrics.csv of a run, a file of keras.callbacks.CSVLogger, or History.history as "
        "JSON",
        metavar="FILE",
    )
    json: str = option(
        "",
        "JSON file to write the findings to, in addition to the text output; -: write JSON to standard output instead",
        metavar="FILE",
    )
    html: str = option("", "HTML file to write a page with the findings and plots to", metavar="FILE")
    full: bool = option(
        False,
        "with a program: let it train to its end, in its own folder; without it the program runs in a copy of the "
        "folder, and each training is cut short after what the checks need",
    )
    wait: float = option(
        600.0,
        "with a program: seconds until it has to reach its first training",
        limits=Range(1.0),
        metavar="SECONDS",
    )
    prove: bool = option(
        False,
        "train the program as it is and with the remedy of its first finding that has one, by three seeds, and show "
        "both scores on the same held-out data, with the change as a patch; up to three minutes more",
    )
    deep: bool = option(False, "examine more images for longer: about ten minutes instead of less than two")
    program: tuple[str, ...] = ()  # a script or notebook and its arguments; not a flag, but what follows the options

    def __post_init__(self) -> None:
        config_fields.check(self)
        if self.program and (self.data or self.dataset or self.model or self.history):
            raise ConfigError("--data, --dataset, --model and --history do not go with a program, which has its own.")
        if not (self.program or self.data or self.dataset or self.model or self.history):
            raise ConfigError("Give something to look at: a program, --data, --dataset, --model or --history.")
        if self.dataset and ":" not in self.dataset:
            raise ConfigError(
                f"--dataset should be module:name. Received: {self.dataset!r}. A folder is given with --data."
            )
        for name in ("json", "html"):
            value = getattr(self, name)
            if value and value != STANDARD_OUTPUT and not _can_be_written(value):
                raise ConfigError(f"{flag(name)} should be a file in a folder that is there. Received: {value!r}.")
        if self.html == STANDARD_OUTPUT:
            raise ConfigError("--html should be a file. Received: '-'.")


def _can_be_written(path: str) -> bool:
    return not os.path.isdir(path) and os.path.isdir(os.path.dirname(os.path.abspath(path)))
