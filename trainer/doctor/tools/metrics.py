"""Reads the metrics that a model is compiled with."""

from __future__ import annotations

from typing import Any

import keras


def given(model: Any) -> list[Any]:
    """Returns the metrics of compile(metrics=...), strings or objects."""
    compiled = getattr(model, "_compile_metrics", None)
    found = keras.tree.flatten(getattr(compiled, "_user_metrics", None) or [])
    return [metric for metric in found if metric is not None]


def names(model: Any) -> list[str]:
    """Returns the names of these metrics in lower case."""
    return [_name(metric) for metric in given(model)]


def _name(metric: Any) -> str:
    name = metric if isinstance(metric, str) else getattr(metric, "name", None) or getattr(metric, "__name__", "")
    return str(name).lower()
