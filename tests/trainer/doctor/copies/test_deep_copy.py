"""A copy of a model of one's own has weights of its own, and answers as the model does."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from trainer.doctor.copies.deep_copy import deep_copy

ROWS = np.random.default_rng(0).random((8, 6)).astype("float32")
TEXTS = tf.constant(["a b", "c d", "e f", "a d", "q w", "e r", "t y", "u i"])


class Block(layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units))
        super().build(shape)

    def call(self, rows):
        return tf.nn.relu(rows @ self.kernel)


class Parts(keras.Model):
    """Holds layers in a list, in a dictionary, twice, and a variable of TensorFlow."""

    def __init__(self):
        super().__init__()
        self.blocks = [Block(6), Block(6)]
        self.named = {"norm": layers.BatchNormalization(), "drop": layers.Dropout(0.5)}
        self.again = self.blocks[1]
        self.scale = tf.Variable(2.0)
        self.doubled = layers.Lambda(lambda rows: rows * 2)

    @tf.function
    def scaled(self, rows):
        return rows * self.scale

    def call(self, rows, training=None):
        for block in (*self.blocks, self.again):
            rows = self.scaled(block(rows))
        return self.doubled(self.named["drop"](self.named["norm"](rows, training=training), training=training))


class Texts(keras.Model):
    def __init__(self, vectors):
        super().__init__()
        self.vectors, self.words = vectors, layers.Embedding(20, 4)
        self.read = layers.Bidirectional(layers.LSTM(3))

    def call(self, texts):
        return self.read(self.words(self.vectors(texts)))


class Around(keras.Model):
    """Holds functional networks, of which one is 400 layers deep, and optimizers."""

    def __init__(self, first, deep):
        super().__init__()
        self.turned = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)])
        self.first, self.deep = first, deep
        self.own = keras.optimizers.Adam(0.5)

    def call(self, rows, training=None):
        self.turned(tf.reshape(rows, (-1, 2, 3, 1)), training=training)
        return self.deep(self.first(rows))


def parts():
    return Parts(), ROWS


def texts():
    vectors = layers.TextVectorization(output_sequence_length=5)
    vectors.adapt(TEXTS)
    return Texts(vectors), TEXTS


def around():
    end = inputs = keras.Input((2,))
    for _ in range(400):
        end = layers.Rescaling(1.0)(end)
    deep = keras.Model(inputs, layers.Dense(3)(end))
    return Around(keras.Sequential([keras.Input((6,)), layers.Dense(2)]), deep), ROWS


@pytest.mark.slow
@pytest.mark.parametrize("made", [parts, texts, around])
def test_a_copy_answers_alike_and_is_trained_alone(made):
    model, given = made()
    answers, before = np.asarray(model(given)), [np.asarray(weight) for weight in model.get_weights()]
    twin = deep_copy(model)
    assert not set(map(id, model.weights)) & set(map(id, twin.weights))
    assert [weight.shape for weight in twin.weights] == [weight.shape for weight in model.weights]
    np.testing.assert_array_equal(np.asarray(twin(given)), answers)
    twin.compile(keras.optimizers.SGD(0.1), "mse")
    twin.fit(given, np.zeros(answers.shape), epochs=1, verbose=0)
    assert any((a != b).any() for a, b in zip(twin.get_weights(), before, strict=True))
    for weight, value in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_a_compiled_model_keeps_its_optimizer_and_the_copy_has_none():
    model, rows = parts()
    model.compile("adam", "mse")
    model.fit(rows, np.zeros((8, 6)), verbose=0)
    twin = deep_copy(model)
    assert (twin.optimizer, twin.compiled, model.compiled) == (None, False, True)
    assert int(model.optimizer.iterations) == 1
    assert twin.again is twin.blocks[1]


@pytest.mark.slow
def test_keras_copies_by_its_own_way_afterwards():
    deep_copy(_built(around()[0]))
    twin = copy.deepcopy(_built(keras.Sequential([keras.Input((6,)), layers.Dense(2)])))
    assert len(twin.weights) == 2
    assert not hasattr(keras.Model, "__deepcopy__")
    with pytest.raises(TypeError, match="module"):
        copy.deepcopy(np)


def _built(model):
    model(ROWS)
    return model


def test_what_cannot_be_copied_is_an_error():
    model = _built(parts()[0])
    model.lines = (line for line in "ab")
    with pytest.raises(TypeError, match="generator"):
        deep_copy(model)
    assert not hasattr(keras.Model, "__deepcopy__")
