"""The trainer's options: one frozen dataclass, checked when made, saved as config.yaml beside what it produced.

The command line is made from the fields below, so that an option is stated once. Standard library only: `--help` and
a wrong flag must not wait for TensorFlow.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

LOSSES = ("ce", "weighted", "focal", "logit-adjusted")
NO_VALIDATION = "none"
NATURAL = "none"  # of --resample: the classes as they are stored
VERIFY = ("full", "fast", "off")
DEFAULT_VERIFY = "fast"
VERIFY_HELP = (
    "before TensorFlow opens the shards, compare their SHA-256 digests with the contract's; fast: only of files that "
    "have changed since they were last compared (by size, time and inode); off: compare sizes only"
)
MAX_SEED = 2**31 - 1  # what tf.data, NumPy and Keras all take


class TrainerError(ValueError):
    """A user's mistake or unusable input; the message says what was expected, what came, and what to do."""


def option(default: Any, text: str, *, compare: bool = True, **extra: Any) -> Any:
    """A field of a config: its default (dataclasses.MISSING: required), its help, and `metavar` or `choices`.

    compare: False for what changes nothing in the result; it does not make two configs differ.
    """
    return dataclasses.field(default=default, compare=compare, metadata={"help": text, **extra})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run does. Two runs of equal configs on one machine agree exactly.

    Raises:
      TrainerError: a value is out of its range; the message names the option.
    """

    data: str = option(dataclasses.MISSING, "directory of a prepared dataset", metavar="DIR")
    output: str = option(dataclasses.MISSING, "directory to write the run to", metavar="DIR")
    model: str = option(
        "cnn",
        "cnn (cnn-half, cnn-double: of half and double the filters), resnet20, a keras.applications network such as "
        "MobileNetV2, or module:function, where function(contract) returns a keras.Model",
    )
    weights: str = option(
        "", "start from these weights: an earlier run's model.keras, or a .weights.h5 or .h5 file", metavar="PATH"
    )
    epochs: int = option(15, "passes over the train split")
    batch_size: int = option(32, "images a step")
    learning_rate: float = option(1e-3, "of the Adam optimizer")
    loss: str = option(
        "ce",
        "ce: cross-entropy; weighted: each class by records / (classes * records of the class); focal: less of what is "
        "right already; logit-adjusted: for the best balanced accuracy. Classes count as often as they are trained on",
        choices=LOSSES,
    )
    focal_gamma: float = option(2.0, "with --loss focal: how much less; 0 is cross-entropy")
    label_smoothing: float = option(0.0, "spread this share of each target evenly over all classes")
    resample: str = option(
        NATURAL,
        "over natural shards: uniform shows each class as often, temperature=T in proportion to count ** (1 / T); an "
        "epoch stays as long as the split",
        metavar="none|uniform|temperature=T",
    )
    flip: bool = option(True, "flip every second training image left to right, drawn anew every epoch")
    validation: str = option("validation", "split that chooses the best epoch; none keeps the last epoch's weights")
    patience: int = option(0, "stop after this many epochs without a better validation; 0: never")
    steps: int = option(0, "at most this many steps an epoch, for a quick look; 0: the whole split")
    seed: int = option(0, "of the initial weights, the order of the records and the flips")
    resume: bool = option(
        False,
        "go on with an interrupted run in --output from its last checkpoint, to the very weights that it would have "
        "come to; the other options have to be the same",
        compare=False,
    )
    checkpoint_minutes: float = option(
        5.0, "write a checkpoint this often inside an epoch, besides the one at its end; 0: only there", compare=False
    )
    checkpoint_steps: int = option(0, "also write a checkpoint every so many steps; 0: not", compare=False)
    verify: str = option(DEFAULT_VERIFY, VERIFY_HELP, choices=VERIFY, compare=False)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_type(field.name, getattr(self, field.name), str(field.type))
        for name in ("data", "output", "model", "validation"):
            if not getattr(self, name):
                raise TrainerError(f"{flag(name)} should not be empty.")
        if "://" in self.output:
            raise TrainerError(
                f"--output should be a local directory. Received: {self.output!r}. Write locally, then copy it there."
            )
        if self.loss not in LOSSES:
            raise TrainerError(f"--loss should be one of {', '.join(LOSSES)}. Received: {self.loss!r}.")
        resample_temperature(self.resample)
        for name, low, high in (
            ("epochs", 1, 100_000),
            ("batch_size", 1, 1 << 20),
            ("patience", 0, 100_000),
            ("steps", 0, MAX_SEED),
            ("seed", 0, MAX_SEED),
            ("checkpoint_steps", 0, MAX_SEED),
            ("focal_gamma", 0, 10),
            ("label_smoothing", 0, 0.99),
        ):
            if not low <= getattr(self, name) <= high:
                raise TrainerError(f"{flag(name)} should be from {low} to {high}. Received: {getattr(self, name)}.")
        if not (math.isfinite(self.learning_rate) and 0 < self.learning_rate <= 100):
            raise TrainerError(f"--learning-rate should be above 0 and at most 100. Received: {self.learning_rate}.")
        if not (math.isfinite(self.checkpoint_minutes) and self.checkpoint_minutes >= 0):
            raise TrainerError(f"--checkpoint-minutes should be at least 0. Received: {self.checkpoint_minutes}.")
        if self.verify not in VERIFY:
            raise TrainerError(f"--verify should be one of {', '.join(VERIFY)}. Received: {self.verify!r}.")
        if self.patience and self.validation == NO_VALIDATION:
            raise TrainerError("--patience needs a validation split. Received: --validation none. Drop one of the two.")

    def decisive(self) -> dict[str, Any]:
        """The options that decide what comes out."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.compare}


def flag(name: str) -> str:
    """The command-line spelling of a field: batch_size -> --batch-size."""
    return "--" + name.replace("_", "-")


def resample_temperature(text: str) -> float:
    """The temperature that a --resample means: 1 for none, infinity for uniform.

    Raises:
      TrainerError: it is none of the forms.
    """
    name, equals, value = text.partition("=")
    if not equals and name in (NATURAL, "uniform"):
        return {NATURAL: 1.0, "uniform": math.inf}[name]
    try:
        temperature = float(value) if name == "temperature" else math.nan
    except ValueError:
        temperature = math.nan
    if not (math.isfinite(temperature) and temperature >= 1):
        raise TrainerError(
            "--resample should be none, uniform or temperature=T with T from 1 (none) on; the larger, the more equal. "
            f"Received: {text!r}."
        )
    return temperature


def check_type(name: str, value: Any, kind: str) -> None:
    """Raises TrainerError unless `value` is of the type that the field's annotation spells: str, int, float, bool."""
    allowed: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
    if not isinstance(value, allowed[kind]) or (kind != "bool" and isinstance(value, bool)):
        raise TrainerError(f"{flag(name)} should be of type {kind}. Received: {value!r}.")
