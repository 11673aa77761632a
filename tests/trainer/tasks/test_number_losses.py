"""Losses and the epoch's score of numbers, against their formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.contract.task import Task
from tests.support.datasets import make_contract
from trainer.tasks.losses import NumberLoss
from trainer.tasks.regression import Regression

CONTRACT = make_contract(
    labels=(),
    task=Task("regression", ("age", "height"), (30.0, 170.0), (10.0, 20.0), (29.0, 171.0), (1.0, 90.0), (80.0, 210.0)),
)
LABELS = np.array([[40.0, 170.0], [20.0, 230.0]], np.float32)  # standardized: (1, 0) and (-1, 3)
SCORES = np.array([[0.5, 0.0], [-1.0, 1.0]], np.float32)  # errors: (0.5, 0) and (0, 2)


def value(kind, weights=None, scores=SCORES):
    targets = Regression().targets(CONTRACT, tf.constant(LABELS), None if weights is None else tf.constant(weights))
    return float(NumberLoss(kind)(targets, scores))


def test_each_loss_by_hand():
    assert value("mse") == pytest.approx((0.25 + 4) / 4)
    assert value("mae") == pytest.approx(2.5 / 4)
    assert value("huber") == pytest.approx((0.125 + 1.5) / 4)


def test_they_agree_with_those_of_keras():
    z = np.array([[1.0, 0.0], [-1.0, 3.0]], np.float32)
    assert value("huber") == pytest.approx(float(keras.losses.Huber()(z, SCORES)))
    assert value("mse") == pytest.approx(float(keras.losses.MeanSquaredError()(z, SCORES)))


def test_a_record_of_weight_two_counts_as_two_and_one_of_zero_not_at_all():
    weighted = value("mse", np.array([0.0, 2.0], np.float32))
    assert weighted == pytest.approx(2 * (4 / 2) / 2)
    scores = tf.constant(SCORES)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        targets = Regression().targets(CONTRACT, tf.constant(LABELS), tf.constant([0.0, 2.0]))
        loss = NumberLoss("mae")(targets, scores)
    np.testing.assert_array_equal(tape.gradient(loss, scores)[0], [0, 0])


def test_a_mixed_image_has_the_mean_of_the_numbers():
    targets = Regression().targets(CONTRACT, tf.constant(LABELS), None)
    mixed = 0.25 * targets[:1] + 0.75 * targets[1:]
    right = np.array([[0.25 * 1 - 0.75 * 1, 0.75 * 3]], np.float32)
    assert float(NumberLoss("mse")(mixed, right)) == pytest.approx(0, abs=1e-12)


def test_the_epochs_score_is_in_standard_deviations():
    metric = Regression().metric(CONTRACT, from_logits=True)
    metric.add(metric.counts(tf.constant(LABELS[:1]), SCORES[:1]))
    metric.add(metric.counts(tf.constant(LABELS[1:]), SCORES[1:]))
    assert float(metric.result()) == pytest.approx(2.5 / 4)
    metric.reset_state()
    assert float(metric.result()) == 0
