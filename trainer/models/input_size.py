"""Makes a network for another input size, of the same layers and weights.

A network of convolutions with a global pooling behind them has no weight that depends on the size of its images. Keras
builds it for one size all the same, so for another size its graph is built again, out of the very same layers.
"""

from __future__ import annotations

import re
from typing import Any

import keras

from pipelines.core.text import first_line
from trainer.config import TrainerError

_COLOUR = re.compile(r"\x1b\[\d*m")
_CALL = "Exception encountered when calling"  # begins the first line of an error of a layer


def at_size(network: keras.Model, size: int) -> keras.Model:
    """Returns a network of the same layers that takes images of another size.

    Args:
      network: functional or sequential; maps float32 (B, H, W, C) to outputs (B, K).
      size: side of the images in pixels.

    Returns:
      The network itself if it takes this size already. What one of the two learns, the other has learned, too.

    Raises:
      TrainerError: a layer takes images of one size only; the message names it.
    """
    known = len(getattr(network, "inputs", None) or [])
    if known != 1:
        raise _unknown(network, f"Keras knows {known} inputs of it")
    height, width, channels = network.input_shape[1:]
    if (height, width) == (size, size):
        return network
    inputs = keras.Input((size, size, channels), name="image")
    output = _called(network, inputs, f"{size}x{size}")
    if output.shape != network.output_shape:
        raise _refusal(network, f"{size}x{size}", f"its outputs have the shape {output.shape[1:]} at this size")
    return keras.Model(inputs, output, name=network.name)


def _called(network: keras.Model, inputs: keras.KerasTensor, size: str) -> keras.KerasTensor:
    """Returns the output of a network for symbolic images of another size.

    Nested networks are built again, too.
    """

    def call(layer: Any, *given: Any, **options: Any) -> Any:
        if isinstance(layer, keras.Model):
            own = keras.Input(given[0].shape[1:], dtype=given[0].dtype)
            layer = keras.Model(own, _called(layer, own, size), name=layer.name)
        try:
            made = layer(*given, **options)
        except (ValueError, TypeError) as e:
            raise _refusal(layer, size, _reason(e)) from e
        if any(side == 0 for output in keras.tree.flatten(made) for side in output.shape[1:]):
            raise _refusal(layer, size, "nothing is left of the images there")
        return made

    if isinstance(network, keras.Sequential):
        for layer in network.layers:
            inputs = call(layer, inputs)
        return inputs
    try:
        return keras.models.clone_model(network, inputs, lambda layer: layer, call_function=call).output
    except TrainerError:
        raise
    except ValueError as e:
        raise _unknown(network, first_line(e)) from e


def _unknown(network: keras.Model, why: str) -> TrainerError:
    return TrainerError(
        f"--train-size A:B needs a functional or sequential network with one input. {network.name!r} is built "
        f"otherwise ({why}). Give one size."
    )


def _reason(error: Exception) -> str:
    """Returns what Keras says of a layer.

    The line that names the call is left out, and so are colours.
    """
    lines = _COLOUR.sub("", str(error)).splitlines()
    return first_line(ValueError("\n".join(line for line in lines if not line.startswith(_CALL)))).rstrip(".")


def _refusal(layer: Any, size: str, why: str) -> TrainerError:
    return TrainerError(
        f"--train-size A:B needs a network that takes images of every size, such as convolutions and a global pooling "
        f"behind them. At {size} pixels the layer {layer.name!r} does not: {why}. Give one size, or begin with a "
        "larger one."
    )
