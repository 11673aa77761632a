"""Defines the losses of all kinds of tasks.

Each is linear in the target, as the kinds (`classes`, `multi_label`, `regression`) explain. Therefore a record of
weight 2 counts as two records, and a mixed image counts as its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from trainer.config import ORDINAL
from trainer.tasks.class_weights import class_weights, log_priors, positive_weights
from trainer.tasks.head_problems import HUBER

LEAST_LOG = -1e9  # stands for minus infinity, whose slope would be undefined
SMALLEST = 1e-7  # smaller probabilities are raised to this: it is Keras's own epsilon
LEAST_WEIGHT = 1e-12  # a record of weight 0 is divided by this
ASYMMETRIC_GAMMA, MARGIN = 4.0, 0.05  # of the paper's experiments, with an exponent of 0 for labels that are there


class ClassLoss(keras.losses.Loss):
    """Computes the mean over the batch of one of the losses in `config.CLASS_LOSSES`.

    The formulas use targets t (B, C), log-probabilities log p = log softmax(scores) and pi, each class's share of the
    records in an epoch of training:

      ce:              - sum_c t_c log p_c
      weighted:        - sum_c w_c t_c log p_c, with w of `class_weights`
      focal:           - sum_c t_c (1 - p_c) ** gamma log p_c (Lin et al. 2017, "Focal Loss for Dense Object Detection",
                       equation 4; without their alpha: `weighted` exists for that)
      logit-adjusted:  - sum_c t_c log softmax(scores + log pi)_c (Menon et al. 2021, "Long-tail learning via logit
                       adjustment", equation 10 with tau = 1). The term log pi is part of the loss only. The scores
                       themselves are those of equally frequent classes, so their argmax minimizes the balanced error.

      ordinal:         - sum_k (t_{>k} log p_{>k} + t_{<=k} log p_{<=k}) over the C - 1 cuts k between neighbouring
                       grades, where t_{>k} and p_{>k} are the sums over the classes above the cut. It asks of each cut
                       whether the grade is above it (Frank and Hall 2001, "A Simple Approach to Ordinal
                       Classification"). The answers to these questions never contradict each other, as Cao et al. 2020
                       ("Rank consistent ordinal regression") demand, because all come of the same probabilities.

    Label smoothing e distributes the share e of a target evenly over all classes, after the weights of classes are
    applied.
    """

    def __init__(
        self, kind: str, priors: Sequence[float], *, from_logits: bool, gamma: float = 2.0, smoothing: float = 0.0
    ) -> None:
        """Creates the loss `kind` of `config.CLASS_LOSSES`.

        Args:
          kind: name of the loss.
          priors: pi, by label id; they sum to 1.
          from_logits: False if the scores are probabilities.
          gamma: exponent of the focal loss.
          smoothing: e of label smoothing.
        """
        super().__init__(name=kind.replace("-", "_"), reduction="sum_over_batch_size", dtype="float32")
        self._kind, self._from_logits, self._gamma, self._smoothing = kind, from_logits, gamma, smoothing
        self._weights = np.asarray(class_weights(priors), np.float32)
        self._log_priors = np.asarray(log_priors(priors), np.float32)

    def call(self, targets: Any, scores: Any) -> Any:
        """Returns the loss of each record, float32 (B,).

        Args:
          targets: float32 (B, C).
          scores: float32 (B, C).
        """
        if not self._from_logits:
            scores = ops.log(ops.clip(scores, SMALLEST, 1.0))
        if self._kind == "logit-adjusted":
            scores = scores + self._log_priors
        if self._kind == "weighted":
            targets = targets * self._weights
        if self._smoothing:
            mass = ops.sum(targets, axis=-1, keepdims=True)
            targets = (1 - self._smoothing) * targets + self._smoothing / targets.shape[-1] * mass
        log_p = ops.log_softmax(scores)
        if self._kind == ORDINAL:
            return self._of_cuts(targets, log_p)
        if self._kind == "focal":
            # The base is never 0: there the slope of x ** gamma is infinite or undefined for gamma below 1.
            targets = targets * ops.power(ops.maximum(-ops.expm1(log_p), SMALLEST), self._gamma)
        return -ops.sum(targets * log_p, axis=-1)

    def _of_cuts(self, targets: Any, log_p: Any) -> Any:
        grades = np.arange(log_p.shape[-1])
        above = grades[None, :] > grades[:-1, None]  # (C - 1, C): whether a class is above a cut
        loss = 0.0
        for side in (above, ~above):
            of_side = ops.logsumexp(log_p[:, None, :] + np.where(side, 0.0, LEAST_LOG).astype(np.float32), axis=-1)
            loss = loss - ops.sum(ops.matmul(targets, side.T.astype(np.float32)) * of_side, axis=-1)
        return loss


class LabelLoss(keras.losses.Loss):
    """Computes the mean over batch and labels of a loss in `config.LABEL_LOSSES`.

    The formulas use the weights a of a record with the label and b of one without, and p = sigmoid(score):

      ce:          - a log p - b log (1 - p)
      weighted:    - v a log p - b log (1 - p), with v = records without the label / records with it, 100 at most
      focal:       - a (1 - p) ** gamma log p - b p ** gamma log (1 - p) (Lin et al. 2017, "Focal Loss for Dense Object
                   Detection", equation 4)
      asymmetric:  - a log p - b q ** 4 log (1 - q), with q = max(p - 0.05, 0) (Ridnik et al. 2021, "Asymmetric Loss For
                   Multi-Label Classification", equations 5 to 7 with the exponents 0 and 4)

    Label smoothing e gives the share e / 2 of a record's weight to the label and to its absence.
    """

    def __init__(
        self, kind: str, priors: Sequence[float], *, from_logits: bool, gamma: float = 2.0, smoothing: float = 0.0
    ) -> None:
        """Creates the loss `kind` of `config.LABEL_LOSSES`.

        Args:
          kind: name of the loss.
          priors: the share of the records that carry each label.
          from_logits: False if the scores are probabilities.
          gamma: exponent of the focal loss.
          smoothing: e of label smoothing.
        """
        super().__init__(name=kind, reduction="sum_over_batch_size", dtype="float32")
        self._kind, self._from_logits, self._gamma, self._smoothing = kind, from_logits, gamma, smoothing
        self._weights = np.asarray(positive_weights(priors), np.float32)

    def call(self, targets: Any, scores: Any) -> Any:
        """Returns the loss of each record, float32 (B,).

        Args:
          targets: float32 (B, 2 K), the weights a of all labels and then their weights b.
          scores: float32 (B, K).
        """
        if not self._from_logits:
            scores = logits_of(scores)
        labels = scores.shape[-1]
        with_it, without = targets[:, :labels], targets[:, labels:]
        if self._smoothing:
            half = self._smoothing / 2 * (with_it + without)
            with_it, without = ((1 - self._smoothing) * part + half for part in (with_it, without))
        log_p, log_not = ops.log_sigmoid(scores), ops.log_sigmoid(-scores)
        if self._kind == "weighted":
            with_it = with_it * self._weights
        elif self._kind == "focal":
            # The bases are never 0: there the slope of x ** gamma is infinite or undefined for gamma below 1.
            with_it = with_it * ops.power(ops.maximum(ops.exp(log_not), SMALLEST), self._gamma)
            without = without * ops.power(ops.maximum(ops.exp(log_p), SMALLEST), self._gamma)
        elif self._kind == "asymmetric":
            q = ops.maximum(ops.exp(log_p) - MARGIN, 0.0)
            without, log_not = without * ops.power(q, ASYMMETRIC_GAMMA), ops.log1p(-q)
        return -ops.mean(with_it * log_p + without * log_not, axis=-1)


class NumberLoss(keras.losses.Loss):
    """Computes the mean over batch and numbers of one of `config.NUMBER_LOSSES`.

    With the error e in standard deviations of train, mse: e ** 2; mae: |e|; huber: e ** 2 / 2 up to 1 and |e| - 1 / 2
    from there (Huber 1964, "Robust Estimation of a Location Parameter").
    """

    def __init__(self, kind: str) -> None:
        super().__init__(name=kind, reduction="sum_over_batch_size", dtype="float32")
        self._kind = kind

    def call(self, targets: Any, scores: Any) -> Any:
        """Returns the loss of each record, float32 (B,).

        Args:
          targets: float32 (B, K + 1), the standardized numbers times the weight, and the weight.
          scores: float32 (B, K), standardized.
        """
        weight = targets[:, -1:]
        error = ops.abs(scores - targets[:, :-1] / ops.maximum(weight, LEAST_WEIGHT))
        if self._kind == "mse":
            error = ops.square(error)
        elif self._kind == "huber":
            error = ops.where(error <= HUBER, ops.square(error) / 2, HUBER * (error - HUBER / 2))
        return weight[:, 0] * ops.mean(error, axis=-1)


def logits_of(probabilities: Any) -> Any:
    """Returns the logits of probabilities, float32 of the same shape."""
    inside = ops.clip(probabilities, SMALLEST, 1 - SMALLEST)
    return ops.log(inside) - ops.log1p(-inside)
