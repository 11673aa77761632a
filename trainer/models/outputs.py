"""Reads a network's outputs as logits and as probabilities, whatever its last layer is."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from trainer.models import build

SMALLEST = 1e-37  # a probability counts as at least this much in its logarithm: above float32's subnormal numbers


def logits_function(network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the network as a function from normalized images to logits.

    float32 (B, H, W, 3) -> float32 (B, C), whose softmax are the network's probabilities. Where the network ends in
    softmax, they are the logarithms of its probabilities.
    """
    logits = build.gives_logits(network)

    def function(images: tf.Tensor) -> tf.Tensor:
        outputs = tf.cast(network(images, training=False), tf.float32)
        return outputs if logits else tf.math.log(tf.maximum(outputs, SMALLEST))

    return function


def probabilities_function(network: keras.Model, temperature: float = 1.0) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the network as a function from normalized images to probabilities.

    float32 (B, H, W, 3) -> float32 (B, C).

    Args:
      temperature: of the run's calibration; logits are divided by it.
    """
    logits = logits_function(network)

    def probabilities(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(logits(images) / temperature)

    return probabilities
