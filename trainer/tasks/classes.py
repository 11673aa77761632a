"""Trains and judges classifiers: each image has exactly one class.

All losses take the same targets, so that mixing of images and label smoothing work with each of them. A target is a
record's weight, distributed over the classes: all of it is on the record's class, or parts of it are on several classes
if images are mixed. Each loss is linear in the target. Therefore a record of weight 2 counts as two records, and a
mixed image counts as its parts.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from pipelines.contract import Contract
from pipelines.contract.task import CLASSES
from pipelines.core.text import listed
from trainer.config import CLASS_LOSSES, ORDINAL, TRAIN_SPLIT, TrainConfig, TrainerError
from trainer.data import class_sampling
from trainer.evaluation import evaluate, inference
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.scores import calibration
from trainer.evaluation.scores.calibration import UNCALIBRATED, Calibration
from trainer.models.outputs import logits_function, probabilities_function
from trainer.tasks import head_problems
from trainer.tasks.head_problems import Head
from trainer.tasks.losses import ClassLoss
from trainer.tasks.task import Answered, Kept, Task

NAMED = 20  # classes in a sentence
MOST_GRADES = 100  # the ordinal loss compares each with each


class Classes(Task):
    """Knows what is particular to one class an image."""

    kind = CLASSES
    losses = CLASS_LOSSES
    kept = Kept("balanced_accuracy")
    activation = "softmax"
    output = "probabilities"
    unit = "in a probability"

    def described(self, contract: Contract) -> str:
        return f"{len(contract.labels)} classes"

    def check(self, config: TrainConfig, contract: Contract) -> list[str]:
        self.check_loss(config, contract)
        return [*_order(config, contract), *class_sampling.check(config, contract), *_absent(contract)]

    def few_images(self, contract: Contract) -> tuple[float, str]:
        each = sum(contract.split(TRAIN_SPLIT).natural.values()) / len(contract.labels)
        return each, "train images for each class on average"

    def loss(self, config: TrainConfig, contract: Contract, from_logits: bool) -> ClassLoss:
        return ClassLoss(
            self.loss_name(config),
            class_sampling.priors(contract, config.resample),
            from_logits=from_logits,
            gamma=config.focal_gamma,
            smoothing=config.label_smoothing,
        )

    def targets(self, contract: Contract, labels: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        targets = tf.one_hot(labels, len(contract.labels))
        return targets if weights is None else targets * weights[:, None]

    def metric(self, contract: Contract, from_logits: bool) -> BalancedAccuracy:
        del from_logits
        return BalancedAccuracy(len(contract.labels))

    def head(self, config: TrainConfig, contract: Contract) -> Head:
        return head_problems.of_classes(config, contract)

    def random_labels(self, contract: Contract, random: np.random.Generator, size: int) -> np.ndarray:
        return random.integers(0, len(contract.labels), size, np.int64)

    def predictor(
        self, network: keras.Model, data: str | os.PathLike[str], batch_size: int
    ) -> Callable[[str], Predictions]:
        outputs = inference.outputs(logits_function(network), data, batch_size)
        return lambda split: Predictions(*outputs(split))

    def fit(self, found: Predictions, split: str, contract: Contract) -> Calibration:
        return evaluate.calibrate(found, split, contract)

    def check_abstention(self) -> None:
        """Permits --abstain-error."""

    def abstaining(self, fitted: Calibration, found: Predictions, wanted: float, split: str) -> tuple[Calibration, str]:
        return evaluate.abstaining(fitted, found, wanted, split)

    def of_run(self, fitted: Calibration, config: TrainConfig) -> Calibration:
        return dataclasses.replace(fitted, ordered=config.loss == ORDINAL)

    def unfitted(self, contract: Contract) -> Calibration:
        del contract
        return UNCALIBRATED

    def read_fitted(self, directory: str | os.PathLike[str], contract: Contract) -> Calibration:
        del contract
        return calibration.read(directory)

    def assess(self, split: str, found: Predictions, fitted: Calibration) -> Assessment:
        return Assessment(split, found, fitted)

    def answered(self, found: Predictions, fitted: Calibration) -> Answered:
        given, ids = found.probabilities(fitted.temperature), found.answers()
        texts = tuple(found.names[i] for i in ids.tolist())
        sure = given[np.arange(len(ids)), ids]
        least = None if fitted.abstention is None else fitted.abstention.probability
        return Answered(found.keys, texts, sure, found.names, given, "probability of ", least)

    def answers(
        self, network: keras.Model, contract: Contract, fitted: Calibration
    ) -> Callable[[tf.Tensor], tf.Tensor]:
        del contract
        return probabilities_function(network, fitted.temperature)

    def served(self, answers: tf.Tensor, names: tf.Tensor, fitted: Calibration) -> dict[str, tf.Tensor]:
        ids = tf.argmax(answers, axis=-1)
        outputs = {"label": tf.gather(names, ids), "label_id": ids, "probabilities": answers}
        if fitted.abstention is None:
            return outputs
        return outputs | {"answered": tf.reduce_max(answers, axis=-1) >= fitted.abstention.probability}

    def about(self, contract: Contract, fitted: Calibration) -> dict[str, Any]:
        del contract
        content = fitted.to_dict()
        names = ("temperature", "threshold", "abstention")
        return {name: content[name] for name in names if name in content}

    def scale(self, fitted: Calibration) -> np.ndarray:
        del fitted
        return np.ones(1)


class BalancedAccuracy(keras.metrics.Metric):
    """Computes the mean recall over the classes seen so far, without class weights.

    It is `metrics.balanced_accuracy` as a running Keras metric. It takes int labels (B,) and scores (B, C), logits or
    probabilities. It keeps the records and the right answers of each class, float32 (2, C), which are exact up to 2**24
    records a class. A confusion matrix of 10,000 classes would take 400 MB, in each step and in each checkpoint.
    """

    def __init__(self, classes: int, name: str = "balanced_accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.classes = classes
        self.counted = self.add_variable(
            (2, classes), initializer="zeros", aggregation="only_first_replica", name="counted"
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        del sample_weight  # a record counts once, whatever its weight in the loss
        self.add(self.counts(y_true, y_pred))

    def counts(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the records and the right answers of each class: float32 (2, C)."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int64")
        right = ops.cast(ops.equal(ops.cast(ops.argmax(y_pred, axis=-1), "int64"), labels), "float32")
        true = ops.one_hot(labels, self.classes, dtype="float32")
        return ops.stack([ops.sum(true, axis=0), ops.sum(true * right[:, None], axis=0)])

    def add(self, counts: Any) -> None:
        """Adds the result of `counts`, which is the same on every replica."""
        self.counted.assign_add(counts)

    def result(self) -> Any:
        support, right = self.counted[0], self.counted[1]
        recall = right / ops.maximum(support, 1.0)
        return ops.sum(recall) / ops.maximum(ops.sum(ops.cast(support > 0, "float32")), 1.0)

    def reset_state(self) -> None:
        self.counted.assign(ops.zeros((2, self.classes)))


def _order(config: TrainConfig, contract: Contract) -> list[str]:
    """Returns a sentence about the order of grades.

    Raises:
      TrainerError: there are too many.
    """
    if config.loss != ORDINAL:
        return []
    if len(contract.labels) > MOST_GRADES:
        raise TrainerError(
            f"--loss {ORDINAL} takes at most {MOST_GRADES} grades, and dataset {contract.name!r} has "
            f"{len(contract.labels)} classes: prepare so many steps as numbers, with --target."
        )
    return [
        f"the classes are grades in this order: {' < '.join(contract.labels[:NAMED])}"
        f"{' < …' if len(contract.labels) > NAMED else ''}. `prepare --classes FILE` states another."
    ]


def _absent(contract: Contract) -> list[str]:
    """Returns a warning for each split that has no record of some class.

    Such a split cannot measure how well that class is recognized.
    """
    sentences = []
    for name, split in contract.splits.items():
        absent = [label for label in contract.labels if not split.stored.get(label, 0)]
        if absent:
            sentences.append(
                f"split {name!r} has no record of {listed(absent, 20)}: "
                + ("the model cannot learn it." if name == TRAIN_SPLIT else "its scores leave that class out.")
            )
    return sentences
