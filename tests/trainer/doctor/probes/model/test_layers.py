"""The layers of a model: each fault in a small network, and its healthy twin."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.support.doctor import batches, doctor, ids, only
from trainer.doctor.probes.model import layers as probes

IMAGES = np.random.default_rng(0).random((64, 16, 16, 3), np.float32)
LABELS = np.arange(64) % 3


def network(*stack, trained=False):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((16, 16, 3)), *stack, layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    if trained:
        model.optimizer.iterations.assign(10)
    return model


def of(*stack, images=IMAGES, **more):
    return doctor(*probes.PROBES, dataset=((images, LABELS), (images, LABELS)), model=network(*stack, **more))


def dense(activation="relu", **more):
    return [layers.Flatten(), layers.Dense(16, activation=activation, **more)]


def conv(activation="relu"):
    return [layers.Conv2D(4, 3, activation=activation), layers.GlobalAveragePooling2D()]


def big(scale):
    return keras.initializers.RandomNormal(stddev=scale, seed=0)


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        (lambda: dense(None), ["no-activation"]),
        (lambda: conv(None), ["no-activation"]),
        (lambda: [layers.Conv2D(4, 3), layers.MaxPooling2D(), layers.Flatten()], []),  # the greatest is not linear
        (dense, []),
        (lambda: [layers.Flatten()], []),  # one layer is meant to be linear
        (lambda: [*dense(), layers.Dropout(0.9)], ["dropout-high"]),
        (lambda: [*dense(), layers.Dropout(0.5)], []),
        (lambda: dense(kernel_initializer="zeros"), ["weights-constant"]),
        (lambda: dense(kernel_initializer="ones"), ["weights-constant"]),
        (lambda: dense("tanh", kernel_initializer=big(20.0)), ["units-saturated"]),
        (lambda: dense("sigmoid", kernel_initializer=big(20.0)), ["units-saturated"]),
        (lambda: dense("tanh"), []),
        (lambda: [layers.RandomBrightness(0.3), *conv()], ["augmentation-value-range"]),
        (lambda: [layers.RandomBrightness(0.3, value_range=(0, 1)), *conv()], []),
        (lambda: [layers.Rescaling(255.0), layers.RandomBrightness(0.3), *conv()], []),
        (lambda: dense("softmax"), ["softmax-hidden"]),
        (lambda: [*dense("softmax"), layers.Dropout(0.2), layers.BatchNormalization()], ["softmax-hidden"]),
        (lambda: [*dense(None), layers.Softmax(), layers.Dense(8, "relu")], ["softmax-hidden"]),
        (lambda: dense(dtype="float16"), ["float16-weights"]),
        (lambda: dense(dtype="mixed_float16"), []),
    ],
)
def test_layers(stack, expected):
    assert ids(of(*stack())) == expected


def test_a_softmax_that_weighs_something_is_left_alone():
    given = keras.Input((16, 16, 3))
    rows = layers.Dense(8, activation="relu")(layers.Reshape((16, 48))(given))
    shares = layers.Dense(1, activation="softmax")(rows)
    weighed = layers.Dot(1)([rows, shares])
    model = keras.Model(given, layers.Dense(3, activation="softmax")(layers.Flatten()(weighed)))
    model.compile("adam", "sparse_categorical_crossentropy")
    assert ids(doctor(*probes.PROBES, dataset=(IMAGES, LABELS), model=model)) == []


def test_a_trained_model_may_have_any_weights():
    assert ids(of(*dense(kernel_initializer="zeros"), trained=True)) == []


def test_images_of_0_to_255_need_the_default_range():
    layer = layers.RandomBrightness(0.3, value_range=(0, 1))
    assert ids(of(layer, *conv(), images=IMAGES * 255)) == ["augmentation-value-range"]
    assert ids(of(layers.RandomBrightness(0.3), *conv(), images=IMAGES * 255)) == []


def test_the_layer_of_a_map():
    def given(layer):
        return batches(IMAGES, LABELS).map(lambda x, y: (layer(x, training=True), y))

    wrong, right = layers.RandomBrightness(0.1), layers.RandomBrightness(0.1, value_range=(0, 1))
    found = only(doctor(*probes.PROBES, dataset=given(wrong), model=network(*conv())), "augmentation-value-range")
    assert "in a map of the dataset" in found.evidence
    assert ids(doctor(*probes.PROBES, dataset=given(right), model=network(*conv()))) == []


@pytest.mark.parametrize(("frozen", "learned", "expected"), [(True, False, ["frozen-random"]), (True, True, []),
                                                            (False, False, [])])  # fmt: skip
def test_a_backbone_that_was_never_trained(frozen, learned, expected):
    backbone = [layers.Conv2D(32, 3, activation="relu"), layers.Conv2D(32, 3, activation="relu")]
    model = network(*backbone, layers.GlobalAveragePooling2D())
    for layer in model.layers[:2]:
        if learned:
            layer.set_weights([np.random.default_rng(0).normal(0, 0.05, w.shape) for w in layer.get_weights()])
        layer.trainable = not frozen
    model.compile("adam", "sparse_categorical_crossentropy")
    assert ids(doctor(*probes.PROBES, dataset=(IMAGES, LABELS), model=model)) == expected
    model.optimizer.iterations.assign(20)  # trained: what is frozen is as before
    assert ids(doctor(*probes.PROBES, dataset=(IMAGES, LABELS), model=model)) == expected


# ---- sequences


def words(length, filled, behind=True):
    """int32 (64, length): sequences of `filled` words, and zeros behind or before them."""
    rows = np.zeros((64, length), np.int32)
    rows[:, slice(filled) if behind else slice(length - filled, None)] = np.random.default_rng(0).integers(
        1, 9, (64, filled)
    )
    return rows


def of_words(rows, *stack, mask=False):
    keras.utils.set_random_seed(0)
    embedding = layers.Embedding(9, 4, mask_zero=mask)
    model = keras.Sequential([keras.Input(rows.shape[1:]), embedding, *stack, layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return doctor(*probes.PROBES, dataset=((rows, LABELS), (rows, LABELS)), model=model)


@pytest.mark.parametrize(
    ("rows", "stack", "mask", "expected"),
    [
        (words(60, 10), lambda: [layers.LSTM(4)], False, ["padding-unmasked"]),
        (words(60, 10), lambda: [layers.Dropout(0.1), layers.GRU(4)], False, ["padding-unmasked"]),
        (
            words(60, 10),
            lambda: [layers.LSTM(4, return_sequences=True), layers.SimpleRNN(4)],
            False,
            ["padding-unmasked"],
        ),
        (words(60, 10), lambda: [layers.LSTM(4)], True, []),
        (words(60, 10, behind=False), lambda: [layers.LSTM(4)], False, []),
        (words(60, 45), lambda: [layers.LSTM(4)], False, []),  # 15 steps are bridged
        (words(60, 10), lambda: [layers.GlobalAveragePooling1D()], False, []),
        (words(60, 10), lambda: [layers.LSTM(4, return_sequences=True), layers.GlobalMaxPooling1D()], False, []),
        (words(60, 10), lambda: [layers.LSTM(4, go_backwards=True)], False, []),
    ],
)
def test_padding_that_nothing_masks(rows, stack, mask, expected):
    assert ids(of_words(rows, *stack(), mask=mask)) == expected


# ---- variables


@keras.saving.register_keras_serializable("tests")
class Scaled(layers.Layer):
    """Multiplies by a variable that Keras does or does not know."""

    def __init__(self, tracked, **more):
        super().__init__(**more)
        self.tracked = tracked

    def build(self, shape):
        if self.tracked:
            self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        else:
            self.scale = tf.Variable(np.ones(shape[-1], np.float32), name="scale")
            self.seen = tf.Variable(0, trainable=False)

    def call(self, inputs):
        return inputs * self.scale


@pytest.mark.parametrize(("tracked", "expected"), [(False, ["variables-untracked"]), (True, [])])
def test_variables_of_an_own_layer(tracked, expected):
    report = of(*dense(), Scaled(tracked))
    assert ids(report) == expected
    if expected:
        assert "1 tf.Variable is not among" in report.findings[0].evidence
        assert "scaled.scale" in report.findings[0].evidence
