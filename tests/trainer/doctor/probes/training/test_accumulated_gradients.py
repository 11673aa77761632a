"""Gradients that a train_step sums up, set back or not."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.support.doctor import batches, doctor, ids, only
from trainer.doctor.probes.training import accumulated_gradients

X = np.random.default_rng(0).random((64, 6), np.float32)
Y = (X.sum(axis=1) > 3).astype(np.int64)


class Summing(keras.Model):
    """A model that applies the sum of the gradients of some batches."""

    def __init__(self, reset, every=4, **options):
        super().__init__(**options)
        self.reset, self.every = reset, every
        self.count = tf.Variable(0, trainable=False)
        self.sums = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in self.trainable_variables]

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        if self.reset == "before":
            tf.cond(self.count % self.every == 0, self.clear, lambda: None)
        self.count.assign_add(1)
        for total, gradient in zip(self.sums, tape.gradient(loss, self.trainable_weights), strict=True):
            total.assign_add(gradient)
        tf.cond(self.count % self.every == 0, self.step, lambda: None)
        return {"loss": loss}

    def step(self):
        self.optimizer.apply_gradients(zip(self.sums, self.trainable_variables, strict=True))
        if self.reset == "after":
            self.clear()

    def clear(self):
        for total in self.sums:
            total.assign(tf.zeros_like(total))


class Squares(keras.Model):
    """A model with an optimizer of its own, which sums the squares of the gradients."""

    def __init__(self, **options):
        super().__init__(**options)
        self.squares = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in self.trainable_variables]

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_weights)
        for total, gradient in zip(self.squares, gradients, strict=True):
            total.assign_add(gradient * gradient)
        scaled = [g / (tf.sqrt(s) + 1e-7) for g, s in zip(gradients, self.squares, strict=True)]
        self.optimizer.apply_gradients(zip(scaled, self.trainable_variables, strict=True))
        return {"loss": loss}


def model(kind, *arguments):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    hidden = layers.Dense(8, activation="relu")(inputs)
    made = kind(*arguments, inputs=inputs, outputs=layers.Dense(2, activation="softmax")(hidden))
    made.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    return made


def report(made):
    return doctor(*accumulated_gradients.PROBES, dataset=batches(X, Y), model=made)


def test_sums_that_are_never_set_back():
    made = model(Summing, "")
    before = made.get_weights()
    found = only(report(made), "gradients-not-reset")
    assert found.what == "train_step adds gradients to sums and never sets them back to 0"
    assert "in each of 12 steps, 4 variables of sums grew by" in found.evidence
    assert "the optimizer applied gradients 3 times meanwhile" in found.evidence
    assert all(np.array_equal(a, b) for a, b in zip(before, made.get_weights(), strict=True))
    assert all(not np.any(total) for total in made.sums)
    assert (int(made.count), int(made.optimizer.iterations)) == (0, 0)


def test_a_model_that_is_right_on_all_rows_has_no_gradients_of_its_own():
    """Two units hold how far the sum of a row lies above and below 3."""
    made = model(Summing, "")
    front, head = np.zeros((6, 8), np.float32), np.zeros((8, 2), np.float32)
    front[:, 0], front[:, 1], head[0, 1], head[1, 0] = 1, -1, 1e6, 1e6
    made.set_weights([front, np.array([-3, 3] + [0] * 6), head, np.zeros(2)])
    with tf.GradientTape() as tape:
        loss = made.compute_loss(X, Y, made(X, training=True))
    assert not any(np.any(gradient) for gradient in tape.gradient(loss, made.trainable_weights))
    only(report(made), "gradients-not-reset")


@pytest.mark.parametrize("reset", ["before", "after"])
@pytest.mark.parametrize("every", [1, 4, 16])
def test_sums_that_are_set_back(reset, every):
    assert ids(report(model(Summing, reset, every))) == []


def test_sums_of_squares_and_plain_models_are_left_alone():
    assert ids(report(model(Squares))) == []
    assert ids(report(model(keras.Model))) == []
