"""Faults in model and training, and three more healthy set-ups."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf
from doctor_cases import SIDE, SPARSE, compiled, floats, given, net, pair
from doctor_registry import Given, Room, fault, healthy
from keras import layers

from tests.support.doctor import batches, unit
from trainer.models import networks

SHAPE = (SIDE, SIDE, 3)


def stack(*inner, optimizer="adam"):  # type: ignore[no-untyped-def]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(SHAPE), *inner, layers.Dense(6)])
    model.compile(optimizer, SPARSE)
    return model


def with_optimizer(optimizer):  # type: ignore[no-untyped-def]
    model = net(6)
    model.compile(optimizer, SPARSE)
    return model


def residual(norm=None, dropout=None):  # type: ignore[no-untyped-def]
    """A small network with batch norm and dropout, each wrapped if asked for."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(16, 3, strides=2)(inputs)
    x = (norm or (lambda layer: layer))(layers.BatchNormalization(momentum=0.9))(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    x = (dropout or (lambda layer: layer))(layers.Dropout(0.4))(x)
    return compiled(keras.Model(inputs, layers.Dense(6)(x)))


@keras.saving.register_keras_serializable("doctor_cases")
class Always(layers.Layer):
    """Forgets to pass the mode on."""

    def __init__(self, inner, **kwargs):  # type: ignore[no-untyped-def]
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, x):  # type: ignore[no-untyped-def]
        return self.inner(x, training=True)


@keras.saving.register_keras_serializable("doctor_cases")
class Quantize(layers.Layer):
    """A step function: it has no slope."""

    def call(self, x):  # type: ignore[no-untyped-def]
        return tf.round(x * 4) / 4


@fault("Adam with a learning rate of 1e-7", "learning-rate-low")
def _(room: Room) -> Given:
    return given(pair(room), model=with_optimizer(keras.optimizers.Adam(1e-7)))


@fault("Adam with a learning rate of 10", "learning-rate-high")
def _(room: Room) -> Given:
    return given(pair(room), model=with_optimizer(keras.optimizers.Adam(10.0)))


@fault("all layers frozen", "nothing-to-train")
def _(room: Room) -> Given:
    model = net(6)
    model.trainable = False
    return given(pair(room), model=compiled(model))


@fault("a rounding between the layers", "no-gradient")
def _(room: Room) -> Given:
    model = stack(
        layers.Conv2D(8, 3, activation="tanh"), layers.Conv2D(8, 3), Quantize(), layers.GlobalAveragePooling2D()
    )
    model.layers[-1].trainable = False
    return given(pair(room), model=compiled(model))


@fault("a dead ReLU layer", "dead-units")
def _(room: Room) -> Given:
    dead = layers.Conv2D(16, 3, activation="relu", bias_initializer=keras.initializers.Constant(-50))
    return given(pair(room), model=stack(layers.Conv2D(8, 3, activation="relu"), dead, layers.GlobalAveragePooling2D()))


@fault("a network that lets nothing through", "cannot-memorize")
def _(room: Room) -> Given:
    return given(pair(room), model=stack(layers.AveragePooling2D(SIDE), layers.Rescaling(0.0, 0.5), layers.Flatten()))


@fault("a layer of two units before the head", "capacity-small")
def _(room: Room) -> Given:
    return given(pair(room), model=stack(layers.Conv2D(16, 3, 2, activation="relu"), layers.Flatten(), layers.Dense(2)))


@fault("Flatten into Dense: 16 million parameters for 360 images", "capacity-large")
def _(room: Room) -> Given:
    return given(pair(room), model=stack(layers.Conv2D(64, 3, activation="relu"), layers.Flatten(), layers.Dense(64)))


@fault("a head that begins with large biases", "loss-at-start")
def _(room: Room) -> Given:
    model = net(6)
    model.layers[-1].bias.assign([30.0, 0, 0, 0, 0, 0])
    return given(pair(room), model=model)


@fault("twelve sigmoid layers", "gradients-vanish")
def _(room: Room) -> Given:
    return given(pair(room), model=stack(layers.Flatten(), *[layers.Dense(32, "sigmoid") for _ in range(12)]))


@fault("initial weights twelve times too large", "gradients-explode")
def _(room: Room) -> Given:
    wild = keras.initializers.RandomNormal(stddev=1.5, seed=0)
    hidden = [layers.Dense(64, "relu", kernel_initializer=wild) for _ in range(4)]
    return given(pair(room), model=stack(layers.Flatten(), *hidden))


@fault("dropout that is on at evaluation", "dropout-at-evaluation")
def _(room: Room) -> Given:
    return given(pair(room), model=residual(dropout=Always))


@fault("batch norm on the batch's statistics at evaluation", "batch-statistics-at-evaluation")
def _(room: Room) -> Given:
    return given(pair(room), model=residual(norm=Always))


@fault("batch norm of momentum 0.999 in the place of scaling, after 35 steps", "batch-norm-lags")
def _(room: Room) -> Given:
    parts = pair(room)
    model = stack(
        layers.BatchNormalization(momentum=0.999), layers.Conv2D(16, 3, strides=2, activation="relu"),
        layers.GlobalAveragePooling2D(), optimizer=keras.optimizers.Adam(0.01),
    )  # fmt: skip
    model.fit(batches(floats(parts[0]), parts[1], 32), epochs=5, verbose=0)
    return given(parts, floats, model=model)


@fault("batches of one image with batch norm", "batch-norm-alone")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    return {"dataset": (batches(unit(x), y, 1), batches(unit(vx), vy, 32)), "model": residual()}


LOSS = tuple(2.0 * 0.8**i for i in range(12))
COURSES = {
    "NaN": ("diverged", {"loss": (1.8, 1.5, math.nan)}),
    "a loss that jumps": ("learning-rate-high", {"loss": (1.8, 1.5, 2.4, 1.6, 2.6, 1.7, 2.5)}),
    "a loss that hardly falls": ("learning-rate-low", {"loss": tuple(1.8 - 0.002 * i for i in range(10))}),
    "overfitting": (
        "overfitting",
        {"loss": LOSS, "val_loss": (2, 1.5, 1.2, 1.1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8)},
    ),
    "a rate that compounds": (
        "rate-vanishes",
        {"loss": LOSS, "learning_rate": tuple(0.01 * 0.5 ** (i * (i + 1)) for i in range(12))},
    ),
    "underfitting": ("underfitting", {"loss": (2.5, 1.81, 1.8, 1.79, 1.79, 1.8, 1.79, 1.79)}),
}


def _history(past: dict[str, tuple[float, ...]]):  # type: ignore[no-untyped-def]
    return lambda room: given(pair(room), past=past)


for _name, (_id, _past) in COURSES.items():
    fault(f"history: {_name}", _id)(_history(_past))


@healthy("trashnet, batch norm and dropout, SGD with momentum, gradient clipping")
def _(room: Room) -> Given:
    model = residual()
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=1.0), SPARSE)
    return given(pair(room), model=model)


@healthy("trashnet, learning-rate schedule, frozen first layers")
def _(room: Room) -> Given:
    model = net(6)
    model.layers[0].trainable = False
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, 1000)), SPARSE)
    return given(pair(room), model=model)


@healthy("trashnet, a network that was trained for a while, with its history")
def _(room: Room) -> Given:
    parts = pair(room)
    model = networks.small_cnn(SHAPE, 6)
    model.compile(keras.optimizers.Adam(2e-3), SPARSE, metrics=["accuracy"])
    x, y, vx, vy = parts
    past = model.fit(unit(x), y, 32, epochs=15, validation_data=(unit(vx), vy), verbose=0).history
    return given(parts, model=model, past={name: tuple(np.asarray(v, float)) for name, v in past.items()})


@keras.saving.register_keras_serializable("doctor_cases")
class Length(layers.Layer):
    """Puts the length of each row beside it, with a margin or without."""

    def __init__(self, margin, **kwargs):  # type: ignore[no-untyped-def]
        super().__init__(**kwargs)
        self.margin = margin

    def call(self, x):  # type: ignore[no-untyped-def]
        return tf.concat([x, tf.sqrt(tf.reduce_sum(x * x, axis=-1, keepdims=True) + self.margin)], axis=-1)

    def get_config(self):  # type: ignore[no-untyped-def]
        return super().get_config() | {"margin": self.margin}


def with_length(room: Room, margin: float) -> Given:
    parts = [part.copy() for part in pair(room)]
    parts[0][7] = 0  # a black photograph: its features are 0
    features = [layers.Conv2D(16, 3, strides=2, activation="relu"), layers.GlobalAveragePooling2D()]
    return given(parts, model=stack(*features, Length(margin)))


@fault("the square root of a length of 0", "gradient-not-finite")
def _(room: Room) -> Given:
    return with_length(room, 0.0)


class Summing(keras.Model):
    """Applies the sum of the gradients of two batches."""

    def __init__(self, reset, **options):  # type: ignore[no-untyped-def]
        super().__init__(**options)
        self.reset, self.count = reset, tf.Variable(0, trainable=False)
        self.sums = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in self.trainable_variables]

    def train_step(self, data):  # type: ignore[no-untyped-def]
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        for total, gradient in zip(self.sums, tape.gradient(loss, self.trainable_weights), strict=True):
            total.assign_add(gradient / 2)
        self.count.assign_add(1)
        tf.cond(self.count % 2 == 0, self.apply, lambda: None)
        return {"loss": loss}

    def apply(self):  # type: ignore[no-untyped-def]
        self.optimizer.apply_gradients(zip(self.sums, self.trainable_variables, strict=True))
        for total in self.sums:
            total.assign(tf.zeros_like(total) if self.reset else total)


def summing(reset: bool) -> keras.Model:
    plain = net(6)
    return compiled(Summing(reset, inputs=plain.inputs, outputs=plain.outputs))


@fault("sums of gradients that are never set back", "gradients-not-reset")
def _(room: Room) -> Given:
    return given(pair(room), model=summing(False))


@healthy("trashnet, a train_step that sums gradients and sets them back")
def _(room: Room) -> Given:
    return given(pair(room), model=summing(True))
