"""The threshold below which a classifier abstains."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluation.scores import abstention, intervals


def test_the_curve_has_a_choice_for_each_different_probability():
    found = abstention.curve(np.array([0.6, 0.9, 0.8, 0.8]), np.array([True, True, False, True]))
    np.testing.assert_allclose(found.probability, [0.85, 0.7, 0.0])
    assert found.answered.tolist() == [1, 3, 4]
    assert found.wrong.tolist() == [0, 1, 1]
    assert [len(part) for part in abstention.curve(np.zeros(0), np.zeros(0, bool))] == [0, 0, 0]


def test_probabilities_that_a_served_model_cannot_tell_apart_are_answered_together():
    near = 1 - np.array([1e-9, 2e-9, 3e-9, 1e-7, 2e-7])
    found = abstention.curve(near, np.array([True, True, False, True, True]))
    served = near.astype(np.float32)
    assert found.answered.tolist() == [int((served >= t).sum()) for t in found.probability]
    assert found.answered[0] == 3
    assert found.wrong[0] == 1
    for threshold, count in zip(found.probability, found.answered, strict=True):
        assert abstention.answered(near, float(threshold)).sum() == count


def test_it_answers_most_with_an_interval_that_ends_below_the_wanted_error():
    largest = np.linspace(0.99, 0.5, 200)
    right = np.arange(200) < 150
    chosen = abstention.choose(largest, right, 0.1)
    assert chosen is not None
    assert chosen.promised
    # Of 150 + w answers w are wrong: 0.1 is above the upper end of 6 of 156, and below that of 7 of 157 if not of 6.
    most = max(w for w in range(51) if intervals.wilson(w, 150 + w).high <= 0.1)
    assert (chosen.answered, chosen.wrong) == (150 + most, most)
    assert largest[chosen.answered] < chosen.probability < largest[chosen.answered - 1]


def test_few_records_promise_nothing():
    chosen = abstention.choose(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True]), 0.05)
    assert chosen == abstention.Abstention(pytest.approx(0.75), 0.05, 2, 0, False)
    assert abstention.sentence(chosen).endswith(
        "This does not promise an error of at most 0.05:  has too few records that are surely right. It would take at "
        "least 73 answers without a mistake."
    )
    assert intervals.wilson(0, abstention.needed(0.05)).high <= 0.05 < intervals.wilson(0, 72).high


def test_a_model_that_is_good_enough_answers_everything():
    chosen = abstention.choose(np.full(100, 0.9), np.ones(100, bool), 0.05)
    assert chosen == abstention.Abstention(0.0, 0.05, 100, 0, True)


def test_if_the_surest_answers_are_wrong_there_is_no_threshold():
    assert abstention.choose(np.array([0.9, 0.8]), np.array([False, True]), 0.4) is None
    assert abstention.choose(np.zeros(0), np.zeros(0, bool), 0.4) is None
    assert abstention.refusal(0.4, "validation", 2).startswith(
        "No threshold has an error of at most 0.4 among the answered of validation (2 records)"
    )
