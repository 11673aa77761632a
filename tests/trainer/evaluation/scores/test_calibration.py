"""Probabilities that can be believed: bins and errors by hand, temperatures that were put in, thresholds by hand."""

import dataclasses
import math

import numpy as np
import pytest

from pipelines.contract import Split
from tests.support.datasets import make_contract
from trainer.config import TrainerError
from trainer.evaluation.scores import calibration, threshold
from trainer.evaluation.scores.abstention import Abstention
from trainer.evaluation.scores.calibration import Calibration, Threshold


def test_softmax_divides_the_logits_by_the_temperature():
    given = calibration.softmax(np.array([[0.0, 2 * math.log(3)]]), 2.0)
    np.testing.assert_allclose(given, [[0.25, 0.75]])
    np.testing.assert_allclose(calibration.softmax(np.array([[1000.0, 0.0]])), [[1, 0]])
    assert calibration.softmax(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_drawn_labels_is_found(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, 4)).astype(np.float32)
    chances = calibration.softmax(logits, temperature).cumsum(axis=1)
    labels = (rng.random((20_000, 1)) > chances[:, :-1]).sum(axis=1)
    found = calibration.fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.03)
    shifted = logits + rng.normal(0, 9, (20_000, 1))  # softmax does not see what all logits of a record share
    assert calibration.fit_temperature(shifted, labels) == pytest.approx(found, rel=1e-4)


def test_the_fit_by_hand_for_two_classes():
    # Three of four right, all with margin 2: sigmoid(2 / T) should be the mean target. With N = 4 and C = 2 that of a
    # right record is 5/6 and of a wrong one 1/6: (3 * 5/6 + 1/6) / 4 = 2/3, so 2 / T = ln 2.
    logits = np.array([[2.0, 0.0]] * 4)
    assert calibration.fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(2 / math.log(2))


def test_all_right_does_not_ask_for_certainty():
    few = calibration.fit_temperature(np.array([[1.0, 0.0]] * 3), np.zeros(3, int))  # target 4/5: 1 / T = ln 4
    assert few == pytest.approx(1 / math.log(4))
    assert calibration.fit_temperature(np.array([[9.0, 0.0]] * 3), np.zeros(3, int)) == pytest.approx(9 / math.log(4))


def test_the_ends_of_the_fit():
    assert calibration.fit_temperature(np.zeros((0, 2)), np.zeros(0, int)) == 1
    assert calibration.fit_temperature(np.full((5, 3), 7.0), np.array([0, 1, 2, 0, 0])) == 1  # nothing to scale
    always_wrong = calibration.fit_temperature(np.array([[5.0, 0.0]] * 9), np.ones(9, int))
    assert always_wrong == pytest.approx(calibration.GREATEST)
    assert calibration.fit_temperature(np.array([[1e-3, 0.0]] * 99), np.zeros(99, int)) == pytest.approx(0.05)


def test_the_fit_is_the_least_cross_entropy():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(0, 4, (50, 3)), rng.integers(0, 3, 50)
    targets = (np.eye(3)[labels] * 50 + 1) / 53

    def loss(temperature):
        return -(targets * np.log(calibration.softmax(logits, temperature))).sum(axis=1).mean()

    found = calibration.fit_temperature(logits, labels)
    assert loss(found) < min(loss(found * 1.01), loss(found / 1.01))


def test_bins_and_calibration_error_by_hand():
    # Confidences 0.5 (on the upper edge of its bin), 0.75, 0.75, 1; right: yes, yes, no, yes.
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]])
    bins = calibration.reliability(np.array([0, 0, 0, 1]), probabilities, 4)
    assert [(b.low, b.high, b.records) for b in bins] == [(0, 0.25, 0), (0.25, 0.5, 1), (0.5, 0.75, 2), (0.75, 1, 1)]
    assert [(b.confidence, b.accuracy) for b in bins[1:]] == [(0.5, 1), (0.75, 0.5), (1, 1)]
    assert math.isnan(bins[0].confidence)
    assert math.isnan(bins[0].accuracy)
    assert calibration.calibration_error(bins) == (1 * 0.5 + 2 * 0.25 + 1 * 0) / 4
    assert math.isnan(calibration.calibration_error(calibration.reliability(np.zeros(0, int), np.zeros((0, 2)))))


def test_the_error_by_chance():
    # Answers of probability 0.5 land in one bin: |K / N - 1/2| for K of a binomial distribution, by its exact mean.
    halves = np.full((16, 2), 0.5)
    exact = sum(math.comb(16, k) * abs(k / 16 - 0.5) for k in range(17)) / 2**16
    assert calibration.error_by_chance(halves, draws=20_000) == pytest.approx(exact, rel=0.02)
    assert calibration.error_by_chance(np.eye(3)) == 0  # certain and right
    assert calibration.error_by_chance(np.full((100_000, 2), 0.5), draws=5) < 0.01
    assert math.isnan(calibration.error_by_chance(np.zeros((0, 2))))


def test_brier_by_hand():
    assert calibration.brier(np.array([0, 1]), np.array([[0.75, 0.25], [1.0, 0.0]])) == (2 * 0.25**2 + 2) / 2
    assert math.isnan(calibration.brier(np.zeros(0, int), np.zeros((0, 2))))


def test_the_threshold_by_hand():
    # Positives at 0.2, 0.4, 0.9 and negatives at 0.1, 0.1, 0.3: from 0.15 on all three and one of three (J = 2/3); from
    # 0.35 on two of three and none (J = 2/3); the latter is nearer to a half.
    is_positive = np.array([1, 1, 1, 0, 0, 0], bool)
    probability = np.array([0.2, 0.4, 0.9, 0.1, 0.1, 0.3])
    assert threshold.choose(is_positive, probability) == pytest.approx(0.35)
    assert threshold.choose(is_positive, np.array([0.6, 0.7, 0.9, 0.1, 0.1, 0.3])) == 0.5  # no better one: it stays
    assert threshold.choose(is_positive, np.full(6, 0.2)) == 0.5
    assert threshold.choose(np.ones(3, bool), np.array([0.1, 0.2, 0.3])) is None
    assert threshold.choose(np.zeros(0, bool), np.zeros(0)) is None


def test_no_threshold_that_parts_the_records_is_better():
    rng = np.random.default_rng(3)
    for _ in range(50):
        is_positive, probability = rng.random(40) < 0.2, rng.random(40).round(1)
        if not 0 < is_positive.sum() < 40:
            continue

        def gain(at, is_positive=is_positive, given=probability):
            return (given[is_positive] >= at).mean() - (given[~is_positive] >= at).mean()

        found = threshold.choose(is_positive, probability)
        inside = [at for at in np.linspace(0, 1, 201) if probability.min() < at <= probability.max()]
        assert gain(found) == pytest.approx(max(gain(at) for at in (0.5, *inside)))


@pytest.mark.parametrize(("counts", "expected"), [((9, 3), 1), ((3, 9), 0), ((5, 5), 1), ((5, 0), 1)])
def test_the_rarer_class_is_the_one_to_find(counts, expected):
    by_label = dict(zip(("ok", "broken"), counts, strict=True))
    split = Split(by_label, {"ok": 9, "broken": 9}, {"ok": 0, "broken": 0}, ())  # balanced as stored
    assert threshold.positive(make_contract(splits={"train": split})) == expected


def test_the_file_reads_back(tmp_path):
    made = Calibration(1.25, Threshold("brøken", 1, 0.125), "validation", 9)
    (tmp_path / "calibration.json").write_text(made.to_json(), encoding="utf-8")
    assert calibration.read(tmp_path) == made
    abstaining = dataclasses.replace(made, abstention=Abstention(0.5, 0.1, 8, 0, False, "validation", 9))
    (tmp_path / "calibration.json").write_text(abstaining.to_json(), encoding="utf-8")
    assert calibration.read(tmp_path) == abstaining
    assert calibration.read(tmp_path / "no") == calibration.UNCALIBRATED


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"temperature": null, "threshold": null, "split": "", "records": 0}',
     '{"temperature": 1, "threshold": {"at": 1}, "split": "", "records": 0}'],
)  # fmt: skip
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(TrainerError, match=r"calibration.json' should be as training wrote it .*: train again"):
        calibration.read(tmp_path)


@pytest.mark.parametrize("temperature", ["0", "-1", "1e9", "NaN"])
def test_an_absurd_temperature_is_refused(tmp_path, temperature):
    (tmp_path / "calibration.json").write_text(
        f'{{"temperature": {temperature}, "threshold": null, "split": "", "records": 0}}'
    )
    with pytest.raises(TrainerError, match=r"should be from 0.05 to 100.0. Received: "):
        calibration.read(tmp_path)
