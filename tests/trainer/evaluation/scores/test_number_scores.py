"""Scores of numbers, against numbers that a person can check and against SciPy."""

import numpy as np
import pytest
from scipy import stats

from trainer.evaluation.scores import number_scores

TRUTH, ANSWERS = np.array([1.0, 2, 3, 6]), np.array([2.0, 2, 2, 8])


def of(truth, answers, draws=None):
    found = number_scores.scores(truth, answers, np.ones((1, len(truth))) if draws is None else draws)
    return {name: float(values[0]) for name, values in found.items()}


def test_the_scores_of_four_records_by_hand():
    found = of(TRUTH, ANSWERS)
    assert found["mae"] == 4 / 4
    assert found["rmse"] == pytest.approx((6 / 4) ** 0.5)
    assert found["r2"] == pytest.approx(1 - 6 / 14)  # distances from the mean 3: 4 + 1 + 0 + 9
    assert found["spearman"] == pytest.approx(stats.spearmanr(TRUTH, ANSWERS).statistic)


def test_a_record_that_is_drawn_twice_counts_as_two():
    random = np.random.default_rng(0)
    truth, answers = np.round(random.normal(size=60), 1), np.round(random.normal(size=60), 1)
    rows = random.integers(0, 60, 60)
    found = of(truth, answers, np.bincount(rows, minlength=60)[None].astype(float))
    again = of(truth[rows], answers[rows])
    for name in found:
        assert found[name] == pytest.approx(again[name], rel=1e-9), name
    assert found["spearman"] == pytest.approx(stats.spearmanr(truth[rows], answers[rows]).statistic)


def test_ranks_are_those_of_scipy():
    values = np.array([3.0, 1, 1, 2, 3, 3])
    np.testing.assert_array_equal(number_scores.ranks(values, np.ones((1, 6)))[0], stats.rankdata(values))


def test_a_constant_has_no_correlation_and_the_mean_explains_nothing():
    found = of(TRUTH, np.full(4, 3.0))
    assert found["r2"] == 0.0
    assert np.isnan(found["spearman"])
    same = of(np.full(4, 7.0), ANSWERS)
    assert np.isnan(same["r2"])
    assert same["mae"] == pytest.approx((5 + 5 + 5 + 1) / 4)


def test_a_large_common_value_costs_no_digits():
    assert of(TRUTH + 1e9, ANSWERS + 1e9)["r2"] == pytest.approx(1 - 6 / 14, rel=1e-6)
