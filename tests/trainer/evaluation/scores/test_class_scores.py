"""Every expected number here was computed by hand from the counts in the matrix."""

import json

import numpy as np
import pytest

from trainer.evaluation.scores import class_scores

# true a: 8 given a, 2 given b. true b: 1 given a, 4 given b.
MATRIX = np.array([[8, 2], [1, 4]])


def test_confusion_matrix_counts_true_by_given():
    labels, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    expected = [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert class_scores.confusion_matrix(labels, predicted, 3).tolist() == expected


def test_per_class_numbers():
    np.testing.assert_allclose(class_scores.recall(MATRIX), [8 / 10, 4 / 5])
    np.testing.assert_allclose(class_scores.precision(MATRIX), [8 / 9, 4 / 6])
    np.testing.assert_allclose(class_scores.f1(MATRIX), [16 / 19, 8 / 11])


def test_totals():
    assert class_scores.accuracy(MATRIX) == 12 / 15
    assert class_scores.balanced_accuracy(MATRIX) == pytest.approx(0.8)
    assert class_scores.macro_f1(MATRIX) == pytest.approx((16 / 19 + 8 / 11) / 2)
    assert class_scores.majority_baseline(MATRIX) == (0, 10 / 15)


def test_always_answering_the_majority():
    matrix = np.array([[9, 0], [1, 0]])
    assert class_scores.accuracy(matrix) == 0.9 == class_scores.majority_baseline(matrix)[1]
    assert class_scores.balanced_accuracy(matrix) == 0.5
    assert class_scores.precision(matrix)[0] == 0.9
    assert np.isnan(class_scores.precision(matrix)[1])  # never given: undefined
    assert class_scores.f1(matrix)[1] == 0  # has a record and was never given


def test_a_class_without_records_is_left_out_of_the_means():
    matrix = np.array([[3, 1, 0], [0, 0, 0], [0, 0, 4]])
    np.testing.assert_array_equal(np.isnan(class_scores.recall(matrix)), [False, True, False])
    assert class_scores.balanced_accuracy(matrix) == (0.75 + 1) / 2
    np.testing.assert_allclose(class_scores.f1(matrix), [6 / 7, 0, 1])  # it was given once, wrongly


def test_no_records():
    scores = class_scores.score(np.zeros(0, np.int64), np.zeros((0, 2)), ("a", "b"))
    result = scores.to_dict()
    assert result["records"] == 0
    assert result["accuracy"] is result["balanced_accuracy"] is result["macro_f1"] is result["loss"] is None
    assert result["majority_baseline"]["accuracy"] is None


def test_cross_entropy_is_the_mean_of_minus_log():
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75]])
    assert class_scores.cross_entropy(np.array([0, 1]), probabilities) == pytest.approx(
        -(np.log(0.5) + np.log(0.75)) / 2
    )
    assert class_scores.cross_entropy(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(-np.log(1e-7))


def test_scores_as_plain_json():
    scores = class_scores.Scores(("a", "b"), MATRIX, 0.5)
    result = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert result["confusion_matrix"] == [[8, 2], [1, 4]]
    assert result["per_class"]["b"] == {
        "precision": pytest.approx(4 / 6), "recall": 0.8, "f1": pytest.approx(8 / 11), "support": 5, "predicted": 6,
    }  # fmt: skip
    assert result["majority_baseline"] == {"label": "a", "accuracy": pytest.approx(2 / 3)}


def test_the_balanced_accuracy_of_always_one_answer():
    assert class_scores.chance(np.array([[0, 3], [0, 1]])) == 0.5
    assert class_scores.chance(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 4]])) == 0.5  # one has no records
    assert np.isnan(class_scores.chance(np.zeros((2, 2), int)))


def test_the_running_metric_agrees_with_the_final_one():
    from trainer.tasks.classes import BalancedAccuracy

    rng = np.random.default_rng(0)
    labels, given = rng.integers(0, 3, 50), rng.random((50, 4)).astype(np.float32)  # class 3 has no records
    running = BalancedAccuracy(4)
    for part in range(0, 50, 20):
        running.update_state(labels[part : part + 20], given[part : part + 20])
    expected = class_scores.score(labels, given, "abcd")
    assert float(running.result()) == pytest.approx(class_scores.balanced_accuracy(expected.matrix), abs=1e-6)
    assert running.counted.shape == (2, 4)  # not a matrix, which 10,000 classes would make 400 MB
    assert running.counted.numpy().tolist() == [expected.matrix.sum(axis=1).tolist(), np.diag(expected.matrix).tolist()]
    running.reset_state()
    assert float(running.result()) == 0
