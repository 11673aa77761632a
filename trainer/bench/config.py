"""Defines the options of `python -m trainer bench` and checks a dataset for them.

This module does not import TensorFlow.
"""

from __future__ import annotations

import dataclasses
import os

from pipelines.contract import Contract
from pipelines.core.errors import ConfigError
from pipelines.core.files.urls import is_remote
from pipelines.options import config_fields
from pipelines.options.config_fields import Range, option
from trainer.config import CACHES, JIT, NO_CACHE, PRECISIONS, TrainerError


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """Configures a measurement.

    Raises:
      ConfigError: a value is out of its range; the message names the option.
    """

    data: str = option(dataclasses.MISSING, "directory of the prepared dataset to measure", metavar="DIR")
    split: str = option("train", "split to read; its records are shuffled, as in training", filled=True)
    batch_size: int = option(32, "number of images in a training step", limits=Range(1, 1 << 20))
    model: str = option(
        "cnn",
        "network to train: cnn, resnet20, a keras.applications network such as MobileNetV2, or module:function, where "
        "function(contract) returns a keras.Model",
        filled=True,
    )
    mixed_precision: str = option(
        "none",
        "type in which the network computes; its weights stay in float32. none: float32; float16 (with loss scaling): "
        "for GPUs from 2017 on; bfloat16: for GPUs from 2020 on and for CPUs with bfloat16 instructions",
        choices=PRECISIONS,
    )
    jit: str = option(
        "auto",
        "compile the training step with XLA. on: always, with an error if XLA cannot compile it; off: never; auto: "
        "on a GPU, if XLA can compile it",
        choices=JIT,
    )
    deterministic: bool = option(
        True,
        "measure steps that compute the same numbers in every run, as `train` does by default; without it, some GPU "
        "operations are faster and XLA can compile more of them",
    )
    cache: str = option(
        NO_CACHE,
        "memory: decode each image of jpeg and png shards once, keep it in memory, and measure the loader after that, "
        "as in training from the second epoch on; shards of raw pixels need no decoding. none: decode in every pass",
        choices=CACHES,
    )
    seconds: float = option(
        3.0,
        "duration in seconds of each of the three measurements: loader alone, model alone, and both together",
        limits=Range(0.01, 3600),
    )
    windows: int = option(
        5,
        "number of equal parts of each measurement; rates and waits are medians over these parts, with their range",
        limits=Range(1, 1000),
    )
    profile: str = option(
        "",
        "folder for a trace of 10 training steps, for TensorBoard's profile plugin (default: no trace). To view it: "
        "`pip install tensorboard tensorboard-plugin-profile`, then `tensorboard --logdir DIR`",
        metavar="DIR",
    )
    json: str = option("", "file for all figures in JSON (default: no file)", metavar="FILE")

    def __post_init__(self) -> None:
        config_fields.check(self)
        if self.json and (os.path.isdir(self.json) or not os.path.isdir(os.path.dirname(os.path.abspath(self.json)))):
            raise ConfigError(f"--json should be a file in a folder that is there. Received: {self.json!r}.")
        if is_remote(self.profile) or os.path.isfile(self.profile):
            raise ConfigError(f"--profile should be a local folder to write to. Received: {self.profile!r}.")


def check_split(config: BenchConfig, contract: Contract) -> None:
    """Checks that a pass over the split gives two full batches.

    It needs two, because the first batch of a pass is measured separately: it waits until the files are opened and the
    shuffle buffer is filled.

    Raises:
      ContractError, TrainerError: there is no such split, or it gives fewer batches.
    """
    records = contract.split(config.split).records
    if config.split not in contract.splits:
        raise TrainerError(
            f"Split {config.split!r} has images without a label, and training needs labels: name another."
        )
    if not records:
        raise TrainerError(f"Split {config.split!r} of {config.data} holds no records: choose another with --split.")
    if records < 2 * config.batch_size:
        raise TrainerError(
            f"--batch-size should be at most half of the {records} records of split {config.split!r}, so that a pass "
            f"has a batch after its first. Received: {config.batch_size}. Use --batch-size "
            f"{max(1, records // 2)} or less, or a larger split."
            if records > 1
            else f"Split {config.split!r} of {config.data} holds one record: nothing can be measured on it."
        )
