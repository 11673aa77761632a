"""Computes means over an epoch on the device, equally on every replica."""

from __future__ import annotations

from typing import Any

import keras


class RunningMean(keras.metrics.Mean):
    """Computes the mean of values that are the same on every replica.

    Therefore it is read without a message to the other replicas.
    """

    def add_variable(self, *args: Any, **kwargs: Any) -> Any:
        return super().add_variable(*args, **{**kwargs, "aggregation": "only_first_replica"})
