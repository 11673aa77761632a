"""Defines the convex problems that fit a last layer, one for each kind of task.

`training.linear_head` solves them. Scores are those of a linear head, before the activation.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np
import scipy  # loads its parts when they are first used: they take a quarter of a second

from pipelines.contract import Contract
from trainer.config import TrainConfig
from trainer.data import class_sampling
from trainer.evaluation.scores import label_scores
from trainer.tasks.class_weights import class_weights, log_priors, positive_weights

HUBER = 1.0  # standard deviations: from this error on the loss is linear
NEARLY_ABSOLUTE = 0.01  # the same for the absolute error, which has no slope at 0


class Head(abc.ABC):
    """Says what a linear head of C outputs should minimize.

    outputs: C.
    """

    outputs: int

    @abc.abstractmethod
    def weights(self, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Returns how much each record counts, float64 (N,), 1 in total.

        Args:
          labels: as the loader gives them. weights: float64 (N,), of the records.
        """

    @abc.abstractmethod
    def targets(self, labels: np.ndarray) -> np.ndarray:
        """Returns what the scores are compared with, float64 (N, C)."""

    @abc.abstractmethod
    def objective(self, scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Returns the loss, and its slope by the scores, (N, C)."""

    @abc.abstractmethod
    def judged(self, scores: np.ndarray, labels: np.ndarray) -> float:
        """Returns the loss on validation, by which the penalty is chosen."""

    @abc.abstractmethod
    def scored(self, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> dict[str, float]:
        """Returns the columns of metrics.csv, "loss" and the score of an epoch."""


class ClassHead(Head):
    """Fits the logistic regression of the classes."""

    def __init__(self, factors: np.ndarray, shift: np.ndarray, smoothing: float = 0.0) -> None:
        """Creates the problem.

        Args:
          factors: float64 (C,), how much a record of each class counts.
          shift: float64 (C,), added to the scores while fitting only.
          smoothing: share of each target that is spread evenly over the classes.
        """
        self.outputs = len(factors)
        self._factors, self._shift, self._smoothing = factors, shift, smoothing

    def weights(self, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
        found = weights * self._factors[labels]
        return np.asarray(found / found.sum())

    def targets(self, labels: np.ndarray) -> np.ndarray:
        return np.asarray(np.eye(self.outputs)[labels] * (1 - self._smoothing) + self._smoothing / self.outputs)

    def objective(self, scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = scipy.special.log_softmax(scores + self._shift, axis=1)
        loss = -np.sum(weights * np.sum(targets * log_p, axis=1))
        return float(loss), weights[:, None] * (np.exp(log_p) - targets)

    def judged(self, scores: np.ndarray, labels: np.ndarray) -> float:
        """Returns the mean loss of the classes, which count equally."""
        found = _losses(scores, labels)
        return float(np.mean([found[labels == label].mean() for label in np.unique(labels)]))

    def scored(self, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> dict[str, float]:
        loss = float(np.average(_losses(scores, labels), weights=weights))
        return {"loss": loss, "balanced_accuracy": balanced_accuracy(scores, labels)}


class LabelHead(Head):
    """Fits a logistic regression for each label."""

    def __init__(self, present: np.ndarray, smoothing: float = 0.0) -> None:
        """Creates the problem.

        Args:
          present: float64 (K,), how much a record counts that carries the label; one without it counts 1.
          smoothing: share of each target that is given evenly to the label and to its absence.
        """
        self.outputs = len(present)
        self._present, self._smoothing = present, smoothing

    def weights(self, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
        del labels
        return np.asarray(weights / weights.sum())

    def targets(self, labels: np.ndarray) -> np.ndarray:
        return np.asarray(labels.astype(np.float64) * (1 - self._smoothing) + self._smoothing / 2)

    def objective(self, scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Returns the sum over the labels, so that each is fitted as if it were alone."""
        with_it, without = self._present * targets, 1 - targets
        each = with_it * np.logaddexp(0.0, -scores) + without * np.logaddexp(0.0, scores)
        p = scipy.special.expit(scores)
        return float(weights @ each.sum(axis=1)), weights[:, None] * (without * p - with_it * (1 - p))

    def judged(self, scores: np.ndarray, labels: np.ndarray) -> float:
        return self.objective(scores, labels.astype(np.float64), np.full(len(labels), 1 / len(labels)))[0]

    def scored(self, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> dict[str, float]:
        loss, _ = self.objective(scores, labels.astype(np.float64), weights / weights.sum())
        truth = labels > 0.5
        found = label_scores.average_precisions(truth, scipy.special.expit(scores), np.ones((1, len(labels))))
        return {"loss": loss / self.outputs, "mean_average_precision": float(label_scores.mean(found)[0])}


class NumberHead(Head):
    """Fits a linear regression for each number, in standard deviations of train."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], bend: float = np.inf) -> None:
        """Creates the problem.

        Args:
          mean, std: of the numbers of train.
          bend: the error from which on the loss is linear; below it is squared.
        """
        self.outputs = len(mean)
        self._mean, self._std, self._bend = np.array(mean), np.array(std), bend

    def weights(self, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
        del labels
        return np.asarray(weights / weights.sum())

    def targets(self, labels: np.ndarray) -> np.ndarray:
        return np.asarray((labels.astype(np.float64) - self._mean) / self._std)

    def objective(self, scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Returns the sum over the numbers of half the squared error, or of the bent one."""
        error = scores.astype(np.float64) - targets
        size = np.abs(error)
        if np.isinf(self._bend):
            each, slope = error**2 / 2, error
        else:
            each = np.where(size <= self._bend, error**2 / 2, self._bend * (size - self._bend / 2)) / self._bend
            slope = np.clip(error / self._bend, -1, 1)
        return float(weights @ each.sum(axis=1)), weights[:, None] * slope

    def judged(self, scores: np.ndarray, labels: np.ndarray) -> float:
        return self.objective(scores, self.targets(labels), np.full(len(labels), 1 / len(labels)))[0]

    def scored(self, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> dict[str, float]:
        targets = self.targets(labels)
        loss, _ = self.objective(scores, targets, weights / weights.sum())
        squared = 2 if np.isinf(self._bend) else 1  # the loss `mse` is the whole square
        error = float(np.abs(scores - targets).mean())
        return {"loss": squared * loss / self.outputs, "mean_absolute_error": error}


def of_classes(config: TrainConfig, contract: Contract) -> ClassHead:
    """Returns the problem of classes, with the weights that the options give."""
    priors = class_sampling.priors(contract, config.resample)
    shift = np.array(log_priors(priors)) if config.loss == "logit-adjusted" else np.zeros(len(priors))
    return ClassHead(class_factors(config, contract), shift, config.label_smoothing)


def of_labels(config: TrainConfig, priors: Sequence[float]) -> LabelHead:
    """Returns the problem of several labels an image.

    Args:
      priors: the share of the records that carry each label.
    """
    present = positive_weights(priors) if config.loss == "weighted" else [1.0] * len(priors)
    return LabelHead(np.array(present), config.label_smoothing)


def of_numbers(loss: str, contract: Contract) -> NumberHead:
    """Returns the problem of numbers.

    Args:
      loss: one of `config.NUMBER_LOSSES`.
    """
    bend = {"mse": np.inf, "huber": HUBER, "mae": NEARLY_ABSOLUTE}[loss]
    return NumberHead(contract.task.mean, contract.task.std, bend)


def class_factors(config: TrainConfig, contract: Contract) -> np.ndarray:
    """Returns how much a record of each class counts, float64 (C,).

    It is the weight of --resample and --loss together.
    """
    stored = class_sampling.counts(contract)
    drawn = class_sampling.epoch_counts(contract, config.resample)
    factors = np.array([d / s if s else 0.0 for d, s in zip(drawn, stored, strict=True)])
    if config.loss == "weighted":
        factors = factors * class_weights(class_sampling.priors(contract, config.resample))
    return factors


def balanced_accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean recall of the classes that have records."""
    right = scores.argmax(1) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def _losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    log_p = np.asarray(scipy.special.log_softmax(scores.astype(np.float64), axis=1))
    return np.asarray(-log_p[np.arange(len(labels)), labels])
