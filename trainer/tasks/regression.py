"""Trains and judges models that answer one or more numbers for each image.

The network answers in standard deviations from the mean of train, which the contract states. The loss compares there,
so that all numbers count equally whatever their units. Everything else, the export among it, speaks the units of the
table. A target has the standardized numbers times the record's weight, and then the weight. Therefore a mixed image has
the mean of its parts' numbers.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from pipelines.contract import Contract
from pipelines.contract.task import REGRESSION
from pipelines.core.text import listed
from trainer.config import NUMBER_LOSSES, TRAIN_SPLIT, TrainConfig
from trainer.evaluation import inference
from trainer.evaluation.cautions import NAMED
from trainer.evaluation.scores import label_scores, number_scores
from trainer.models.outputs import logits_function
from trainer.run_dir import CALIBRATION
from trainer.tasks import head_problems, refusal
from trainer.tasks.head_problems import Head
from trainer.tasks.losses import NumberLoss
from trainer.tasks.number_result import ANSWER, TRUE, NumberFit, NumberPredictions, NumberResult, read_fit
from trainer.tasks.task import Answered, Compared, Kept, Task


class Regression(Task):
    """Knows what is particular to numbers."""

    kind = REGRESSION
    losses = NUMBER_LOSSES
    kept = Kept("mean_absolute_error", greater=False)
    activation = ""
    output = "values"
    unit = "in standard deviations of train"
    column = TRUE

    def described(self, contract: Contract) -> str:
        return f"{len(contract.task.targets)} numbers" if len(contract.task.targets) > 1 else "one number"

    def check(self, config: TrainConfig, contract: Contract) -> list[str]:
        self.check_loss(config, contract)
        refusal.check_options(config, contract)
        if config.label_smoothing:
            refusal.only_classes(contract, "--label-smoothing", "Use --loss huber, which wrong numbers disturb less.")
        if config.cutmix:
            refusal.only_classes(contract, "--cutmix", "Use --mixup, which blends the numbers with the images.")
        t = contract.task
        same = [n for n, low, high in zip(t.targets, t.least, t.greatest, strict=True) if low == high]
        told = f"{listed(same, NAMED)}: all train images have the same value, so nothing can be learned about it."
        return [*([told] if same else []), *refusal.of_changes(config, contract)]

    def few_images(self, contract: Contract) -> tuple[float, str]:
        return contract.task.images[TRAIN_SPLIT]["natural"], "train images"

    def loss(self, config: TrainConfig, contract: Contract, from_logits: bool) -> NumberLoss:
        del contract, from_logits
        return NumberLoss(self.loss_name(config))

    def targets(self, contract: Contract, labels: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        weight = tf.ones_like(labels[:, :1]) if weights is None else weights[:, None]
        return tf.concat([standardized(contract, labels) * weight, weight], axis=-1)

    def metric(self, contract: Contract, from_logits: bool) -> StandardizedError:
        del from_logits
        return StandardizedError(contract)

    def head(self, config: TrainConfig, contract: Contract) -> Head:
        return head_problems.of_numbers(self.loss_name(config), contract)

    def random_labels(self, contract: Contract, random: np.random.Generator, size: int) -> np.ndarray:
        mean, std = (np.array(values) for values in (contract.task.mean, contract.task.std))
        return (mean + std * random.standard_normal((size, len(mean)))).astype(np.float32)

    def predictor(
        self, network: keras.Model, data: str | os.PathLike[str], batch_size: int
    ) -> Callable[[str], NumberPredictions]:
        outputs = inference.outputs(logits_function(network, self.activation), data, batch_size)
        return lambda split: NumberPredictions(*outputs(split))

    def fit(self, found: NumberPredictions, split: str, contract: Contract) -> NumberFit:
        return dataclasses.replace(self.unfitted(contract), split=split, records=len(found.keys))

    def unfitted(self, contract: Contract) -> NumberFit:
        t = contract.task
        return NumberFit(t.targets, t.mean, t.std, t.median)

    def read_fitted(self, directory: str | os.PathLike[str], contract: Contract) -> NumberFit:
        return read_fit(Path(directory) / CALIBRATION, contract)

    def assess(self, split: str, found: NumberPredictions, fitted: NumberFit) -> NumberResult:
        return NumberResult(split, found, fitted)

    def answered(self, found: NumberPredictions, fitted: NumberFit) -> Answered:
        """Returns the answers as texts; numbers have no confidence."""
        values = NumberResult("", found, fitted).answers
        texts = tuple(",".join(format(value, ".6g") for value in row) for row in values.tolist())
        return Answered(found.keys, texts, np.full(len(texts), np.nan), found.names, values, ANSWER)

    def answers(self, network: keras.Model, contract: Contract, fitted: NumberFit) -> Callable[[tf.Tensor], tf.Tensor]:
        del contract
        function = logits_function(network, self.activation)
        mean, std = np.array(fitted.mean, np.float32), np.array(fitted.std, np.float32)
        return lambda images: function(images) * std + mean

    def served(self, answers: tf.Tensor, names: tf.Tensor, fitted: NumberFit) -> dict[str, tf.Tensor]:
        del names, fitted
        return {"values": answers}

    def about(self, contract: Contract, fitted: NumberFit) -> dict[str, Any]:
        rows = zip(contract.task.targets, fitted.mean, fitted.std, strict=True)
        return {"task": {"kind": self.kind, "targets": {name: {"mean": m, "std": s} for name, m, s in rows}}}

    def scale(self, fitted: NumberFit) -> np.ndarray:
        return np.array(fitted.std)

    def in_words(self, names: Sequence[str], values: np.ndarray, about: Mapping[str, Any]) -> str:
        del about
        return "\t".join(f"{name} {float(value):.6g}" for name, value in zip(names, values, strict=True))

    def in_json(self, names: Sequence[str], values: np.ndarray, about: Mapping[str, Any]) -> dict[str, Any]:
        del about
        return {"values": {name: float(value) for name, value in zip(names, values, strict=True)}}

    def compared(self, columns: Mapping[str, Sequence[str]]) -> Compared:
        names = tuple(name.removeprefix(TRUE) for name in columns if name.startswith(TRUE))
        truth, answers = (np.array([columns[b + n] for n in names], np.float64).T for b in (TRUE, ANSWER))
        return Compared(tuple(columns["key"]), names, truth, answers)

    def scores(self, found: Compared, draws: np.ndarray) -> dict[str, np.ndarray]:
        each = [number_scores.scores(t, a, draws) for t, a in zip(found.truth.T, found.answers.T, strict=True)]
        means = {name: label_scores.mean(np.stack([own[name] for own in each], axis=1)) for name in ("r2", "spearman")}
        return means | {f"mae of {name}": own["mae"] for name, own in zip(found.names, each, strict=True)}

    def is_greater_better(self, score: str) -> bool:
        return not score.startswith("mae")


class StandardizedError(keras.metrics.Metric):
    """Computes the mean absolute error in standard deviations of train.

    It is the mean over the records and the numbers. A record counts once, whatever its weight in the loss.
    """

    def __init__(self, contract: Contract, name: str = "mean_absolute_error", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self._contract = contract
        self.counted = self.add_variable((2,), initializer="zeros", aggregation="only_first_replica", name="counted")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        del sample_weight
        self.add(self.counts(y_true, y_pred))

    def counts(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the sum of the records' errors and the number of records, float32 (2,)."""
        error = ops.mean(ops.abs(standardized(self._contract, y_true) - ops.cast(y_pred, "float32")), axis=-1)
        return ops.stack([ops.sum(error), ops.sum(ops.ones_like(error))])

    def add(self, counts: Any) -> None:
        """Adds the result of `counts`, which is the same on every replica."""
        self.counted.assign_add(counts)

    def result(self) -> Any:
        return self.counted[0] / ops.maximum(self.counted[1], 1.0)

    def reset_state(self) -> None:
        self.counted.assign(ops.zeros((2,)))


def standardized(contract: Contract, labels: Any) -> Any:
    """Returns numbers in standard deviations of train.

    Networks are trained on these.

    Args:
      labels: float32 (B, K), in the units of the table.
    """
    mean, std = (np.array(values, np.float32) for values in (contract.task.mean, contract.task.std))
    return (labels - mean) / std
