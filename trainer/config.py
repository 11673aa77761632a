"""Defines the trainer's options as one frozen dataclass that checks its values.

A run saves its options as config.yaml in its directory. The command line is built from the fields below, so that each
option is defined once. This module imports only the standard library, because `--help` and the error for a wrong flag
must not wait for TensorFlow.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

SCHEDULES = ("constant", "cosine")
LOSSES = ("ce", "weighted", "focal", "logit-adjusted")
PRECISIONS = ("none", "float16", "bfloat16")
JIT = ("auto", "on", "off")
STRATEGIES = ("one", "mirrored", "multiworker")
CACHES = ("none", "memory", "disk")
NO_CACHE = "none"
TRAIN_SPLIT = "train"
NO_VALIDATION = "none"
NATURAL = "none"  # value of --resample that keeps the class frequencies of the stored records
VERIFY = ("full", "fast", "off")
DEFAULT_VERIFY = "fast"
VERIFY_HELP = (
    "before TensorFlow opens the shards, compare their SHA-256 digests with the contract's; fast: only of files that "
    "have changed since they were last compared (by size, time and inode); off: compare sizes only"
)
MIN_BETA = 0.1  # Beta(a, a) is drawn as x / (x + y), and with a smaller a both x and y may be 0 in float32
EXPORT_FORMATS = ("savedmodel", "tflite", "onnx")
EXPORT_HELP = (
    "savedmodel: encoded image bytes in, label and probabilities out; tflite, onnx: uint8 pixels of the contract's "
    "size in, probabilities out; onnx needs requirements-onnx.in (default: savedmodel)"
)
MAX_SEED = 2**31 - 1  # the largest seed that tf.data, NumPy and Keras all accept


class TrainerError(ValueError):
    """Is raised for a user's mistake or unusable input.

    The message says what was expected, what was received and what to do.
    """


def option(default: Any, text: str, *, compare: bool = True, **extra: Any) -> Any:
    """Returns a dataclass field that is one command-line option.

    Args:
      default: value where the option is not given; dataclasses.MISSING makes the option required.
      text: help text of the option.
      compare: False for an option that does not change the result. Configs that differ only in it are equal.
      extra: `metavar` or `choices` for argparse.
    """
    return dataclasses.field(default=default, compare=compare, metadata={"help": text, **extra})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Holds every option of a training run.

    Two runs with equal configs on one machine give exactly the same result.
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
    init_weights: str = option(
        "",
        "start from these weights: an earlier run's model.keras or last.keras, or a .weights.h5 or .h5 file; of a run "
        "with other classes all but the head",
        metavar="PATH",
    )
    freeze_epochs: int = option(0, "train only the head, which is the last Dense layer, in the first epochs")
    head_learning_rate: float = option(
        0.0, "of these first epochs, while --learning-rate is of those after them; 0: the same"
    )
    epochs: int = option(15, "passes over the train split")
    batch_size: int = option(32, "images a step, of all devices together")
    learning_rate: float = option(1e-3, "of the Adam optimizer; with a schedule, the highest")
    schedule: str = option("constant", "cosine: take the learning rate down to 0 on half a cosine", choices=SCHEDULES)
    warmup_epochs: float = option(0.0, "take the learning rate up from 0 in the first epochs, or a part of one")
    weight_decay: float = option(0.0, "of AdamW, decoupled, for kernels only, not for biases and norms; 0.01 is usual")
    clip_norm: float = option(0.0, "scale gradients down whose global norm is above this; 0: never")
    ema: float = option(
        0.0, "validate, choose and keep the exponential moving average of the weights, of this momentum; 0: off"
    )
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
    rand_augment: float = option(0.0, "apply two operations of RandAugment, up to this strength, to 1; 0: off")
    mixup: float = option(0.0, "blend images in pairs, with weights of Beta(X, X); 0.2 is usual; 0: off")
    cutmix: float = option(
        0.0,
        "paste rectangles of images into others, of sizes of Beta(X, X); 1 is usual; 0: off. With --mixup, one of "
        "the two each step",
    )
    augment_classes: str = option(
        "", "flip and RandAugment only images of these classes, such as the rare one", metavar="NAME,NAME"
    )
    validation: str = option("validation", "split that chooses the best epoch; none keeps the last epoch's weights")
    patience: int = option(0, "stop after this many epochs without a better validation; 0: never")
    steps: int = option(0, "at most this many steps an epoch, for a quick look; 0: the whole split")
    seed: int = option(0, "of the initial weights, the order of the records and all that is drawn")
    cache: str = option(
        NO_CACHE,
        "decode each image of jpeg and png shards once and keep it in memory, or on the disk for later runs "
        "(~/.cache/shardmill/decoded, or in $XDG_CACHE_HOME); other shards hold nothing to decode",
        choices=CACHES,
        compare=False,
    )
    strategy: str = option(
        "one",
        "mirrored: on all GPUs of this machine, each with its part of every batch; multiworker: on the machines that "
        "TF_CONFIG names, each started with the same options; both come to the curve of one device",
        choices=STRATEGIES,
    )
    mixed_precision: str = option(
        "none",
        "compute in this type and keep the weights in float32; float16 (with loss scaling) for GPUs from 2017 on, "
        "bfloat16 for those from 2020 on and for processors that have it. The model that is saved, evaluated and "
        "exported computes in float32",
        choices=PRECISIONS,
    )
    jit: str = option(
        "auto",
        "compile the training step with XLA; auto: on a GPU, where XLA can compile this step",
        choices=JIT,
    )
    deterministic: bool = option(
        True,
        "the same numbers in every run; without it some operations of a GPU are faster, XLA knows more of them, and "
        "runs and resumed runs on a GPU agree only roughly",
    )
    steps_per_execution: int = option(
        0,
        "steps that one call of a compiled function runs; never beyond a checkpoint or an epoch, and the weights stay "
        "the same. 0: as many as take a tenth of a second, at most 16; with --strategy multiworker 1",
        compare=False,
    )
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
        for name, choices in (
            ("loss", LOSSES),
            ("schedule", SCHEDULES),
            ("strategy", STRATEGIES),
            ("mixed_precision", PRECISIONS),
            ("jit", JIT),
            ("cache", CACHES),
        ):
            if getattr(self, name) not in choices:
                raise TrainerError(
                    f"{flag(name)} should be one of {', '.join(choices)}. Received: {getattr(self, name)!r}."
                )
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
            ("freeze_epochs", 0, self.epochs),
            ("head_learning_rate", 0, 100),
            ("warmup_epochs", 0, self.epochs - self.freeze_epochs),
            ("weight_decay", 0, 100),
            ("clip_norm", 0, 1e9),
            ("ema", 0, 0.99999),
            ("rand_augment", 0, 1),
            ("mixup", 0, 10),
            ("cutmix", 0, 1),
            ("steps_per_execution", 0, 10_000),
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
        self._check_pairs()

    def _check_pairs(self) -> None:
        """Raises TrainerError for options that conflict or that lack another option.

        It also refuses --mixup and --cutmix below MIN_BETA, where draws of the Beta distribution are too small.
        """
        for name in ("mixup", "cutmix"):
            if 0 < getattr(self, name) < MIN_BETA:
                raise TrainerError(f"{flag(name)} should be 0 or from {MIN_BETA} on. Received: {getattr(self, name)}.")
        for name, given, needs in (
            ("focal_gamma", self.focal_gamma != 2.0 and self.loss != "focal", "--loss focal"),
            ("head_learning_rate", self.head_learning_rate and not self.freeze_epochs, "--freeze-epochs"),
            (
                "augment_classes",
                self.augment_classes and not (self.flip or self.rand_augment),
                "--flip or --rand-augment",
            ),
        ):
            if given:
                raise TrainerError(f"{flag(name)} is of use only with {needs}. Give both or none of them.")

    def augmented_classes(self) -> list[str]:
        """Returns the class names of --augment-classes; an empty list means all classes."""
        return [name.strip() for name in self.augment_classes.split(",") if name.strip()]

    def decisive(self) -> dict[str, Any]:
        """Returns the options that change the result, by field name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.compare}


def flag(name: str) -> str:
    """Returns the command-line flag of a field: batch_size -> --batch-size."""
    return "--" + name.replace("_", "-")


def resample_temperature(text: str) -> float:
    """Returns the temperature that --resample means: 1 for none, infinity for uniform.
    Raises:
      TrainerError: the text has none of the three forms.
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
    """Raises TrainerError if a value does not have the type of its field.

    Args:
      kind: the type annotation of the field as text: str, int, float or bool.
    """
    allowed: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
    if not isinstance(value, allowed[kind]) or (kind != "bool" and isinstance(value, bool)):
        raise TrainerError(f"{flag(name)} should be of type {kind}. Received: {value!r}.")
