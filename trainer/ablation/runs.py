"""The trainings of an ablation: ordinary runs, each in a directory of its own, gone on with if they are there."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from typing import Any

from pipelines.contract import Contract
from trainer.ablation.config import AblateConfig
from trainer.ablation.prepared import TEST, TRAIN
from trainer.ablation.variants import Variant
from trainer.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One training: its scores on the test split by `verdict.METRICS`, and how long it took (0: it was there)."""

    variant: str
    seed: int
    scores: dict[str, float]
    kept_epoch: int
    seconds: float


def train_config(config: AblateConfig, variant: Variant, seed: int, data: str, images: int) -> TrainConfig:
    """The training of a variant: of as many steps as all the others, however many copies its train split has.

    No flips: they would augment the plain copies, and what a variant is about is in its dataset.
    """
    options: dict[str, Any] = {
        "data": data,
        "output": os.path.join(config.output, "runs", variant.name, f"seed-{seed}"),
        "model": variant.network or config.model,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "steps": math.ceil(images / config.batch_size),
        "flip": False,
        "seed": seed,
        "resume": True,
    }
    return TrainConfig(**(options | dict(variant.training)))


def run(config: AblateConfig, variant: Variant, seed: int, data: str, images: int, rare: str) -> Outcome:
    """Trains, or reads what was trained before. What training prints goes to train.log in its directory.

    Raises what `train.train` raises.
    """
    from trainer.train import train

    options = train_config(config, variant, seed, data, images)
    os.makedirs(os.path.dirname(options.output), exist_ok=True)
    began = time.monotonic()
    with open(f"{options.output}.log", "a", encoding="utf-8") as log:
        metrics = train(options, say=lambda line: print(line, file=log, flush=True))
    return Outcome(variant.name, seed, scores(metrics["splits"][TEST], rare), metrics["epochs"]["kept"],
                   time.monotonic() - began)  # fmt: skip


def scores(split: dict[str, Any], rare: str) -> dict[str, float]:
    """The part of metrics.json of one split -> its scores by `verdict.METRICS`; NaN where undefined."""
    found = {
        "accuracy": split["accuracy"],
        "balanced_accuracy": split["balanced_accuracy"],
        "macro_f1": split["macro_f1"],
        "rare_recall": split["per_class"][rare]["recall"],
    }
    return {name: math.nan if value is None else float(value) for name, value in found.items()}


def rarest(contract: Contract) -> str:
    """The class with the fewest train images that has some, before balancing; of equals the first."""
    natural = contract.split(TRAIN).natural
    return min((label for label in contract.labels if natural.get(label, 0)), key=lambda label: natural[label])


def baseline(contract: Contract, rare: str) -> tuple[str, dict[str, float]]:
    """What always answering the commonest class of the train split gets on the test split: (class, scores)."""
    import numpy as np

    from trainer import metrics

    natural, support = contract.split(TRAIN).natural, contract.split(TEST).natural
    answer = max(contract.labels, key=lambda label: natural.get(label, 0))
    matrix = np.zeros((len(contract.labels),) * 2, np.int64)
    matrix[:, contract.labels.index(answer)] = [support.get(label, 0) for label in contract.labels]
    recall = metrics.recall(matrix)[contract.labels.index(rare)]
    return answer, {
        "accuracy": metrics.accuracy(matrix),
        "balanced_accuracy": metrics.balanced_accuracy(matrix),
        "macro_f1": metrics.macro_f1(matrix),
        "rare_recall": float(recall),
    }
