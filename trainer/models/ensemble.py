"""Joins networks into one, which answers with their mean."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from pipelines.contract import Contract
from trainer.models import build, view

SMALLEST = 1e-7  # smaller probabilities are raised to this before their logarithm is taken: it is Keras's own epsilon


def mean(networks: Sequence[keras.Model], activation: str, contract: Contract) -> keras.Model:
    """Returns a network whose outputs are the mean of those of several networks.

    Of networks that end in logits or numbers it is the mean of these. Of networks that end in probabilities it is the
    logits of their mean. So the result never ends in an activation. Networks that see a view of the images are joined
    behind one view.

    Args:
      networks: built for the same dataset with the same options; the names of what they are made of are changed.
      activation: "softmax" or "sigmoid", in which the networks may end, or "".
      contract: of the dataset.
    """
    cores = [view.core(network) for network in networks]
    inputs = keras.Input(cores[0].input_shape[1:], name="images")
    outputs = []
    for number, core in enumerate(cores):
        core.name = f"fold_{number}"
        outputs.append(core(inputs))
    joined = keras.layers.Average(name="mean")(outputs) if len(outputs) > 1 else outputs[0]
    if not all(build.gives_logits(core, activation) for core in cores):
        below = keras.ops.log(keras.ops.maximum(joined, SMALLEST))
        if activation == "sigmoid":
            below = below - keras.ops.log(keras.ops.maximum(1 - joined, SMALLEST))
        joined = below
    whole = keras.Model(inputs, joined, name="mean_of_folds")
    return whole if cores[0] is networks[0] else view.viewed(whole, contract)
