"""Losses and the epoch's score of several labels, against their formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import LABEL_LOSSES
from trainer.evaluation.scores import label_scores
from trainer.tasks.class_weights import positive_weights
from trainer.tasks.losses import LabelLoss
from trainer.tasks.multi_label import BinnedAveragePrecision

SCORES = np.array([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0]], np.float32)
TRUTH = np.array([[1.0, 0, 0], [0, 1, 1]], np.float32)
TARGETS = np.concatenate([TRUTH, 1 - TRUTH], axis=1)
PRIORS = (0.5, 0.2, 0.1)
P = 1 / (1 + np.exp(-SCORES.astype(np.float64)))


def value(kind, targets=TARGETS, scores=SCORES, **options):
    return float(LabelLoss(kind, PRIORS, **{"from_logits": True, **options})(targets, scores))


def test_each_loss_by_hand():
    of_truth = np.where(TRUTH > 0, P, 1 - P)
    assert value("ce") == pytest.approx(-np.log(of_truth).mean(), rel=1e-6)
    weights = np.where(TRUTH > 0, [1.0, 4.0, 9.0], 1.0)
    assert value("weighted") == pytest.approx(-(weights * np.log(of_truth)).mean(), rel=1e-6)
    assert value("focal") == pytest.approx(-((1 - of_truth) ** 2 * np.log(of_truth)).mean(), rel=1e-6)
    q = np.maximum(P - 0.05, 0)
    asymmetric = np.where(TRUTH > 0, np.log(P), q**4 * np.log1p(-q))
    assert value("asymmetric") == pytest.approx(-asymmetric.mean(), rel=1e-6)


def test_it_agrees_with_those_of_keras():
    keras_ce = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.3)
    assert value("ce", smoothing=0.3) == pytest.approx(float(keras_ce(TRUTH, SCORES)), rel=1e-5)
    keras_focal = keras.losses.BinaryFocalCrossentropy(gamma=1.5, from_logits=True)
    assert value("focal", gamma=1.5) == pytest.approx(float(keras_focal(TRUTH, SCORES)), rel=1e-5)


@pytest.mark.parametrize("kind", LABEL_LOSSES)
def test_a_target_counts_as_its_parts_and_probabilities_as_their_logits(kind):
    parts = [value(kind, TARGETS * share) for share in np.array([[[2.0], [0.5]], [[1], [3]]], np.float32)]
    assert value(kind, TARGETS * np.array([[3.0], [3.5]], np.float32)) == pytest.approx(sum(parts), rel=1e-5)
    flipped = TARGETS[::-1].copy()
    mixed = 0.3 * TARGETS + 0.7 * flipped
    assert value(kind, mixed) == pytest.approx(0.3 * value(kind) + 0.7 * value(kind, flipped), rel=1e-5)
    assert value(kind, scores=P.astype(np.float32), from_logits=False) == pytest.approx(value(kind), rel=1e-4)


@pytest.mark.parametrize("kind", LABEL_LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_losses_and_slopes_are_finite_where_the_network_is_certain(kind, gamma):
    scores = tf.constant([[200.0, -200, 0], [-200, 200, 0]])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = LabelLoss(kind, PRIORS, from_logits=True, gamma=gamma)(TARGETS, scores)
    assert np.isfinite(loss)
    assert np.isfinite(tape.gradient(loss, scores)).all()


def test_the_weights_of_rare_labels_have_an_end():
    assert positive_weights([0.5, 0.25, 0.0, 0.001]) == [1.0, 3.0, 1.0, 100.0]


def test_the_epochs_score_is_the_mean_average_precision():
    random = np.random.default_rng(0)
    truth = random.random((300, 4)) < [0.05, 0.3, 0.6, 0.0]
    scores = (random.normal(size=(300, 4)) + 2 * truth - [6, 1, 0, 3]).astype(np.float32)
    expected = label_scores.mean(label_scores.average_precisions(truth, scores, np.ones((1, 300))))[0]
    metric = BinnedAveragePrecision(4)
    for rows in (slice(0, 100), slice(100, 300)):
        metric.update_state(truth[rows].astype(np.float32), scores[rows])
    assert float(metric.result()) == pytest.approx(expected, abs=5e-3)
    metric.reset_state()
    assert float(metric.result()) == 0
    of_probabilities = BinnedAveragePrecision(4, from_logits=False)
    of_probabilities.update_state(truth.astype(np.float32), 1 / (1 + np.exp(-scores)))
    assert float(of_probabilities.result()) == pytest.approx(expected, abs=5e-3)
