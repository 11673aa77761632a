"""Reads the metrics that a model is compiled with, and asks them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

PLAIN = ("accuracy", "acc")
BINARY = ("binary_accuracy", "binaryaccuracy")
OF_CLASSES = (
    *PLAIN, *BINARY, "categorical_accuracy", "sparse_categorical_accuracy", "categoricalaccuracy",
    "sparsecategoricalaccuracy",
)  # fmt: skip


def given(model: Any) -> list[Any]:
    """Returns the metrics of compile(metrics=...), strings or objects."""
    compiled = getattr(model, "_compile_metrics", None)
    found = keras.tree.flatten(getattr(compiled, "_user_metrics", None) or [])
    return [metric for metric in found if metric is not None]


def names(model: Any) -> list[str]:
    """Returns the names of these metrics in lower case."""
    return [name(metric).lower() for metric in given(model)]


def name(metric: Any) -> str:
    """Returns the name of a metric as a history has it."""
    named = metric if isinstance(metric, str) else getattr(metric, "name", None) or getattr(metric, "__name__", "")
    return str(named)


def value(metric: Any, labels: np.ndarray, outputs: np.ndarray) -> float | None:
    """Returns what a metric object or function says of some answers.

    The state of an object is as it was afterwards. It returns None where the metric raises an exception, or says
    something else than a finite number.
    """
    try:
        if not isinstance(metric, keras.metrics.Metric):
            found = metric(tf.constant(labels), tf.constant(outputs))
        else:
            with _Kept([metric]):
                metric.reset_state()
                metric.update_state(tf.constant(labels), tf.constant(outputs))
                found = np.array(metric.result())
        said = float(np.mean(np.asarray(found, np.float64)))
    except Exception:  # a metric of the program's own may raise anything
        return None
    return said if np.isfinite(said) else None


def values(model: Any, labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    """Returns what the metrics of a model say of some answers, by name.

    Their state is as it was afterwards. It returns {} where one of them raises an exception.
    """
    try:
        with _Kept(model.metrics):
            model.reset_metrics()
            found = model.compute_metrics(None, tf.constant(labels), tf.constant(outputs))
        return {str(key): float(one) for key, one in found.items() if np.ndim(one) == 0}
    except Exception:
        return {}


class _Kept:
    """Gives metrics the state back that they had before a block."""

    def __init__(self, metrics: list[Any]) -> None:
        self._values = [(variable, np.array(variable)) for metric in metrics for variable in metric.variables]

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for variable, before in self._values:
            variable.assign(before)
