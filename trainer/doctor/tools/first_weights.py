"""Computes the values that enter the first layer with weights of a model.

These are the images after the scaling that the model does itself.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

NORMALIZING = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
)
SCALING = (keras.layers.Rescaling, keras.layers.Normalization)


@dataclasses.dataclass(frozen=True)
class Front:
    """Holds the values that enter the first layer with weights.

    values: float32 (n, ...), the images as they enter this layer.
    known: False for a model without a graph (subclassed). Then `values` are the images themselves.
    normalizes: True if one of the first two layers with weights is a normalization that adapts during training, as it
      often follows a convolution. Then the scale of the input matters little.
    scaling: names of the Rescaling and Normalization layers before the first layer with weights.
    """

    values: np.ndarray
    known: bool
    normalizes: bool
    scaling: tuple[str, ...]


def look(model: Any, images: np.ndarray) -> Front:
    """Returns the Front of a model for images (n, H, W, C) as the dataset gives them."""
    layers = flat_layers(model)
    weighted = [layer for layer in layers if has_weights(layer)]
    scaling = tuple(layer.name for layer in _before(layers, weighted) if isinstance(layer, SCALING))
    values, known = _values(model, images.astype(np.float32))
    parts = [part for layer in weighted[:2] for part in parts_of(layer)][:2]
    adapting = [layer for layer in parts if isinstance(layer, NORMALIZING) and _adapts(layer)]
    return Front(values, known, bool(adapting), scaling)


def flat_layers(model: Any) -> list[Any]:
    """Returns the layers of a model and of the models nested in it, in order."""
    found: list[Any] = []
    for layer in getattr(model, "layers", []):
        found += flat_layers(layer) if isinstance(layer, keras.Model) else [layer]
    return found


def has_weights(layer: Any) -> bool:
    """Returns whether a layer has weights that training sets, frozen or not.

    The weights of a Normalization layer are statistics of the data and do not count.
    """
    return bool(layer.weights) and not isinstance(layer, keras.layers.Normalization)


def parts_of(layer: Any) -> list[Any]:
    """Returns the layers with weights inside of a layer, else the layer itself."""
    inner = layer._flatten_layers(include_self=False)
    return [part for part in inner if has_weights(part) and not part._layers] or [layer]


def _before(layers: list[Any], weighted: list[Any]) -> list[Any]:
    return layers[: layers.index(weighted[0])] if weighted else layers


def _adapts(layer: Any) -> bool:
    """Returns whether a normalization layer adapts to its input.

    A frozen batch normalization does not: it applies its moving averages to any input.
    """
    return layer.trainable or not isinstance(layer, keras.layers.BatchNormalization)


def _values(model: Any, images: np.ndarray) -> tuple[np.ndarray, bool]:
    """Returns the values that enter the first layer with weights.

    It also returns whether they are known, and descends into nested models.
    """
    first = next((layer for layer in getattr(model, "layers", []) if layer.weights and _weighty(layer)), None)
    if first is None or not getattr(model, "inputs", None):
        return images, False
    try:
        entry = _input_in(model, first)
        before = keras.Model(_entry(model, images), entry)
        seen = images if entry is _entry(model, images) else np.asarray(before(images, training=False), np.float32)
    except (ValueError, AttributeError, IndexError):  # a layer that is used several times has no single input
        return images, False
    return _values(first, seen) if isinstance(first, keras.Model) else (seen, True)


def _input_in(model: Any, layer: Any) -> Any:
    """Returns the tensor that enters a layer of a model.

    The layer may be part of other models, too.

    Raises:
      ValueError: the model uses it several times, or has no graph.
    """
    graph = getattr(model, "_functional", None) or model
    own = {id(node) for nodes in getattr(graph, "_nodes_by_depth", {}).values() for node in nodes}
    entries = [node.input_tensors[0] for node in layer._inbound_nodes if id(node) in own]
    if len(entries) != 1:
        raise ValueError(f"The model has {len(entries)} calls of layer {layer.name!r}.")
    return entries[0]


def _entry(model: Any, images: np.ndarray) -> Any:
    """Returns the input of a model that the images go into, by the number of axes."""
    return next((tensor for tensor in model.inputs if len(tensor.shape) == images.ndim), model.inputs[0])


def _weighty(layer: Any) -> bool:
    return any(map(has_weights, flat_layers(layer))) if isinstance(layer, keras.Model) else has_weights(layer)


def entering(model: Any, layer: Any, images: np.ndarray) -> np.ndarray | None:
    """Returns the values that enter a layer for these images; None without a graph.

    The layer may be in the model or in a model nested in it.
    """
    try:
        if layer in model.layers:
            return np.asarray(keras.Model(_entry(model, images), layer.input)(images, training=False), np.float32)
        for nested in model.layers:
            if isinstance(nested, keras.Model) and layer in flat_layers(nested):
                entry = _input_in(model, nested)
                outer = keras.Model(_entry(model, images), entry)
                seen = (
                    images if entry is _entry(model, images) else np.asarray(outer(images, training=False), np.float32)
                )
                return entering(nested, layer, seen)
    except (ValueError, AttributeError, IndexError):
        return None
    return None
