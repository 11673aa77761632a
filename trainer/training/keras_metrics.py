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


class RunningMean(keras.metrics.Mean):
    """Computes the mean of values that are the same on every replica.

    Therefore it is read without a message to the other replicas.
    """

    def add_variable(self, *args: Any, **kwargs: Any) -> Any:
        return super().add_variable(*args, **{**kwargs, "aggregation": "only_first_replica"})
