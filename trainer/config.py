"""Defines the trainer's options as one frozen dataclass that checks its values.

A run saves its options as config.yaml in its directory. The command line is built from the fields below, so that each
option is defined once. This module imports only the standard library, because `--help` and the error for a wrong flag
must not wait for TensorFlow.
"""

from __future__ import annotations

import dataclasses
import decimal
import math

from pipelines.core.errors import ConfigError, ShardmillError
from pipelines.core.files.urls import is_remote
from pipelines.options import config_fields
from pipelines.options.config_fields import Range, Syntax, check_range, flag, option

OPTIMIZERS = ("adam", "sgd", "lamb")
MOMENTUM = 0.9  # default of --momentum
SCHEDULES = ("constant", "cosine")
ORDINAL = "ordinal"
CLASS_LOSSES = ("ce", "weighted", "focal", "logit-adjusted", ORDINAL)
LABEL_LOSSES = ("ce", "weighted", "focal", "asymmetric")  # of several labels an image
NUMBER_LOSSES = ("mse", "mae", "huber")
AUTO = AUTO_LOSS = "auto"
LOSSES = (AUTO_LOSS, *dict.fromkeys((*CLASS_LOSSES, *LABEL_LOSSES, *NUMBER_LOSSES)))
PRECISIONS = ("none", "float16", "bfloat16")
JIT = ("auto", "on", "off")
STRATEGIES = ("one", "mirrored", "multiworker")
CACHES = ("none", "memory")
NO_CACHE = "none"
IMAGENET = "imagenet"  # value of --init-weights
UNFREEZE_ALL = "all"  # value of --unfreeze
BATCH_NORMS = ("auto", "train", "freeze")
NO_LOG = "none"
LOGS = (NO_LOG, "mlflow", "wandb")
TRAIN_SPLIT = "train"
VALIDATION_SPLIT = "validation"
NO_VALIDATION = "none"
NO_FOLD = -1  # value of --fold for a training on all of train
ALL_FOLDS = "all"  # value of --folds
NO_CROP = "none"  # value of --crop-scale
USUAL_CROP = "0.25-1"  # value of --crop-scale with --train-size
NATURAL = "none"  # value of --resample that keeps the class frequencies of the stored records
VERIFY = ("full", "fast", "off")
SLICE_SIZE = 20
BRIGHTNESS, FOLDER, SIZE = DERIVED = ("brightness", "folder", "size")  # values of --slice-by
SLICE_BY_HELP = (
    "comma-separated further columns to show the scores of parts of the data by; brightness: mean gray level of the "
    "stored pixels; folder: folder of the source file; size: megapixels of the source image"
)
SLICE_HELP = (
    "fewest records of a part of the data whose scores are shown by the columns of prepare --keep, such as one site; "
    "the scores of fewer are mostly chance"
)
DEFAULT_VERIFY = "fast"
VERIFY_HELP = (
    "comparison of the shards with the contract before TensorFlow opens them; full: sizes and all SHA-256 digests; "
    "fast: sizes, and digests only of files that changed since the last comparison (by size, time and inode); "
    "off: sizes only"
)
TTA_NONE, TTA_FLIP, TTA_CROPS = TTA = ("none", "flip", "crops")
TTA_HELP = (
    "views of each image whose answers are averaged; flip: the image and its mirror image; crops: centre and corners "
    "of the image, and their mirror images, for a model of --train-size"
)
TTA_NOTE = "note: --tta mirrors images: leave it out if a number depends on the side."
MIN_BETA = 0.1  # Beta(a, a) is drawn as x / (x + y), and with a smaller a both x and y may be 0 in float32
INT8 = "tflite-int8"
EXPORT_FORMATS = ("savedmodel", "tflite", INT8, "onnx")
EXPORT_HELP = (
    "format of the export; savedmodel: takes encoded image bytes, returns labels and probabilities, or numbers; "
    "tflite, onnx: take uint8 pixels in the contract's image size, return probabilities or numbers; tflite-int8: the "
    "same with weights and activations of 8 bits, calibrated on train records; onnx needs the packages of "
    "requirements-onnx.in "
    "(default: savedmodel)"
)
MAX_VIEW = 1 << 14  # pixels, of --train-size
MAX_SEED = 2**31 - 1  # the largest seed that tf.data, NumPy and Keras all accept


class TrainerError(ShardmillError, ValueError):
    """Is raised for a user's mistake or unusable input.

    The message says what was expected, what was received and what to do.
    """


def _parse_train_size(text: str) -> int | str:
    """Returns the value of --train-size that a text means; a range stays a text."""
    return int(text) if text.isdecimal() else text


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Holds every option of a training run.

    Two runs with equal configs on one machine give exactly the same result.
    Raises:
      ConfigError: a value is out of its range; the message names the option.
    """

    data: str = option(dataclasses.MISSING, "directory of a prepared dataset", metavar="DIR")
    output: str = option(dataclasses.MISSING, "local directory to write the run to", metavar="DIR")
    model: str = option(
        "cnn",
        "network to train: cnn; resnet20; a keras.applications network such as MobileNetV2; or module:function, where "
        "function(contract) returns a keras.Model",
        filled=True,
    )
    init_weights: str = option(
        "",
        "initial weights; imagenet: those that Keras publishes for a network of keras.applications (downloaded once); "
        "or a file: model.keras or last.keras of an earlier run, or a .weights.h5 or .h5 file. From a run with other "
        "classes, the weights of the head are not loaded (default: random weights)",
        metavar="imagenet|PATH",
    )
    fit_head: bool = option(
        False,
        "fit the head, which is the last Dense layer, before the first epoch: the features of all train images are "
        "computed once, and the head becomes the logistic regression of the classes or of each label on them, or the "
        "linear regression of the numbers. With --epochs 0 that is all",
    )
    head_views: int = option(
        1,
        "with --fit-head: views of each train image whose features the head is fitted on; 1: the image as evaluation "
        "sees it, with --flip also its mirror image; N: these, and N - 1 random views that --train-size, --crop-scale, "
        "--color-jitter, --rotate and --random-erasing make",
        limits=Range(1, 1000),
    )
    unfreeze: str = option(
        UNFREEZE_ALL,
        "layers that train after the --freeze-epochs; all: every layer; none: only the head; top=N: the head and the "
        "last N layers with weights before it",
        metavar="all|none|top=N",
    )
    batch_norm: str = option(
        "auto",
        "batch normalizations of the network; train: their statistics follow the train images; freeze: they stay as "
        "they are, which is better for pretrained weights and few images; auto: freeze with --init-weights, else train",
        choices=BATCH_NORMS,
    )
    freeze_epochs: int = option(
        0, "number of first epochs that train only the head, which is the last Dense layer, and freeze all other layers"
    )
    head_learning_rate: float = option(
        0.0,
        "learning rate of the head while --freeze-epochs freezes the other layers; 0: the same as --learning-rate",
        limits=Range(0, 100),
    )
    epochs: int = option(15, "number of passes over the train split; 0 only with --fit-head", limits=Range(0, 100_000))
    batch_size: int = option(32, "number of images per step, on all devices together", limits=Range(1, 1 << 20))
    optimizer: str = option(
        "adam",
        "optimizer; adam: Adam, with --weight-decay AdamW; sgd: gradient descent with Nesterov's momentum, whose usual "
        "--learning-rate is 0.01 to 0.1; lamb: Adam whose steps are in proportion to the size of each weight, "
        "for batches of thousands of images, with a usual rate of 0.001 to 0.01",
        choices=OPTIMIZERS,
    )
    momentum: float = option(
        MOMENTUM, "momentum of --optimizer sgd, as Nesterov defines it; 0: none", limits=Range(0, 0.9999)
    )
    learning_rate: float = option(
        1e-3,
        "learning rate of the optimizer; with --schedule or --warmup-epochs, the highest learning rate",
        limits=Range(0, 100, above=True),
    )
    lowest_rate: float = option(
        1.0,
        "share of the learning rate that the first layer with weights gets, for fine-tuning; it rises from layer to "
        "layer by an equal factor, up to 1 for the head; 0.1 is usual; 1: all layers have the same rate",
        limits=Range(0, 1, above=True),
    )
    schedule: str = option(
        "constant",
        "learning rate after the warm-up; constant: does not change; cosine: falls to 0 along half a cosine",
        choices=SCHEDULES,
    )
    warmup_epochs: float = option(
        0.0,
        "number of epochs, or a fraction of one, in which the learning rate rises linearly from near 0 to "
        "--learning-rate; they come after the --freeze-epochs",
    )
    weight_decay: float = option(
        0.0,
        "decoupled weight decay, as of AdamW, only for kernels and not for biases and normalizations; 0.01 is usual; "
        "0: no weight decay",
        limits=Range(0, 100),
    )
    clip_norm: float = option(
        0.0,
        "greatest global norm of the gradients; larger gradients are scaled down to it; 0: no limit",
        limits=Range(0, 1e9),
    )
    ema: float = option(
        0.0,
        "momentum of an exponential moving average of the weights, which is then validated and saved instead of the "
        "weights; 0: no average",
        limits=Range(0, 0.99999),
    )
    loss: str = option(
        AUTO_LOSS,
        "loss function. Of classes, ce: cross-entropy; weighted: cross-entropy with the class weights records / "
        "(classes * records of the class); focal: focal loss, in which well-predicted records count less; "
        "logit-adjusted: cross-entropy for the best balanced accuracy; ordinal: for classes that are grades, in the "
        "order of their ids, a far answer costs more than a near one. Class frequencies are those of the stored "
        "records after --resample. Of several labels an image, ce: binary cross-entropy of each label; weighted: with "
        "the weight records without the label / records with it; focal; asymmetric: focal for absent labels only, and "
        "those that are surely absent do not count. Of numbers, in standard deviations of train, mse: squared error; "
        "mae: absolute error; huber: squared up to 1 and absolute from there. auto: ce or mse",
        choices=LOSSES,
    )
    focal_gamma: float = option(
        2.0,
        "exponent of --loss focal: the larger it is, the less a well-predicted record counts; 0 is cross-entropy",
        limits=Range(0, 10),
    )
    label_smoothing: float = option(
        0.0, "share of each target that is spread evenly over all classes, from 0 to 0.99", limits=Range(0, 0.99)
    )
    resample: str = option(
        NATURAL,
        "how often each class is drawn, for shards that were not balanced; none: as often as it is stored; uniform: "
        "all classes equally often; temperature=T: in proportion to count ** (1 / T), with T at least 1. The length of "
        "an epoch stays the same",
        metavar="none|uniform|temperature=T",
    )
    train_size: int | str = option(
        0,
        "side in pixels of the square that the network sees, smaller than the stored images: random crops in training; "
        "in evaluation and in the exported model the centre of the image, which is resized before so that its shorter "
        "side is 8/7 of N, if it is longer; A:B: crops that grow from A to B over the epochs, so that the first epochs "
        "cost less, and B everywhere else; 0: the whole stored images",
        syntax=Syntax(_parse_train_size, str, "N|A:B"),
    )
    crop_scale: str = option(
        AUTO,
        "random resized crop of training images: least and greatest share of the area of an image, drawn anew in every "
        "epoch; the sides of a crop have a ratio from 3:4 to 4:3; none: no crop, and with --train-size the centre; "
        f"auto: {USUAL_CROP} with --train-size, else none",
        metavar="LOW-HIGH|none|auto",
    )
    flip: bool = option(True, "flip training images left to right with probability 0.5, drawn anew in every epoch")
    rand_augment: float = option(
        0.0,
        "greatest strength of two random RandAugment operations on each training image, up to 1; 0: none",
        limits=Range(0, 1),
    )
    color_jitter: float = option(
        0.0,
        "strength X of changes of brightness, contrast and saturation of training images, each by a factor from 1 - X "
        "to 1 + X; 0.4 is usual; images of one channel have no saturation; 0: none",
        limits=Range(0, 0.99),
    )
    rotate: float = option(
        0.0,
        "greatest angle in degrees by which training images are turned, to either side; 0: none",
        limits=Range(0, 180),
    )
    random_erasing: float = option(
        0.0,
        "probability that a rectangle of a training image, 2 to 40 percent of its area, is covered with noise; 0.25 is "
        "usual; 0: none",
        limits=Range(0, 1),
    )
    mixup: float = option(
        0.0,
        "parameter X of mixup, which blends pairs of images with weights from Beta(X, X); 0.2 is usual; 0: off",
        limits=Range(0, 10),
    )
    cutmix: float = option(
        0.0,
        "parameter X of CutMix, which pastes a rectangle of one image into another, with its share of the area from "
        "Beta(X, X); 1 is usual; 0: off. With --mixup, each step uses one of the two at random",
        limits=Range(0, 1),
    )
    augment_classes: str = option(
        "",
        "comma-separated classes that --flip, --rand-augment, --color-jitter, --rotate and --random-erasing apply to, "
        "such as a rare class (default: all classes)",
        metavar="NAME,NAME",
    )
    validation: str = option(
        "validation", "split whose score chooses the epoch that is kept; none: keep the last epoch", filled=True
    )
    fold: int = option(
        NO_FOLD,
        "number of the fold of train to hold out, from 0, of a dataset that was prepared with --folds: the network "
        "learns from the other folds, and --validation is the fold itself unless it names another split; -1: none",
        limits=Range(NO_FOLD, MAX_SEED),
    )
    train_share: float = option(
        1.0,
        "share of the train images of each class to learn from, to see what more images are worth; smaller shares are "
        "parts of larger ones, and each --seed has other ones; 1: all",
        limits=Range(0, 1, above=True),
    )
    folds: str = option(
        "none",
        "all: train once for each fold, one after the other, into OUTPUT/fold-0 and so on, evaluate every image by the "
        "network that has not seen it, and export the mean of the networks; none: train once",
        choices=("none", ALL_FOLDS),
    )
    refit: bool = option(
        False,
        "with --folds all: also train once on all folds together, for as many epochs as the folds kept in the median, "
        "and export this network in place of the mean",
    )
    abstain_error: float = option(
        0.0,
        "wanted share of wrong answers among those that the model gives: it abstains from an image if its largest "
        "probability is below a threshold, which is chosen on --validation after the training; 0: it always answers",
        decides=False,
        limits=Range(0, 0.5),
    )
    keep_over: int = option(
        1,
        "number of last epochs over which the validation score is averaged before it chooses the epoch that is kept; "
        "on few validation images the score of a single epoch is partly luck; 1: each epoch by its own score",
        limits=Range(1, 1000),
    )
    patience: int = option(
        0,
        "number of epochs without a better validation score after which training stops; 0: never stop early",
        limits=Range(0, 100_000),
    )
    steps: int = option(
        0,
        "greatest number of steps per epoch, for a quick test; 0: the complete train split",
        limits=Range(0, MAX_SEED),
    )
    seed: int = option(
        0, "seed of the initial weights, the order of the records and all other random draws", limits=Range(0, MAX_SEED)
    )
    cache: str = option(
        NO_CACHE,
        "where to keep decoded images of jpeg and png shards; memory: decode each image once and keep it; shards of "
        "other encodings need no decoding",
        choices=CACHES,
        decides=False,
    )
    strategy: str = option(
        "one",
        "devices to train on; one: a single device; mirrored: all GPUs of this machine, each with a part of every "
        "batch; multiworker: all machines in TF_CONFIG, each started with the same options. The learning curve is the "
        "same as on one device",
        choices=STRATEGIES,
    )
    mixed_precision: str = option(
        "none",
        "16-bit type for the computations of the training step, with weights in float32; float16 (with loss scaling) "
        "suits GPUs from 2017 on, bfloat16 suits GPUs from 2020 on and processors that support it. The saved model "
        "computes in float32",
        choices=PRECISIONS,
    )
    jit: str = option(
        "auto",
        "whether XLA compiles the training step; auto: on a GPU, if XLA can compile this step",
        choices=JIT,
    )
    deterministic: bool = option(
        True,
        "compute the same numbers in every run; without it, some GPU operations are faster and XLA can compile more of "
        "them, but two runs, or a run and its resumption, agree only approximately on a GPU",
    )
    steps_per_execution: int = option(
        0,
        "number of training steps per call of the compiled function; it does not change the weights, and a call never "
        "passes a checkpoint or the end of an epoch. 0: as many as take 0.1 seconds, at most 16; with --strategy "
        "multiworker, 1",
        decides=False,
        limits=Range(0, 10_000),
    )
    resume: bool = option(
        False,
        "continue an interrupted run in --output from its last checkpoint, with the same final weights as without the "
        "interruption; the options that decide the result must be the same",
        decides=False,
    )
    checkpoint_minutes: float = option(
        5.0,
        "minutes between checkpoints within an epoch; 0: none. The end of each epoch always writes one",
        decides=False,
        limits=Range(0),
    )
    checkpoint_steps: int = option(
        0,
        "steps between checkpoints, in addition to --checkpoint-minutes; 0: none",
        decides=False,
        limits=Range(0, MAX_SEED),
    )
    verify: str = option(DEFAULT_VERIFY, VERIFY_HELP, choices=VERIFY, decides=False)
    log: str = option(
        NO_LOG,
        "tracker of experiments that gets options, the metrics of each epoch, the scores, the page and the model card; "
        "mlflow and wandb are extras of the installation, which find their server and key as their manuals say",
        choices=LOGS,
        decides=False,
    )
    slice_size: int = option(SLICE_SIZE, SLICE_HELP, decides=False, limits=Range(1, MAX_SEED))
    slice_by: str = option(
        "", f"{SLICE_BY_HELP} (default: none)", decides=False, syntax=Syntax(str, str, "NAME,NAME", lists=True)
    )
    timings: bool = option(
        False, "print at the end how long imports, training, evaluation, plots, pages and export took", decides=False
    )

    def __post_init__(self) -> None:
        config_fields.check(self)
        check_range("--freeze-epochs", self.freeze_epochs, Range(0, self.epochs))
        check_range("--warmup-epochs", self.warmup_epochs, Range(0, self.epochs - self.freeze_epochs))
        if is_remote(self.output):
            raise ConfigError(
                f"--output should be a local directory. Received: {self.output!r}. Write locally, then copy it there."
            )
        derived_columns(self.slice_by)
        resample_temperature(self.resample)
        unfrozen_layers(self.unfreeze)
        self.crop_range()
        self._check_train_size()
        if not self.epochs and not self.fit_head:
            raise ConfigError("--epochs should be from 1 to 100000; 0 is for --fit-head. Received: 0.")
        if self.patience and self.validation == NO_VALIDATION:
            raise ConfigError("--patience needs a validation split. Received: --validation none. Drop one of the two.")
        if self.keep_over > 1 and self.validation == NO_VALIDATION:
            raise ConfigError("--keep-over needs a validation split. Received: --validation none. Drop one of the two.")
        if self.abstain_error and self.validation == NO_VALIDATION:
            raise ConfigError(
                "--abstain-error needs a validation split to choose the threshold on. Received: --validation none. "
                "Drop one of the two."
            )
        if self.train_share < 1 and (self.fold != NO_FOLD or self.folds == ALL_FOLDS):
            raise ConfigError(
                f"--train-share {self.train_share:g} learns from a part of train, and --fold and --folds from other "
                "parts. Leave one of them out."
            )
        self._check_folds()
        self._check_pairs()

    @property
    def train_part(self) -> str:
        """Returns the name by which the records to learn from are read."""
        if self.train_share < 1:
            return share_name(self.train_share, self.seed)
        return TRAIN_SPLIT if self.fold == NO_FOLD else rest_name(self.fold)

    def of_fold(self) -> TrainConfig:
        """Returns the options in which --validation names what is validated on."""
        if self.fold == NO_FOLD or self.validation != VALIDATION_SPLIT:
            return self
        return dataclasses.replace(self, validation=held_out_name(self.fold))

    @property
    def view_size(self) -> int:
        """Returns the side of what the network sees, in pixels.

        It is the last size of --train-size, which evaluation and export have, too; 0 for whole stored images.
        """
        return self.size_range()[1]

    def size_range(self) -> tuple[int, int]:
        """Returns the first and the last size that --train-size means.

        They are equal if the size does not change.

        Raises:
          ConfigError: the text has neither form.
        """
        first, _, last = str(self.train_size).partition(":")
        if isinstance(self.train_size, bool) or not (first.isdecimal() and (last or first).isdecimal()):
            raise self._no_train_size()
        return int(first), int(last or first)

    def _check_train_size(self) -> None:
        """Raises ConfigError for sizes that are none, or that have no crops to grow."""
        first, last = self.size_range()
        grows = ":" in str(self.train_size)
        if last > MAX_VIEW or (grows and not 0 < first < last):
            raise self._no_train_size()
        if grows and self.crop_range() is None:
            raise ConfigError(
                f"--train-size {self.train_size} is of random crops, and --crop-scale none takes the centre. Give "
                f"--train-size {last}, or another --crop-scale."
            )

    def _no_train_size(self) -> ConfigError:
        return ConfigError(
            f"--train-size should be a number of pixels up to {MAX_VIEW}, or A:B with A below B, such as 128:224. "
            f"Received: {self.train_size!r}."
        )

    def _check_folds(self) -> None:
        """Raises ConfigError for options that contradict --folds all."""
        if self.refit and self.folds != ALL_FOLDS:
            raise ConfigError("--refit trains once more after --folds all. Give both or none of them.")
        if self.folds != ALL_FOLDS:
            return
        if self.fold != NO_FOLD:
            raise ConfigError(f"--fold {self.fold} trains one fold, and --folds all every one. Leave one of them out.")
        if self.strategy != "one":
            raise ConfigError(
                f"--folds all trains several networks in one process, which --strategy {self.strategy} cannot. Train "
                "each fold on its own with --fold."
            )

    def _check_pairs(self) -> None:
        """Raises ConfigError for options that conflict or that lack another option.

        It also refuses --mixup and --cutmix below MIN_BETA, where draws of the Beta distribution are too small.
        """
        for name in ("mixup", "cutmix"):
            if 0 < getattr(self, name) < MIN_BETA:
                raise ConfigError(f"{flag(name)} should be 0 or from {MIN_BETA} on. Received: {getattr(self, name)}.")
        for name, given, needs in (
            ("momentum", self.momentum != MOMENTUM and self.optimizer != "sgd", "--optimizer sgd"),
            ("focal_gamma", self.focal_gamma != 2.0 and self.loss != "focal", "--loss focal"),
            ("head_views", self.head_views > 1 and not self.fit_head, "--fit-head"),
            (
                "head_views",
                self.head_views > 1
                and not any((self.crop_range(), self.color_jitter, self.rotate, self.random_erasing)),
                "--train-size, --crop-scale, --color-jitter, --rotate or --random-erasing",
            ),
            ("head_learning_rate", self.head_learning_rate and not self.freeze_epochs, "--freeze-epochs"),
            (
                "augment_classes",
                self.augment_classes
                and not any((self.flip, self.rand_augment, self.color_jitter, self.rotate, self.random_erasing)),
                "--flip, --rand-augment, --color-jitter, --rotate or --random-erasing",
            ),
        ):
            if given:
                raise ConfigError(f"{flag(name)} is of use only with {needs}. Give both or none of them.")

    def crop_range(self) -> tuple[float, float] | None:
        """Returns the range of shares of the area that --crop-scale means.

        None is no crop.

        Raises:
          ConfigError: the text has none of the forms.
        """
        text = self.crop_scale
        if text == AUTO:
            text = USUAL_CROP if self.train_size else NO_CROP
        if text == NO_CROP:
            return None
        low, _, high = text.partition("-")
        try:
            found = float(low), float(high)
        except ValueError:
            found = math.nan, math.nan
        if not 0.01 <= found[0] <= found[1] <= 1:
            raise ConfigError(
                "--crop-scale should be auto, none, or the least and the greatest share of the area, from 0.01 to 1, "
                f"such as {USUAL_CROP}. Received: {self.crop_scale!r}."
            )
        return found

    def augmented_classes(self) -> list[str]:
        """Returns the class names of --augment-classes; an empty list means all classes."""
        return [name.strip() for name in self.augment_classes.split(",") if name.strip()]


def held_out_name(fold: int) -> str:
    """Returns the name by which the originals of a fold are read, as a split is."""
    return f"fold-{fold}"


def share_name(share: float, seed: int = 0) -> str:
    """Returns the name by which a share of the train images is read.

    It has all digits: a rounded share could be another number of images.

    Args:
      seed: decides which images the share holds.

    >>> share_name(0.25), share_name(0.25, seed=3)
    ('train-share-0.25', 'train-share-0.25-seed-3')
    """
    return f"{TRAIN_SPLIT}-share-{decimal.Decimal(str(share)):f}" + (f"-seed-{seed}" if seed else "")


def rest_name(fold: int) -> str:
    """Returns the name by which all other records of train are read."""
    return f"{TRAIN_SPLIT}-without-{held_out_name(fold)}"


def derived_columns(text: str) -> tuple[str, ...]:
    """Returns the names that --slice-by means.

    Raises:
      ConfigError: a name is none of DERIVED, or is there twice.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if len(set(names)) < len(names) or not set(names) <= set(DERIVED):
        raise ConfigError(f"--slice-by should be some of {', '.join(DERIVED)}, each once. Received: {text!r}.")
    return names


def unfrozen_layers(text: str) -> int | None:
    """Returns how many layers before the head --unfreeze means; None for all.

    Raises:
      ConfigError: the text has none of the three forms.
    """
    name, equals, value = text.partition("=")
    if not equals and name in (UNFREEZE_ALL, "none"):
        return None if name == UNFREEZE_ALL else 0
    if name != "top" or not value.isdecimal() or not int(value):
        raise ConfigError(f"--unfreeze should be all, none or top=N with N from 1 on. Received: {text!r}.")
    return int(value)


def resample_temperature(text: str) -> float:
    """Returns the temperature that --resample means: 1 for none, infinity for uniform.
    Raises:
      ConfigError: the text has none of the three forms.
    """
    name, equals, value = text.partition("=")
    if not equals and name in (NATURAL, "uniform"):
        return {NATURAL: 1.0, "uniform": math.inf}[name]
    try:
        temperature = float(value) if name == "temperature" else math.nan
    except ValueError:
        temperature = math.nan
    if not (math.isfinite(temperature) and temperature >= 1):
        raise ConfigError(
            "--resample should be none, uniform or temperature=T with T from 1 (none) on; the larger, the more equal. "
            f"Received: {text!r}."
        )
    return temperature
