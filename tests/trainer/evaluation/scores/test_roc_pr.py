"""Curves by hand, and areas against what they mean."""

import numpy as np
import pytest

from trainer.evaluation.scores import roc_pr

# The example of scikit-learn's documentation of roc_auc_score and average_precision_score.
TRUTH, GIVEN = np.array([0, 0, 1, 1], bool), np.array([0.1, 0.4, 0.35, 0.8])


def test_the_example_of_scikit_learn():
    found = roc_pr.curves(TRUTH, GIVEN)
    assert found.false_positive_rate.tolist() == [0, 0, 0.5, 0.5, 1]
    assert found.true_positive_rate.tolist() == [0, 0.5, 0.5, 1, 1]
    assert found.precision.tolist() == [1, 0.5, 2 / 3, 0.5]
    assert found.recall.tolist() == [0.5, 0.5, 1, 1]
    assert found.auc == 0.75
    assert found.average_precision == pytest.approx(0.8333333333)


def test_equal_probabilities_are_one_threshold():
    found = roc_pr.curves(np.array([1, 0, 1, 0], bool), np.array([0.5, 0.5, 0.5, 0.1]))
    assert found.false_positive_rate.tolist() == [0, 0.5, 1]
    assert found.true_positive_rate.tolist() == [0, 1, 1]
    assert found.auc == 0.75  # two of four pairs in order, two equal of which each counts half
    assert found.average_precision == pytest.approx(2 / 3)
    flat = roc_pr.curves(np.array([1, 0, 0, 0], bool), np.full(4, 0.3))
    assert (flat.auc, flat.average_precision) == (0.5, 0.25)


def test_perfect_and_reversed():
    perfect = roc_pr.curves(TRUTH, TRUTH.astype(float))
    assert (perfect.auc, perfect.average_precision) == (1, 1)
    assert roc_pr.curves(TRUTH, 1 - TRUTH).auc == 0


@pytest.mark.parametrize("truth", [np.zeros(0, bool), np.ones(3, bool), np.zeros(3, bool)])
def test_one_class_has_no_curve(truth):
    assert roc_pr.curves(truth, np.linspace(0, 1, len(truth))) is None


def test_the_areas_are_what_they_mean():
    """AUC: of all pairs, those in order. Average precision: the mean of the precision at each record found."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth, given = rng.random(60) < 0.3, rng.permutation(60) / 60
        found = roc_pr.curves(truth, given)
        pairs = given[truth][:, None] > given[~truth][None, :]
        assert found.auc == pytest.approx(pairs.mean())
        ranked = truth[np.argsort(-given)]
        precision = np.cumsum(ranked) / np.arange(1, 61)
        assert found.average_precision == pytest.approx(precision[ranked].mean())
