"""Computes the metrics of an epoch on the device, while it trains or validates.

They are the same on every replica of a distributed training.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class BalancedAccuracy(keras.metrics.Metric):
    """Computes the mean recall over the classes seen so far, without class weights.

    It is `metrics.balanced_accuracy` as a running Keras metric. It takes int labels (B,) and scores (B, C), logits or
    probabilities. It keeps a confusion matrix float32 (C, C), which counts exactly up to 2**24 records a cell.
    """

    def __init__(self, classes: int, name: str = "balanced_accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.classes = classes
        self.matrix = self.add_variable(
            (classes, classes), initializer="zeros", aggregation="only_first_replica", name="matrix"
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        del sample_weight  # a record counts once, whatever its weight in the loss
        self.add(self.confusion(y_true, y_pred))

    def confusion(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the counts of true class (row) and predicted class: float32 (C, C)."""
        true = ops.one_hot(ops.reshape(y_true, (-1,)), self.classes, dtype="float32")
        given = ops.one_hot(ops.argmax(y_pred, axis=-1), self.classes, dtype="float32")
        return ops.matmul(ops.transpose(true), given)

    def add(self, matrix: Any) -> None:
        """Adds a matrix of `confusion`, which is the same on every replica."""
        self.matrix.assign_add(matrix)

    def result(self) -> Any:
        support = ops.sum(self.matrix, axis=1)
        recall = ops.diagonal(self.matrix) / ops.maximum(support, 1.0)
        return ops.sum(recall) / ops.maximum(ops.sum(ops.cast(support > 0, "float32")), 1.0)

    def reset_state(self) -> None:
        self.matrix.assign(ops.zeros((self.classes, self.classes)))


class RunningMean(keras.metrics.Mean):
    """Computes the mean of values that are the same on every replica.

    Therefore it is read without a message to the other replicas.
    """

    def add_variable(self, *args: Any, **kwargs: Any) -> Any:
        return super().add_variable(*args, **{**kwargs, "aggregation": "only_first_replica"})
