"""Loops whose layers are in no model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from trainer.doctor.watching.watched_loop import LayerCall, chain

ROWS = tf.constant(np.random.default_rng(0).normal(size=(8, 3)), tf.float32)


def called(*stack, between=lambda x: x):
    calls, x = [], ROWS
    for layer in stack:
        made = layer(x)
        calls.append(LayerCall(layer, x, made))
        x = between(made)
    return calls


def test_layers_that_follow_each_other_are_a_model_with_their_weights():
    first, last = layers.Dense(4, activation="tanh"), layers.Dense(1)
    calls = called(first, layers.Dropout(0.5), last)
    model = chain(calls)
    assert np.array_equal(model(ROWS), calls[-1].outputs)
    assert [id(weight) for weight in model.weights] == [id(weight) for weight in (*first.weights, *last.weights)]


@pytest.mark.parametrize(
    "calls",
    [
        list,
        lambda: called(layers.Dense(4), layers.Dense(1), between=tf.nn.relu),
        lambda: called(*[layers.Dense(3)] * 2)[::-1],
        lambda: [LayerCall(layers.Add(), [ROWS, ROWS], ROWS)],
    ],
)
def test_what_is_no_chain(calls):
    assert chain(calls()) is None


def test_words_keep_their_type():
    words = np.arange(8).reshape(2, 4)
    layer = layers.Embedding(9, 2)
    model = chain([LayerCall(layer, words, layer(words))])
    assert keras.tree.map_structure(lambda part: part.dtype, model.inputs) == ["int64"]
