"""Labels that TensorFlow spreads over the outputs of all images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.doctor.subject.training import Place
from trainer.doctor.tools.broadcasts import Broadcasts, Spread

LINE = Place("train.py", 7, "loss = ...")
LABELS = tf.constant(np.linspace(0, 1, 16), tf.float32)


def mean_of_logs(labels, outputs):
    return -tf.reduce_mean(labels * tf.math.log(tf.sigmoid(outputs) + 1e-7))


def seen(loss, outputs=(16, 1), labels=LABELS):
    broadcasts = Broadcasts(lambda: LINE)
    weights = tf.Variable(tf.ones(outputs))
    with tf.GradientTape() as tape:
        given = weights * 0.5
        broadcasts.begin(given)
        value = loss(labels, given)
    tape.gradient(value, weights)
    return broadcasts.end()


@pytest.mark.parametrize(
    "loss",
    [
        lambda labels, outputs: tf.reduce_mean(tf.square(labels - outputs)),
        lambda labels, outputs: tf.reduce_mean(tf.math.squared_difference(outputs, labels)),
        lambda labels, outputs: keras.ops.mean(keras.ops.square(outputs - labels)),
        mean_of_logs,
    ],
)
def test_an_operation_that_spreads_labels(loss):
    assert seen(loss) == Spread((16, 1), (16,), LINE)


def test_labels_with_the_axis_that_the_outputs_lack():
    assert seen(lambda labels, outputs: labels[:, None] - outputs, (16,)) == Spread((16,), (16, 1), LINE)


@pytest.mark.parametrize(
    ("loss", "outputs"),
    [
        (lambda labels, outputs: tf.square(labels - outputs[:, 0]), (16, 1)),
        (lambda labels, outputs: tf.square(labels[:, None] - outputs), (16, 1)),
        (lambda labels, outputs: tf.square(labels - outputs), (16,)),
        (lambda labels, outputs: keras.losses.MeanSquaredError()(labels, outputs), (16, 1)),
        (lambda labels, outputs: outputs - tf.squeeze(outputs), (16, 1)),  # each answer against each other one
        (lambda labels, outputs: outputs * labels[:5], (5, 1, 1)),
        (lambda labels, outputs: outputs + labels[:3], (16, 3)),
        (lambda labels, outputs: tf.cast(outputs > labels, tf.float32), (16, 1)),  # a metric
        (lambda labels, outputs: outputs * 2.0 - labels[:1], (16, 1)),
    ],
)
def test_shapes_that_fit(loss, outputs):
    assert seen(loss, outputs) is None


def test_what_is_no_output_of_the_model_is_not_followed():
    broadcasts = Broadcasts(lambda: LINE)
    broadcasts.begin({"a": LABELS})
    broadcasts.begin(tf.ones((16, 2)))
    _ = tf.ones((16, 1)) - LABELS
    assert broadcasts.end() is None


def test_nothing_is_followed_after_the_end():
    broadcasts = Broadcasts(lambda: LINE)
    outputs = tf.ones((16, 1))
    broadcasts.begin(outputs)
    assert broadcasts.end() is None
    _ = outputs - LABELS
    assert broadcasts.found is None
