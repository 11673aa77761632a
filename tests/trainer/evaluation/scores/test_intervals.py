"""Intervals against closed forms and against drawing the records one by one."""

import numpy as np
import pytest

from trainer.evaluation.scores import class_scores, intervals

MATRIX = np.array([[70, 20, 10], [5, 12, 3], [0, 1, 2]])


def test_wilson_against_published_values():
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    assert intervals.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert intervals.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert intervals.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert intervals.wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    low, high = intervals.wilson(3, 3)
    assert (low, high) == (pytest.approx(0.4385, abs=5e-5), 1.0)
    assert all(np.isnan(intervals.wilson(0, 0)))


def test_the_bootstrap_has_the_spread_of_the_binomials():
    found = intervals.bootstrap(MATRIX, resamples=100_000)
    share = 84 / 123
    assert found.accuracy.mean() == pytest.approx(share, abs=1e-3)
    assert found.accuracy.std() == pytest.approx((share * (1 - share) / 123) ** 0.5, rel=0.02)
    recalls, support = np.array([0.7, 0.6, 2 / 3]), np.array([100, 20, 3])
    assert found.balanced_accuracy.mean() == pytest.approx(recalls.mean(), abs=2e-3)
    spread = (recalls * (1 - recalls) / support).sum() ** 0.5 / 3
    assert found.balanced_accuracy.std() == pytest.approx(spread, rel=0.02)


def test_counting_is_drawing_records():
    """Macro F1 against resampling the records of each class one by one, over its whole distribution."""
    rng = np.random.default_rng(1)
    truth, answers = (np.repeat(v, MATRIX.ravel()) for v in np.divmod(np.arange(9), 3))
    slow = []
    for _ in range(3000):
        chosen = np.concatenate([rng.choice(np.flatnonzero(truth == c), (truth == c).sum()) for c in range(3)])
        slow.append(class_scores.macro_f1(class_scores.confusion_matrix(truth[chosen], answers[chosen], 3)))
    fast = intervals.bootstrap(MATRIX, resamples=30_000, seed=5).macro_f1
    levels = (0.025, 0.25, 0.5, 0.75, 0.975)
    np.testing.assert_allclose(np.quantile(fast, levels), np.quantile(slow, levels), atol=0.012)


def test_the_same_seed_gives_the_same_intervals_and_another_another():
    one, two, other = (intervals.bootstrap(MATRIX, seed=seed) for seed in (3, 3, 4))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.accuracy != other.accuracy).any()
    assert len(one.accuracy) == intervals.RESAMPLES >= 1000


def test_a_class_without_records_and_one_never_given():
    found = intervals.bootstrap(np.array([[9, 0, 1], [4, 0, 0], [0, 0, 0]]))
    assert not any(np.isnan(values).any() for values in found)
    assert found.balanced_accuracy.max() <= 0.5  # the mean of two recalls, of which one is 0
    assert found.macro_f1.max() <= 0.5


def test_the_ends():
    perfect = intervals.bootstrap(np.diag([5, 2]))
    assert all(intervals.percentiles(values) == (1, 1) for values in perfect)
    assert all(np.isnan(intervals.percentiles(v)).all() for v in intervals.bootstrap(np.zeros((2, 2), int)))
    assert intervals.percentiles(np.arange(101.0), 0.9) == pytest.approx((5, 95))


def test_classes_that_are_all_right_or_all_wrong_have_wilsons_intervals():
    right = intervals.of_matrix(np.diag([5, 2, 0]))
    low = [1 - intervals.wilson(n, n).low for n in (5, 2)]
    balanced = (pytest.approx(1 - (low[0] ** 2 + low[1] ** 2) ** 0.5 / 2), 1)
    assert right == {"accuracy": intervals.wilson(7, 7), "balanced_accuracy": balanced, "macro_f1": balanced}
    wrong = intervals.of_matrix(np.array([[0, 5], [2, 0]]))
    assert wrong["accuracy"] == intervals.wilson(0, 7)
    assert wrong["balanced_accuracy"].low == 0 < wrong["balanced_accuracy"].high
    one_answer = intervals.of_matrix(np.array([[9, 0], [4, 0]]))
    ends = 0.5 - (1 - intervals.wilson(9, 9).low) / 2, 0.5 + intervals.wilson(0, 4).high / 2
    assert one_answer["balanced_accuracy"] == pytest.approx(ends)
    drawn = intervals.bootstrap(MATRIX)._asdict()
    assert intervals.of_matrix(MATRIX) == {name: intervals.percentiles(values) for name, values in drawn.items()}
    assert all(np.isnan(pair).all() for pair in intervals.of_matrix(np.zeros((2, 2), int)).values())


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.7062), (10, 2.2281), (11, 2.2010), (30, 2.0423), (120, 1.9799)]
)
def test_quantiles_of_students_t(freedom, expected):
    assert intervals.t_quantile(freedom) == pytest.approx(expected, abs=2e-4)


def test_student_by_hand():
    # Mean 2, deviation 1, three values: 4.3027 / sqrt(3) to each side.
    assert intervals.student([1, 2, 3]) == pytest.approx((2 - 2.4842, 2 + 2.4842), abs=1e-4)
    assert intervals.student([0.25, 0.25]) == (0.25, 0.25)


def test_the_corrected_interval_moves_against_the_bias_of_the_resamples():
    values = np.arange(1001) / 1000
    low, high = intervals.corrected(values, 0.5)
    assert (low, high) == pytest.approx((0.025, 0.975), abs=2e-3)  # without a bias it is the percentiles
    # Of the resamples 69.15 % are above the score: z0 is -0.5, so the ends are the normal shares of -1 -/+ 1.96.
    low, high = intervals.corrected(values, 0.3085)
    assert (low, high) == pytest.approx((0.0015, 0.8315), abs=2e-3)


def test_resamples_without_a_value_are_left_out():
    values = np.concatenate([np.arange(1001) / 1000, np.full(500, np.nan)])
    assert intervals.corrected(values, 0.5) == intervals.corrected(values[:1001], 0.5)
    assert np.isnan(intervals.corrected(np.full(3, np.nan), 0.5)).all()
    assert np.isnan(intervals.corrected(values, np.nan)).all()
    assert intervals.corrected(np.ones(9), 1.0) == (1.0, 1.0)
