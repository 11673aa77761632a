"""Trains and judges models that give each image any number of labels, or none.

The head has one sigmoid for each label. A target has two numbers for each label, the record's weight if it carries the
label and the record's weight if it does not, one of which is 0. Each loss is linear in the target. Therefore a record
of weight 2 counts as two records, and a mixed image counts as its parts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import scipy  # loads its parts when they are first used: they take a quarter of a second
import tensorflow as tf
from keras import ops

from pipelines.contract import Contract
from pipelines.contract.task import MULTI_LABEL, labels_text
from pipelines.core.text import listed
from trainer.config import LABEL_LOSSES, TRAIN_SPLIT, TrainConfig
from trainer.evaluation import inference
from trainer.evaluation.scores import label_scores
from trainer.models.outputs import logits_function
from trainer.run_dir import CALIBRATION
from trainer.tasks import head_problems, refusal
from trainer.tasks.head_problems import Head
from trainer.tasks.label_result import (
    ANSWER,
    IS,
    PROBABILITY,
    LabelFit,
    LabelPredictions,
    LabelResult,
    read_fit,
)
from trainer.tasks.losses import LabelLoss, logits_of
from trainer.tasks.task import Answered, Compared, Kept, Task

WIDE, NARROW, SOFTNESS = 32, 64, 4.0  # of the scores, for the average precision of an epoch


class MultiLabel(Task):
    """Knows what is particular to several labels an image."""

    kind = MULTI_LABEL
    losses = LABEL_LOSSES
    kept = Kept("mean_average_precision")
    activation = "sigmoid"
    output = "probabilities"
    unit = "in a probability"
    column = IS

    def described(self, contract: Contract) -> str:
        return f"{len(contract.labels)} labels"

    def check(self, config: TrainConfig, contract: Contract) -> list[str]:
        self.check_loss(config, contract)
        refusal.check_options(config, contract)
        sentences = refusal.of_changes(config, contract)
        for name, split in contract.splits.items():
            absent = [label for label in contract.labels if not split.stored.get(label, 0)]
            if absent:
                told = "the model cannot learn it." if name == TRAIN_SPLIT else "its scores leave that label out."
                sentences.append(f"split {name!r} has no record of {listed(absent, 20)}: {told}")
        return sentences

    def few_images(self, contract: Contract) -> tuple[float, str]:
        each = sum(contract.split(TRAIN_SPLIT).natural.values()) / len(contract.labels)
        return each, "train images for each label on average"

    def loss(self, config: TrainConfig, contract: Contract, from_logits: bool) -> LabelLoss:
        return LabelLoss(
            self.loss_name(config),
            contract.priors(TRAIN_SPLIT, "stored"),
            from_logits=from_logits,
            gamma=config.focal_gamma,
            smoothing=config.label_smoothing,
        )

    def targets(self, contract: Contract, labels: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        del contract
        both = tf.concat([labels, 1.0 - labels], axis=-1)
        return both if weights is None else both * weights[:, None]

    def metric(self, contract: Contract, from_logits: bool) -> BinnedAveragePrecision:
        return BinnedAveragePrecision(len(contract.labels), from_logits)

    def head(self, config: TrainConfig, contract: Contract) -> Head:
        return head_problems.of_labels(config, contract.priors(TRAIN_SPLIT, "stored"))

    def random_labels(self, contract: Contract, random: np.random.Generator, size: int) -> np.ndarray:
        return random.integers(0, 2, (size, len(contract.labels))).astype(np.float32)

    def predictor(
        self, network: keras.Model, data: str | os.PathLike[str], batch_size: int
    ) -> Callable[[str], LabelPredictions]:
        outputs = inference.outputs(logits_function(network, self.activation), data, batch_size)

        def on_split(split: str) -> LabelPredictions:
            names, keys, labels, logits = outputs(split)
            return LabelPredictions(names, keys, labels > 0.5, logits)

        return on_split

    def fit(self, found: LabelPredictions, split: str, contract: Contract) -> LabelFit:
        del contract
        slopes, shifts, thresholds = [], [], []
        for k in range(len(found.names)):
            slope, shift = label_scores.fit_calibration(found.logits[:, k], found.truth[:, k])
            given = scipy.special.expit(slope * found.logits[:, k].astype(np.float64) + shift)
            slopes.append(slope)
            shifts.append(shift)
            thresholds.append(label_scores.best_threshold(found.truth[:, k], given))
        carried = found.truth.sum(axis=0).tolist()
        unfitted = tuple(name for name, n in zip(found.names, carried, strict=True) if n in (0, len(found.keys)))
        return LabelFit(
            found.names, tuple(slopes), tuple(shifts), tuple(thresholds), split, len(found.keys), unfitted
        )  # fmt: skip

    def unfitted(self, contract: Contract) -> LabelFit:
        count = len(contract.labels)
        return LabelFit(contract.labels, (1.0,) * count, (0.0,) * count, (label_scores.PLAIN,) * count)

    def read_fitted(self, directory: str | os.PathLike[str], contract: Contract) -> LabelFit:
        return read_fit(Path(directory) / CALIBRATION, contract)

    def assess(self, split: str, found: LabelPredictions, fitted: LabelFit) -> LabelResult:
        return LabelResult(split, found, fitted)

    def answered(self, found: LabelPredictions, fitted: LabelFit) -> Answered:
        """Returns the answers as texts; the label that is the least sure counts."""
        result = LabelResult("", found, fitted)
        texts = tuple(
            labels_text(name for name, has in zip(found.names, row, strict=True) if has)
            for row in result.answers.tolist()
        )
        sure = np.where(result.answers, result.probabilities, 1 - result.probabilities).min(axis=1, initial=1.0)
        return Answered(found.keys, texts, sure, found.names, result.probabilities, PROBABILITY)

    def answers(self, network: keras.Model, contract: Contract, fitted: LabelFit) -> Callable[[tf.Tensor], tf.Tensor]:
        del contract
        logits = logits_function(network, self.activation)
        slopes, shifts = np.array(fitted.slopes, np.float32), np.array(fitted.shifts, np.float32)
        return lambda images: tf.sigmoid(logits(images) * slopes + shifts)

    def served(self, answers: tf.Tensor, names: tf.Tensor, fitted: LabelFit) -> dict[str, tf.Tensor]:
        del names
        return {"probabilities": answers, "answers": answers >= np.array(fitted.thresholds, np.float32)}

    def about(self, contract: Contract, fitted: LabelFit) -> dict[str, Any]:
        thresholds = dict(zip(contract.labels, fitted.thresholds, strict=True))
        return {"task": {"kind": self.kind, "thresholds": thresholds}}

    def scale(self, fitted: LabelFit) -> np.ndarray:
        del fitted
        return np.ones(1)

    def in_words(self, names: Sequence[str], values: np.ndarray, about: Mapping[str, Any]) -> str:
        given = self._given(names, values, about)
        return "\t".join(f"{name} {value:.4f}" for name, value in given.items()) or "no label"

    def in_json(self, names: Sequence[str], values: np.ndarray, about: Mapping[str, Any]) -> dict[str, Any]:
        every = {name: float(value) for name, value in zip(names, values, strict=True)}
        return {"labels": list(self._given(names, values, about)), "probabilities": every}

    def _given(self, names: Sequence[str], values: np.ndarray, about: Mapping[str, Any]) -> dict[str, float]:
        """Returns the probabilities of the labels that are answered."""
        thresholds = about["task"]["thresholds"]
        pairs = zip(names, values, strict=True)
        return {name: float(value) for name, value in pairs if value >= np.float32(thresholds[name])}

    def compared(self, columns: Mapping[str, Sequence[str]]) -> Compared:
        names = tuple(name.removeprefix(IS) for name in columns if name.startswith(IS))

        def read(before: str) -> np.ndarray:
            return np.array([columns[before + name] for name in names], np.float64).T

        answers = np.stack([read(PROBABILITY), read(ANSWER)], axis=-1)
        return Compared(tuple(columns["key"]), names, read(IS), answers)

    def scores(self, found: Compared, draws: np.ndarray) -> dict[str, np.ndarray]:
        return label_scores.scores(found.truth > 0.5, found.answers[..., 0], found.answers[..., 1] > 0.5, draws)

    def is_greater_better(self, score: str) -> bool:
        del score
        return True


class BinnedAveragePrecision(keras.metrics.Metric):
    """Computes the mean average precision over the labels that some records carry.

    It counts the records with and without each label in bins of the scores, float32 (2, K, bins), which are exact up to
    2**24 records a bin. Scores in one bin count as equal. The bins are narrow where scores are near 0 and wider beyond
    SOFTNESS, so that also rare labels, whose scores are all negative, are told apart.
    """

    def __init__(
        self, labels: int, from_logits: bool = True, name: str = "mean_average_precision", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.labels, self._from_logits = labels, from_logits
        self.counted = self.add_variable(
            (2, labels, WIDE * NARROW), initializer="zeros", aggregation="only_first_replica", name="counted"
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        del sample_weight  # a record counts once, whatever its weight in the loss
        self.add(self.counts(y_true, y_pred))

    def counts(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the numbers of records with and without each label by bin."""
        scores = ops.cast(y_pred, "float32")
        if not self._from_logits:
            scores = logits_of(scores)
        place = 0.5 + 0.5 * scores / (SOFTNESS + ops.abs(scores))  # 0 to 1
        bins = ops.clip(ops.cast(place * WIDE * NARROW, "int32"), 0, WIDE * NARROW - 1)
        # Products of matrices count the same on every device in every run; sums by index need not.
        wide, narrow = ops.one_hot(bins // NARROW, WIDE), ops.one_hot(bins % NARROW, NARROW)
        carried = ops.cast(y_true, "float32")[..., None] * wide
        parts = [ops.einsum("bkw,bkn->kwn", part, narrow) for part in (carried, wide - carried)]
        return ops.reshape(ops.stack(parts), (2, self.labels, WIDE * NARROW))

    def add(self, counts: Any) -> None:
        """Adds the result of `counts`, which is the same on every replica."""
        self.counted.assign_add(counts)

    def result(self) -> Any:
        with_it, without = (ops.cumsum(ops.flip(part, -1), -1) for part in (self.counted[0], self.counted[1]))
        support = with_it[:, -1]
        gained = ops.flip(self.counted[0], -1)
        precision = with_it / ops.maximum(with_it + without, 1.0)
        found = ops.sum(gained * precision, axis=-1) / ops.maximum(support, 1.0)
        known = ops.cast((support > 0) & (without[:, -1] > 0), "float32")
        return ops.sum(found * known) / ops.maximum(ops.sum(known), 1.0)

    def reset_state(self) -> None:
        self.counted.assign(ops.zeros((2, self.labels, WIDE * NARROW)))
