"""Scores of any number of labels, against numbers that a person can check."""

import numpy as np
import pytest

from trainer.evaluation.scores import intervals, label_scores, roc_pr

# Four records, three labels; nobody carries the last one.
TRUTH = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], bool)
ANSWERS = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]], bool)
PROBABILITIES = np.array([[0.9, 0.1, 0.2], [0.4, 0.8, 0.2], [0.6, 0.7, 0.2], [0.1, 0.9, 0.2]])
ONCE = np.ones((1, 4))


def test_the_scores_of_four_records_by_hand():
    found = {name: values[0] for name, values in label_scores.scores(TRUTH, PROBABILITIES, ANSWERS, ONCE).items()}
    # Label 0: 1 of 1 answers right, 1 of 2 found: F1 2/3. Label 1: 2 of 3, 2 of 2: F1 4/5. Label 2 does not count.
    assert found["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["micro_f1"] == pytest.approx(2 * 3 / (4 + 4))
    assert found["exact"] == 2 / 4
    # Label 0 falls 0.9 right, 0.6 wrong, 0.4 right: (1 + 2/3) / 2. Label 1 falls wrong, right, right: (1/2 + 2/3) / 2.
    assert found["mean_average_precision"] == pytest.approx(((1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 2)


def test_a_record_that_is_drawn_twice_counts_as_two():
    draws = np.array([[2.0, 0, 1, 1]])
    rows = [0, 0, 2, 3]
    once = label_scores.scores(TRUTH[rows], PROBABILITIES[rows], ANSWERS[rows], ONCE)
    for name, values in label_scores.scores(TRUTH, PROBABILITIES, ANSWERS, draws).items():
        np.testing.assert_allclose(values, once[name], err_msg=name)


def test_average_precision_is_that_of_the_curves_also_with_equal_scores():
    random = np.random.default_rng(0)
    truth, scores = random.random((200, 1)) < 0.3, np.round(random.random((200, 1)), 1)
    curve = roc_pr.curves(truth[:, 0], scores[:, 0])
    assert curve is not None
    found = label_scores.average_precisions(truth, scores, np.ones((1, 200)))
    assert found[0, 0] == pytest.approx(curve.average_precision)


def test_labels_that_all_or_no_records_carry_have_no_average_precision():
    truth = np.array([[1, 0], [1, 0]], bool)
    assert np.isnan(label_scores.average_precisions(truth, np.ones((2, 2)), np.ones((1, 2)))).all()
    assert np.isnan(label_scores.mean(np.full((1, 2), np.nan))).all()


def test_the_best_constant_answer_by_hand():
    found = label_scores.constant(TRUTH)
    # Both labels for every record: F1 of each is 2 * 2 / (4 + 2).
    assert found["macro_f1"] == pytest.approx(2 / 3)
    assert found["micro_f1"] == pytest.approx(2 * 4 / (8 + 4))
    assert found["mean_average_precision"] == 0.5
    assert found["exact"] == 1 / 4


def test_no_constant_answer_has_a_better_f1():
    random = np.random.default_rng(3)
    truth = random.random((50, 4)) < [0.05, 0.3, 0.5, 0.7]
    best = label_scores.constant(truth)
    for subset in range(1, 16):
        answers = np.tile([bool(subset >> k & 1) for k in range(4)], (50, 1))
        found = label_scores.scores(truth, answers * 1.0, answers, np.ones((1, 50)))
        assert found["micro_f1"][0] <= best["micro_f1"] + 1e-12
        assert found["macro_f1"][0] <= best["macro_f1"] + 1e-12
        assert found["exact"][0] <= best["exact"] + 1e-12


def test_the_threshold_has_the_best_f1():
    truth = np.array([0, 0, 1, 0, 1], bool)
    probability = np.array([0.1, 0.2, 0.3, 0.35, 0.9])
    # From 0.3 on: 2 of 3 right, both found, 4/5. From 0.9 on: 2/3.
    assert label_scores.best_threshold(truth, probability) == pytest.approx(0.25)
    assert label_scores.best_threshold(np.zeros(5, bool), probability) == label_scores.PLAIN
    assert label_scores.best_threshold(probability > 0.5, probability) == label_scores.PLAIN  # it is among the best


def test_the_calibration_undoes_a_shift_and_a_slope():
    random = np.random.default_rng(1)
    logits = random.normal(-2, 1.5, 20_000)
    truth = random.random(20_000) < 1 / (1 + np.exp(-logits))
    slope, shift = label_scores.fit_calibration(2 * logits + 3, truth)
    assert slope == pytest.approx(0.5, abs=0.03)
    assert shift == pytest.approx(-1.5, abs=0.1)


def test_a_label_without_both_kinds_of_records_is_not_calibrated():
    for truth in (np.zeros(3, bool), np.ones(3, bool)):
        assert label_scores.fit_calibration(np.array([1.0, 2, 3]), truth) == (1.0, 0.0)


def test_separated_records_do_not_ask_for_certainty():
    slope, shift = label_scores.fit_calibration(np.array([-1.0, -1, 1, 1]), np.array([0, 0, 1, 1], bool))
    assert 1 / (1 + np.exp(-(slope + shift))) == pytest.approx(3 / 4, abs=1e-3)  # Platt's target, (2 + 1) / (2 + 2)


def test_reliability_counts_the_share_that_carries_the_label():
    found = label_scores.reliability(np.array([1, 0, 0], bool), np.array([0.1, 0.1, 0.9]))
    low, high = (b for b in found if b.records)
    assert (low.records, low.accuracy, high.records, high.accuracy) == (2, 0.5, 1, 0.0)
    assert (low.confidence, high.confidence) == pytest.approx((0.1, 0.9))


def test_draws_are_resamples_of_all_records():
    drawn = np.concatenate(list(intervals.draws(7)))
    assert drawn.shape == (intervals.RESAMPLES, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert drawn.var() == pytest.approx(6 / 7, rel=0.05)  # of a binomial distribution, 7 * 1/7 * 6/7
    assert list(intervals.draws(0)) == []
    assert intervals.resamples_of(10**6, 10**3) == intervals.FEWEST


def test_groups_of_a_chart_have_equally_many_records():
    truth, probability = np.arange(40) >= 30, np.arange(40) / 40
    means, found = label_scores.shares(truth, probability)
    assert means.tolist() == [probability[:20].mean(), probability[20:].mean()]
    assert found.tolist() == [0.0, 0.5]
    means, found = label_scores.shares(truth[:3], probability[:3])
    assert (means.tolist(), found.tolist()) == ([pytest.approx(1 / 40)], [0.0])
