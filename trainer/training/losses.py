"""Defines the losses that a training step minimizes.

All losses take the same targets, so that mixing of images and label smoothing work with each of them. A target is a
record's weight, distributed over the classes: all of it is on the record's class, or parts of it are on several classes
if images are mixed. Each loss is linear in the target. Therefore a record of weight 2 counts as two records, and a
mixed image counts as its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

SMALLEST = 1e-7  # smaller probabilities are raised to this: it is Keras's own epsilon


class ClassLoss(keras.losses.Loss):
    """Computes the mean over the batch of one of the losses in `config.LOSSES`.

    The formulas use targets t (B, C), log-probabilities log p = log softmax(scores) and pi, each class's share of the
    records in an epoch of training:

      ce:              - sum_c t_c log p_c
      weighted:        - sum_c w_c t_c log p_c, with w of `class_weights`
      focal:           - sum_c t_c (1 - p_c) ** gamma log p_c (Lin et al. 2017, "Focal Loss for Dense Object Detection",
                       equation 4; without their alpha: `weighted` exists for that)
      logit-adjusted:  - sum_c t_c log softmax(scores + log pi)_c (Menon et al. 2021, "Long-tail learning via logit
                       adjustment", equation 10 with tau = 1). The term log pi is part of the loss only. The scores
                       themselves are those of equally frequent classes, so their argmax minimizes the balanced error.

    Label smoothing e distributes the share e of a target evenly over all classes, after the weights of classes are
    applied.
    """

    def __init__(
        self, kind: str, priors: Sequence[float], *, from_logits: bool, gamma: float = 2.0, smoothing: float = 0.0
    ) -> None:
        """Creates the loss `kind` of `config.LOSSES`.

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
        if self._kind == "focal":
            # The base is never 0: there the slope of x ** gamma is infinite or undefined for gamma below 1.
            targets = targets * ops.power(ops.maximum(-ops.expm1(log_p), SMALLEST), self._gamma)
        return -ops.sum(targets * log_p, axis=-1)


def class_weights(priors: Sequence[float]) -> list[float]:
    """Computes the weight of each class for the weighted loss.

    The weight is records / (classes * records of the class), over the classes that have records; it is 0 for classes
    without records. The mean weight of a record is 1, so that the learning rate keeps its meaning (King and Zeng 2001;
    scikit-learn's "balanced").
    """
    present = sum(1 for prior in priors if prior)
    return [1 / (present * prior) if prior else 0.0 for prior in priors]


def log_priors(priors: Sequence[float]) -> list[float]:
    """Returns the natural logarithms of the priors.

    A class without records gets the logarithm of the rarest class that has some. It is never a target, and minus
    infinity times its target 0 would be NaN.
    """
    least = min(prior for prior in priors if prior)
    return [float(np.log(prior or least)) for prior in priors]
