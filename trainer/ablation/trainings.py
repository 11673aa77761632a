"""Trains the variants of an ablation, each in its own run directory.

They are ordinary runs. An interrupted one is resumed, and a finished one is reused.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import time
import warnings
from typing import Any

import numpy as np

from pipelines.core.console import terminal
from trainer import run_dir
from trainer.ablation.config import AblateConfig
from trainer.ablation.datasets import TEST
from trainer.ablation.variants import Variant
from trainer.config import TrainConfig
from trainer.evaluation import evaluate, inference
from trainer.models import build
from trainer.training.train import train

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Holds the result of one training.

    answers: int64 (N,), predicted class of each test image, in the order of the records' keys.
    """

    variant: str
    seed: int
    answers: np.ndarray
    kept_epoch: int
    seconds: float


def train_config(config: AblateConfig, variant: Variant, seed: int, data: str, images: int) -> TrainConfig:
    """Returns the options of a variant's training.

    Every variant trains for the same number of steps, however many copies its train split has. Flips are off, because
    they would also augment the plain copies; a variant gets its augmentation from its dataset. A variant with a share
    of the train images passes over them more often.
    """
    share = float(variant.training.get("train_share", 1.0))
    options: dict[str, Any] = {
        "data": data,
        "output": os.path.join(config.output, "runs", variant.name, f"seed-{seed}"),
        "model": variant.network or config.model,
        "init_weights": "" if variant.network else config.init_weights,
        "epochs": round(config.epochs / share),
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "steps": math.ceil(images / config.batch_size),
        "flip": False,
        "seed": seed,
        "resume": True,
    }
    if config.fit_head:
        options |= {"fit_head": True, "epochs": 0, "steps": 0}
    return TrainConfig(**(options | dict(variant.training)))


def run(config: AblateConfig, variant: Variant, seed: int, data: str, images: int) -> Outcome:
    """Trains a variant with one seed, or loads the result of an earlier training.

    What the training logs goes to a log file next to its directory.

    Raises:
      TrainerError, ContractError: as `train.train`.
    """
    options = train_config(config, variant, seed, data, images)
    os.makedirs(os.path.dirname(options.output), exist_ok=True)
    began = time.monotonic()
    with open(f"{options.output}.log", "a", encoding="utf-8") as log, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with terminal.log_written(log):
            metrics = train(options)
            for warning in warned:  # for example that raw pixels train badly, which that variant is meant to show
                _log.warning("%s", warning.message)
    network = build.load(run_dir.finished(options.output).model)
    found = inference.predict(network, data, TEST, evaluate.EVALUATION_BATCH)
    answers = found.answers()[np.argsort(found.keys)]
    return Outcome(variant.name, seed, answers, metrics["epochs"]["kept"], time.monotonic() - began)


def truth(data: str) -> np.ndarray:
    """Returns the true class of each test image, int64 (N,), in order of the keys."""
    keys, labels = inference.keys(data, TEST)
    return np.asarray(labels)[np.argsort(keys)]
