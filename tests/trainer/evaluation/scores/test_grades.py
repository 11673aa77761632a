"""Scores of grades against numbers that a person can check."""

import numpy as np
import pytest

from tests.trainer.evaluation.test_assessment import made
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.scores import grades
from trainer.evaluation.scores.calibration import Calibration
from trainer.reporting import class_page, score_table

# Three grades of 4, 4 and 2 records; two answers are one grade off, and one is two grades off.
MATRIX = np.array([[3, 1, 0], [0, 3, 1], [1, 0, 1]])


def test_kappa_and_error_by_hand():
    """Sum of squares: 1 + 1 + 4 = 6. By chance, with answers 4, 4, 2 of truths 4, 4, 2:

    (4*4 + 4*4 + 4*2 + 2*4) * 1 / 10 = 4.8, and (4*2 + 2*4) * 4 / 10 = 6.4.
    """
    assert float(grades.quadratic_kappa(MATRIX)) == pytest.approx(1 - 6 / 11.2)
    assert float(grades.mean_error(MATRIX)) == pytest.approx(4 / 10)
    stacked = np.stack([MATRIX, np.diag([1, 2, 3])])
    np.testing.assert_allclose(grades.quadratic_kappa(stacked), [1 - 6 / 11.2, 1])
    np.testing.assert_allclose(grades.mean_error(stacked), [0.4, 0])


def test_a_constant_answer_has_no_kappa_and_no_records_have_no_scores():
    constant = np.array([[0, 4, 0], [0, 4, 0], [0, 2, 0]])
    assert float(grades.quadratic_kappa(constant)) == 0
    assert np.isnan(grades.quadratic_kappa(np.zeros((3, 3), int)))
    none = grades.of(np.zeros((3, 3), int))
    assert np.isnan([none.kappa, none.error, none.constant_error, *none.kappa_interval]).all()
    assert none.to_dict()["quadratic_kappa"] is None


def test_the_intervals_hold_the_scores_and_one_answer_for_all_is_the_middle_grade():
    found = grades.of(10 * MATRIX)
    assert found.kappa_interval.low < found.kappa < found.kappa_interval.high
    assert found.error_interval.low < found.error < found.error_interval.high
    assert found.constant_error == pytest.approx((4 + 2) / 10)  # grade 1, from 4 of grade 0 and 2 of grade 2


def test_only_classes_with_an_order_show_them():
    given = made([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], [0, 1, 0])
    assert "grades" not in given.to_dict()
    ordered = Assessment(given.split, given.predictions, Calibration(ordered=True))
    assert ordered.to_dict()["grades"]["mean_absolute_error"] == pytest.approx(1 / 3)
    assert "quadratic kappa    0.400" in score_table.table(ordered)
    assert "quadratic kappa" not in score_table.table(given)
    shown = class_page.render("a run", {}, [ordered], {})
    assert "<dt>Quadratic kappa</dt><dd>0.400</dd>" in shown
    assert "Quadratic kappa" not in class_page.render("a run", {}, [given], {})
