"""Confident learning on numbers that a person can check, and planted errors of which most are found."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from trainer.evaluation import label_check
from trainer.reporting import label_page


def test_thresholds_joint_margin_and_estimate_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 0])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.4, 0.6], [0.55, 0.45]])
    # Thresholds: class 0 has (0.9 + 0.8 + 0.1 + 0.55) / 4 = 0.5875, class 1 has (0.8 + 0.6) / 2 = 0.7. Records 4 and 5
    # reach none. The joint is [[2, 1], [0, 1]]: a third of the four records of label 0 is estimated to be wrong.
    found = label_check.of_classes(labels, probabilities)
    assert found.positions.tolist() == [2]
    assert found.suggested.tolist() == [1]
    np.testing.assert_allclose(found.margins, [-0.8])
    assert found.estimated == pytest.approx(4 / 3)


def test_a_record_counts_for_the_most_probable_of_several_classes_that_it_reaches():
    labels = np.array([0, 1, 2, 2])
    probabilities = np.array([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6], [0.45, 0.5, 0.05]])
    found = label_check.of_classes(labels, probabilities)
    assert (found.positions.tolist(), found.suggested.tolist()) == ([3], [1])
    np.testing.assert_allclose(found.margins, [0.05 - 0.5])


def test_classes_without_records_are_never_suggested():
    labels, probabilities = np.array([0, 0]), np.array([[0.1, 0.9], [0.9, 0.1]])
    found = label_check.of_classes(labels, probabilities)
    assert len(found.positions) == 0
    assert found.estimated == 0


def planted(random: np.random.Generator, records: int, classes: int, share: float):
    """Labels of which a share is wrong, probabilities of a good model, and which labels are wrong."""
    truth = random.integers(0, classes, records)
    logits = random.normal(0, 1, (records, classes))
    logits[np.arange(records), truth] += 4.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = random.random(records) < share
    labels = np.where(wrong, (truth + random.integers(1, classes, records)) % classes, truth)
    return labels, probabilities, wrong, truth


def test_planted_errors_are_found_and_counted():
    labels, probabilities, wrong, truth = planted(np.random.default_rng(3), 4000, 6, 0.05)
    found = label_check.of_classes(labels, probabilities)

    first = found.positions[: wrong.sum()]
    assert wrong[first].mean() > 0.9  # precision of as many as there are
    assert wrong[found.positions].sum() / wrong.sum() > 0.7  # recall: the others reach no threshold
    assert (found.suggested[: len(first)] == truth[first]).mean() > 0.9
    assert found.estimated == pytest.approx(wrong.sum(), rel=0.3)
    assert (np.diff(found.margins) >= 0).all()
    assert label_check.of_classes(truth, probabilities).estimated < 0.02 * len(truth)


def test_each_of_several_labels_is_judged_alone():
    random = np.random.default_rng(5)
    truth = random.random((3000, 3)) < (0.5, 0.3, 0.1)
    probabilities = 1 / (1 + np.exp(-random.normal(np.where(truth, 3, -3), 1)))
    given = truth.copy()
    wrong = random.random(truth.shape) < 0.03
    given ^= wrong
    found = label_check.of_labels(given, probabilities)

    records = wrong.any(axis=1)
    assert records[found.positions[: records.sum()]].mean() > 0.9
    right = (found.suggested == truth[found.positions]).all(axis=1)
    assert right[: records.sum()].mean() > 0.9
    assert found.estimated == pytest.approx(wrong.sum(), rel=0.4)


def test_numbers_are_judged_by_robust_residuals():
    random = np.random.default_rng(6)
    truth = np.stack([random.normal(30, 10, 500), random.normal(0, 1, 500)], axis=1)
    answers = truth + random.normal((2, 0), (3, 0.1), truth.shape)  # a model that is biased by 2
    truth[7, 0] += 60
    truth[9, 1] -= 2
    found = label_check.of_numbers(truth, answers)
    assert set(found.positions[:2].tolist()) == {7, 9}
    assert len(found.positions) < 8
    assert found.estimated == len(found.positions)
    np.testing.assert_array_equal(found.suggested, answers[found.positions])


def test_numbers_that_a_model_answers_exactly_are_not_doubted():
    truth = np.arange(10.0)[:, None]
    assert len(label_check.of_numbers(truth, truth).positions) == 0
    assert len(label_check.of_numbers(truth[:0], truth[:0]).positions) == 0


@pytest.mark.parametrize(("estimated", "doubts"), [(3.0, False), (4.0, True)])
def test_a_model_that_doubts_a_third_of_the_labels_is_doubted_itself(estimated, doubts):
    ten = tuple(str(i) for i in range(10))
    judged = SimpleNamespace(keys=ten, kind="classes", splits=("test of run",), agreement=0.5)
    found = SimpleNamespace(estimated=estimated, positions=ten[: int(estimated)])
    said = label_page.sentences(judged, found)
    assert any("too weak to judge the labels" in sentence for sentence in said) == doubts
