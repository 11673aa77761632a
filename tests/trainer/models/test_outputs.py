"""Logits and probabilities of a network, whether it ends in softmax or not."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from trainer.models import outputs


def dense(activation: str | None) -> keras.Model:
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation=activation)])


def test_logits_are_the_outputs_of_a_network_without_softmax():
    network, values = dense(None), tf.constant([[3.0], [-1.0]])
    np.testing.assert_array_equal(outputs.logits_function(network)(values), network(values))


def test_of_softmax_the_logits_are_finite_logarithms():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Softmax()])
    given = outputs.logits_function(network)(tf.constant([[0.0, np.log(3)], [0.0, 1000.0]], tf.float32))
    np.testing.assert_allclose(given, np.log([[0.25, 0.75], [outputs.SMALLEST, 1]]), rtol=1e-6)


def test_softmax_outputs_are_not_softmaxed_again():
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
    given = outputs.probabilities_function(network)(tf.constant([[3.0]]))
    np.testing.assert_allclose(given, network(tf.constant([[3.0]])), rtol=1e-6)


def test_a_temperature_for_a_network_that_ends_in_softmax():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Softmax()])
    given = outputs.probabilities_function(network, 2.0)(tf.constant([[0.0, 2 * np.log(3)]], tf.float32))
    np.testing.assert_allclose(given, [[0.25, 0.75]], rtol=1e-6)
