"""Reads the head of a model and its loss: units, activation, kind of loss."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from trainer.doctor.finding import NotApplicable
from trainer.doctor.subject.subject import Subject

SOFTMAX, SIGMOID, LINEAR = "softmax", "sigmoid", "linear"
SPARSE, CATEGORICAL, BINARY = "sparse", "categorical", "binary"
SUM_TOLERANCE = 1e-3  # the float16 outputs of a softmax sum to 1 within this tolerance


@dataclasses.dataclass(frozen=True)
class Head:
    """Describes the last layer of a model.

    units: number of outputs for each image.
    activation: SOFTMAX, SIGMOID, LINEAR or the name of another.
    name: of the layer that gives the outputs.
    """

    units: int
    activation: str
    name: str


@dataclasses.dataclass(frozen=True)
class Loss:
    """Describes the loss that a model is compiled with.

    kind: SPARSE, CATEGORICAL or BINARY cross-entropy, including their focal forms.
    name: as Keras spells it.
    """

    kind: str
    name: str
    from_logits: bool


def head_of(subject: Subject) -> Head:
    """Returns the head of the subject's model.

    Raises:
      NotApplicable: the model does not give one row of numbers for each image.
    """
    outputs = subject.outputs
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    if outputs.ndim != 2:
        raise NotApplicable(f"the model gives outputs of shape {outputs.shape[1:]}, not one number a class")
    activation, name = _last_activation(subject.model)
    return Head(outputs.shape[1], activation or _by_values(outputs), name)


def activation_of(subject: Subject) -> str:
    """Returns the activation of the outputs, which may have any shape.

    Raises:
      NotApplicable: there is no model or no image, or the model has several outputs.
    """
    outputs = subject.outputs
    return _last_activation(subject.model)[0] or _by_values(outputs.reshape(-1, outputs.shape[-1]))


def loss_of(model: Any) -> Loss:
    """Returns the loss that a model is compiled with.

    Raises:
      NotApplicable: the loss is not a cross-entropy of Keras.
    """
    given = model.loss
    while isinstance(given, dict | list | tuple) and len(given) == 1:
        given = next(iter(given.values())) if isinstance(given, dict) else given[0]
    loss = keras.losses.get(given) if isinstance(given, str) else given
    function = getattr(loss, "fn", loss)
    name = str(getattr(function, "__name__", type(loss).__name__))
    kind = next((k for k in (SPARSE, CATEGORICAL, BINARY) if name.startswith(k) and name.endswith("crossentropy")), "")
    if not kind:
        raise NotApplicable(f"the loss is {name}, and no cross-entropy of Keras")
    from_logits = getattr(loss, "from_logits", None)
    if from_logits is None:
        from_logits = getattr(loss, "_fn_kwargs", {}).get("from_logits", False)
    return Loss(kind, name, bool(from_logits))


def _last_activation(model: Any) -> tuple[str, str]:
    """Returns the activation and the name of the operation that gives the output.

    The activation is "" where the operation does not show it.
    """
    operation = _last_operation(model)
    name = str(getattr(operation, "name", ""))
    if type(operation).__name__ in ("Softmax", "Sigmoid", "Tanh", "Relu", "ReLU"):
        return type(operation).__name__.lower(), name
    activation = getattr(operation, "activation", None)
    if activation is not None:
        spelled = str(getattr(activation, "__name__", type(activation).__name__)).lower()
        return ("" if spelled == "<lambda>" else spelled), name
    if isinstance(operation, keras.layers.Dense):
        return LINEAR, name
    return "", name


def _last_operation(model: Any) -> Any:
    try:
        operation = model.outputs[0]._keras_history.operation
    except (AttributeError, IndexError, TypeError, ValueError):  # a subclassed model has no graph
        return None
    return _last_operation(operation) if isinstance(operation, keras.Model) else operation


def _by_values(outputs: np.ndarray) -> str:
    """Guesses the activation from the outputs.

    Rows that sum to 1 come from SOFTMAX, other numbers in 0..1 from SIGMOID, and all others from LINEAR.
    """
    if outputs.min() >= 0 and outputs.max() <= 1:
        return SOFTMAX if np.allclose(outputs.sum(axis=1), 1, atol=SUM_TOLERANCE) else SIGMOID
    return LINEAR
