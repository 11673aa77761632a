"""Operations whose gradient is NaN at 0, and the same with a margin."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from tests.support.doctor import batches, doctor, ids, only
from trainer.doctor.probes.training import finite_gradients

RNG = np.random.default_rng(0)
X = RNG.random((64, 6), np.float32)
X[5] = X[40] = 0
Y = (X.sum(axis=1) > 3).astype(np.int64)


@keras.saving.register_keras_serializable("test_finite_gradients")
class Length(layers.Layer):
    """Puts the length of each row beside it."""

    def __init__(self, margin=0.0, **options):
        super().__init__(**options)
        self.margin = margin

    def call(self, x):
        squares = tf.reduce_sum(tf.square(x), axis=-1, keepdims=True)
        return tf.concat([x, tf.sqrt(squares + self.margin)], axis=-1)

    def get_config(self):
        return super().get_config() | {"margin": self.margin}


def network(front=None, loss="sparse_categorical_crossentropy", last="softmax"):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x = layers.Dense(4, use_bias=False)(inputs)
    x = x if front is None else front(x)
    model = keras.Model(inputs, layers.Dense(2, activation=last)(x))
    model.compile(keras.optimizers.Adam(0.01), loss)
    return model


def report(model, **more):
    return doctor(*finite_gradients.PROBES, dataset=batches(X, Y, shuffle=False), model=model, **more)


def length(x):
    return ops.concatenate([x, ops.sqrt(ops.sum(x * x, axis=-1, keepdims=True))], axis=-1)


def margin(x):
    return ops.concatenate([x, ops.sqrt(ops.sum(x * x, axis=-1, keepdims=True) + 1e-12)], axis=-1)


def test_a_square_root_of_0_in_a_layer():
    found = only(report(network(Length())), "gradient-not-finite")
    assert found.what == "the square root has no gradient at 0, and gets it: the gradients are NaN or infinite"
    assert found.evidence.startswith("Before the first step, the loss of a batch is 0.")
    assert found.evidence.endswith("NaN or infinite: the square root gets 1 value at 0.")
    assert found.place.startswith("test_finite_gradients.py:")
    assert found.place.endswith(": return tf.concat([x, tf.sqrt(squares + self.margin)], axis=-1)")


def test_a_square_root_of_0_in_the_graph_of_a_model():
    assert "the square root" in only(report(network(length)), "gradient-not-finite").what


def by_hand(y, p):
    return -tf.reduce_mean(tf.math.log(tf.gather(p, tf.cast(tf.reshape(y, [-1]), tf.int32), axis=1, batch_dims=1)))


def hidden_by_where(y, p):
    apart = p - tf.stop_gradient(p)
    return tf.reduce_mean(tf.where(apart > 0, tf.math.log(apart), p))


def test_a_logarithm_that_where_hides_from_the_loss():
    found = only(report(network(loss=hidden_by_where)), "gradient-not-finite")
    assert found.place.endswith("return tf.reduce_mean(tf.where(apart > 0, tf.math.log(apart), p))")


def test_a_logarithm_that_comes_to_0_after_some_steps():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(2, activation="softmax")])
    model.compile(keras.optimizers.Adam(100.0), by_hand)
    found = only(report(model, past={"loss": (0.7, float("nan"))}), "gradient-not-finite")
    assert "the logarithm has no gradient at 0" in found.what
    assert "steps on a copy, the loss of a batch is" in found.evidence
    assert found.place.startswith("test_finite_gradients.py:")


@pytest.mark.parametrize(
    "model",
    [
        lambda: network(Length(1e-12)),
        lambda: network(margin),
        lambda: network(loss=by_hand),
        lambda: network(loss=lambda y, p: tf.reduce_mean(tf.square(tf.cast(y, tf.float32) - p))),
        network,
    ],
)
def test_networks_that_keep_a_margin_are_left_alone(model):
    assert ids(report(model())) == []


def test_a_rate_that_is_far_too_high_is_no_fault_of_an_operation():
    model = network()
    model.compile(keras.optimizers.SGD(1e30), "sparse_categorical_crossentropy")
    assert ids(report(model, past={"loss": (0.7, float("nan"))})) == []


def shares(x):
    return ops.concatenate([x, x / ops.sum(ops.abs(x), axis=-1, keepdims=True)], axis=-1)


def test_a_division_by_0():
    found = only(report(network(shares)), "gradient-not-finite")
    assert found.what == (
        "the division has no gradient at a divisor of 0, and gets it: the gradients are NaN or infinite"
    )
    assert found.fix.startswith("Write tf.math.divide_no_nan(a, b)")
