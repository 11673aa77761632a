"""Defines the options of `python -m trainer ablate`.

This module imports only the standard library and the contract, because `--help` must not wait for TensorFlow.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex

from pipelines import contract as contracts
from pipelines.core.errors import ConfigError
from pipelines.core.files.urls import is_remote
from pipelines.options import config_fields
from pipelines.options.config_fields import Range, option
from trainer.ablation.variants import CURVE, VARIANTS, Variant

ALL = "all"
# Flags of `prepare` that the variants or options of `ablate` set.
OURS = ("--input", "--output", "--name", "--size", "--splits", "--resize", "--normalize", "--encoding", "--balance",
        "--augment", "--seed")  # fmt: skip


# Flags of prepare for datasets that do not have one class an image. They are refused before anything is prepared.
OTHER_TASKS = ("--labels multi", "--target")


@dataclasses.dataclass(frozen=True)
class AblateConfig:
    """Configures an ablation: the images, the variants and the training.
    Raises:
      ConfigError: a value is out of its range; the message names the option.
    """

    data: str = option(
        dataclasses.MISSING,
        "raw images: a folder of class folders, a manifest or a glob, as for `pipelines prepare --input`",
        metavar="PATH",
    )
    output: str = option(
        "ablation",
        "local directory for the datasets, the runs and the report",
        metavar="DIR",
        decides=False,
        filled=True,
    )
    seeds: int = option(
        3, "number of trainings per variant, with the seeds 0, 1, ...", decides=False, limits=Range(1, 1000)
    )
    epochs: int = option(
        12,
        "number of passes over the train images; balanced variants train for as many steps as the others",
        limits=Range(1, 100_000),
    )
    variants: str = option(
        ALL,
        f"comma-separated variants to train, out of {', '.join(v.name for v in VARIANTS)}; {ALL}: every variant",
        metavar="LIST",
        decides=False,
    )
    learning_curve: bool = option(
        False,
        "in place of --variants, train on 1/8, 1/4, 1/2 and all of the train images, for equally many steps, to see "
        "what twice as many are worth",
        decides=False,
    )
    size: str = option("64x64", "height and width of the prepared images in pixels", metavar="HxW")
    splits: str = option(
        "train=0.6,validation=0.2,test=0.2",
        "shares of the splits, as for `pipelines prepare --splits`; the recall of the rare class needs images of it in "
        "the test split",
        metavar="NAME=SHARE,…",
        filled=True,
    )
    model: str = option(
        "cnn",
        "network to train, as for the train command; the variants half and double exist only for cnn",
        filled=True,
    )
    init_weights: str = option(
        "",
        "initial weights of --model, as for the train command: imagenet, or a file (default: random weights)",
        metavar="imagenet|PATH",
    )
    fit_head: bool = option(
        False,
        "fit only the head of --model on the features of its layers with --init-weights, in place of training; it "
        "takes one pass over the images, and --epochs, --batch-size and --learning-rate do not matter",
    )
    batch_size: int = option(32, "number of images per step", limits=Range(1, 1 << 20))
    learning_rate: float = option(1e-3, "learning rate of the Adam optimizer", limits=Range(0, 100, above=True))
    prepare_flags: str = option(
        "",
        'further flags of `pipelines prepare` as one text, such as "--allow-outside --max-reject-rate 0.1"',
        metavar="TEXT",
    )

    def __post_init__(self) -> None:
        config_fields.check(self)
        if is_remote(self.output) or os.path.isfile(self.output):
            raise ConfigError(f"--output should be a local directory. Received: {self.output!r}.")
        if not re.fullmatch(r"[1-9]\d{0,3}[xX×][1-9]\d{0,3}", self.size):
            raise ConfigError(f"--size should be HxW, such as 64x64. Received: {self.size!r}.")
        if self.fit_head and not self.init_weights:
            raise ConfigError(
                "--fit-head leaves all layers but the last one as --init-weights makes them. Give both, such as "
                "--model MobileNetV2 --init-weights imagenet."
            )
        taken = [f for f in self.more_flags() if f.partition("=")[0] in OURS]
        if taken:
            raise ConfigError(f"--prepare-flags should leave {', '.join(taken)} to the ablation. Drop it.")
        flags = f" {' '.join(self.more_flags()).replace('=', ' ')} "
        other = next((given for given in OTHER_TASKS if f" {given} " in flags), "")
        if other:
            raise ConfigError(
                f"ablate is for one class an image, and --prepare-flags has {other}. Prepare the dataset yourself, "
                "train the settings one by one, and compare them with `python -m trainer compare`."
            )
        self.chosen()

    def more_flags(self) -> list[str]:
        """Returns `prepare_flags` as a list.

        Raises:
          ConfigError: the text has unbalanced quotes.
        """
        try:
            return shlex.split(self.prepare_flags)
        except ValueError as e:
            raise ConfigError(f"--prepare-flags cannot be read ({e}). Received: {self.prepare_flags!r}.") from e

    def chosen(self) -> list[Variant]:
        """Returns the variants to train, in the order in which they build on each other.

        Raises:
          ConfigError: --variants names an unknown variant, one twice, or one that --model excludes.
        """
        if self.learning_curve:
            if self.variants != ALL:
                raise ConfigError(
                    f"--learning-curve has variants of its own. Received: --variants {self.variants}. Leave one of the "
                    "two out."
                )
            return list(CURVE)
        known = {v.name: v for v in VARIANTS}
        names = list(known) if self.variants == ALL else [n.strip() for n in self.variants.split(",")]
        unknown = [name for name in names if name not in known]
        if unknown or len(set(names)) < len(names):
            raise ConfigError(
                f"--variants should be {ALL}, or some of {', '.join(known)}, each once. Received: {self.variants!r}."
            )
        chosen = [v for v in VARIANTS if v.name in names]
        without = [v.name for v in chosen if v.network and (self.model != "cnn" or self.fit_head)]
        if without and self.variants != ALL:
            also = " and without --fit-head" if self.fit_head else ""
            raise ConfigError(f"{', '.join(without)} should go with --model cnn{also}. Received: {self.model!r}.")
        return [v for v in chosen if v.name not in without]

    def decisive(self) -> dict[str, object]:
        """Returns the options that change the result of a variant's training.

        `data` is an absolute path, unless it is a URL.
        """
        return config_fields.decisive(self) | {
            "data": self.data if is_remote(self.data) else os.path.abspath(self.data)
        }


def check_data(config: AblateConfig) -> None:
    """Checks --data within milliseconds, before `prepare` starts.

    Raises:
      ConfigError: --data does not exist or is an already prepared dataset, or --output lies in it.
    """
    if is_remote(config.data) or any(c in config.data for c in "*?["):
        return
    if not os.path.exists(config.data):
        raise ConfigError(
            f"--data should be a folder of class folders, a manifest or a glob. There is no {config.data!r}."
        )
    if os.path.isfile(os.path.join(config.data, contracts.FILE_NAME)):
        raise ConfigError(
            f"--data should be the raw images: ablate prepares them in several ways. {config.data!r} is a dataset that "
            "is prepared already. Name the folder or the manifest that it was made of."
        )
    output, data = os.path.realpath(config.output), os.path.realpath(config.data)
    if os.path.isdir(data) and os.path.commonpath([output, data]) == data:
        raise ConfigError(
            f"--output {config.output!r} should not lie in the images {config.data!r}: its files would be images next "
            "time. Name another directory."
        )
