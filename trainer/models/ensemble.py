"""Joins networks into one, which answers with their mean."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from trainer.models import build

SMALLEST = 1e-7  # smaller probabilities are raised to this before their logarithm is taken: it is Keras's own epsilon


def mean(networks: Sequence[keras.Model], activation: str) -> keras.Model:
    """Returns a network whose outputs are the mean of those of several networks.

    Of networks that end in logits or numbers it is the mean of these. Of networks that end in probabilities it is the
    logits of their mean. So the result never ends in an activation.

    Args:
      networks: built for the same dataset; their names are changed.
      activation: "softmax" or "sigmoid", in which the networks may end, or "".
    """
    inputs = keras.Input(networks[0].input_shape[1:], name="images")
    outputs = []
    for number, network in enumerate(networks):
        network.name = f"fold_{number}"
        outputs.append(network(inputs))
    joined = keras.layers.Average(name="mean")(outputs) if len(outputs) > 1 else outputs[0]
    if not all(build.gives_logits(network, activation) for network in networks):
        below = keras.ops.log(keras.ops.maximum(joined, SMALLEST))
        if activation == "sigmoid":
            below = below - keras.ops.log(keras.ops.maximum(1 - joined, SMALLEST))
        joined = below
    return keras.Model(inputs, joined, name="mean_of_folds")
