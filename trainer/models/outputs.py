"""Reads the outputs of any network as logits or as probabilities."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from trainer.models import build

SMALLEST = 1e-37  # the smallest probability whose logarithm is taken: just above float32's subnormal numbers


def logits_function(network: keras.Model, activation: str = "softmax") -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the network as a function from normalized images to logits.

    float32 (B, H, W, channels) -> float32 (B, C). The activation of the logits gives the network's outputs. If the
    network ends in softmax, the logits are the logarithms of its probabilities.

    Args:
      activation: "softmax" or "sigmoid", in which the network may end, or "" if it has to end without one.
    """
    logits = build.gives_logits(network, activation)

    def function(images: tf.Tensor) -> tf.Tensor:
        outputs = tf.cast(network(images, training=False), tf.float32)
        if logits:
            return outputs
        logarithms = tf.math.log(tf.maximum(outputs, SMALLEST))
        return logarithms - tf.math.log(tf.maximum(1 - outputs, SMALLEST)) if activation == "sigmoid" else logarithms

    return function


def probabilities_function(network: keras.Model, temperature: float = 1.0) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the network as a function from normalized images to probabilities.

    float32 (B, H, W, channels) -> float32 (B, C).

    Args:
      temperature: the temperature of the run's calibration, a divisor of the logits.
    """
    logits = logits_function(network)

    def probabilities(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(logits(images) / temperature)

    return probabilities
