"""Results of labels and of numbers: what they derive, say and write."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
from scipy import special

from pipelines.contract.task import Task
from tests.support.datasets import make_contract
from trainer.config import TrainerError
from trainer.evaluation.scores import label_scores
from trainer.evaluation.slices import Column, Metadata
from trainer.reporting import plots, score_table, task_page, tensorboard
from trainer.tasks import label_result, shown_result
from trainer.tasks.label_result import LabelFit, LabelPredictions, LabelResult
from trainer.tasks.multi_label import MultiLabel
from trainer.tasks.number_result import NumberFit, NumberPredictions, NumberResult
from trainer.tasks.regression import Regression

NAMES = ("cat", "dog")
KEYS = tuple(f"{i:016x}-000" for i in range(4))
TRUTH = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], bool)
P = np.array([[0.9, 0.1], [0.4, 0.8], [0.6, 0.7], [0.1, 0.9]])
PLAIN = LabelFit(NAMES, (1.0, 1.0), (0.0, 0.0), (0.5, 0.75))
LABELS = make_contract(labels=NAMES, task=Task("multi-label"))
NUMBERS = make_contract(
    labels=(), task=Task("regression", ("age",), (30.0,), (10.0,), (20.0,), (1.0,), (80.0,), {"train": {"natural": 7}})
)


def labels(fitted=PLAIN, split="test", truth=TRUTH, p=P):
    return LabelResult(split, LabelPredictions(NAMES, KEYS[: len(p)], truth, special.logit(p)), fitted)


def numbers(split="test", answers=(20.0, 20, 40, 80)):
    truth = np.array([[10.0], [20], [30], [60]], np.float32)
    standardized = (np.array(answers, np.float32)[:, None] - 30) / 10
    fitted = Regression().unfitted(NUMBERS)
    return NumberResult(split, NumberPredictions(("age",), KEYS, truth, standardized), fitted)


def test_labels_are_answered_from_their_own_thresholds():
    found = labels()
    assert found.answers.tolist() == [[True, False], [False, True], [True, False], [False, True]]
    content = found.to_dict()
    cat, dog = content["per_label"].values()
    assert (cat["support"], cat["predicted"], cat["precision"], cat["recall"]) == (2, 2, 0.5, 0.5)
    assert (dog["support"], dog["predicted"], dog["f1"], dog["threshold"]) == (2, 2, 0.5, 0.75)
    assert content["micro_f1"] == 0.5
    assert content["exact"] == 1 / 4
    assert content["constant_answer"]["micro_f1"] == pytest.approx(2 * 4 / (8 + 4))
    low, high = content["micro_f1_interval"]
    assert low < 0.5 < high
    json.dumps(content, allow_nan=False)


def test_the_fit_calibrates_and_chooses_thresholds_on_its_split():
    random = np.random.default_rng(0)
    truth = random.random((400, 2)) < [0.5, 0.1]
    logits = (2 * truth - 1 + random.normal(size=(400, 2)) + [0, 4]).astype(np.float32)  # dogs are surely too likely
    keys = tuple(f"{i:016x}-000" for i in range(400))
    found = LabelPredictions(NAMES, keys, truth, logits)
    fitted = MultiLabel().fit(found, "validation", LABELS)
    assert (fitted.split, fitted.records) == ("validation", 400)
    assert fitted.shifts[1] < -4
    before, after = (LabelResult("validation", found, f) for f in (MultiLabel().unfitted(LABELS), fitted))
    assert after.of_labels["ece"][1] < 0.05 < before.of_labels["ece"][1]
    assert after.scores["macro_f1"] > before.scores["macro_f1"]
    assert after.scores["mean_average_precision"] == pytest.approx(before.scores["mean_average_precision"])
    assert any("chosen on this split" in sentence for sentence in after.cautions())


def test_what_was_fitted_is_read_again(tmp_path):
    for task, fitted, contract in (
        (MultiLabel(), LabelFit(NAMES, (0.5, 2.0), (0.25, -1.0), (0.3, 0.5), "validation", 9), LABELS),
        (Regression(), NumberFit(("age",), (30.0,), (10.0,), (20.0,), "validation", 9), NUMBERS),
    ):
        (tmp_path / "calibration.json").write_text(fitted.to_json())
        assert task.read_fitted(tmp_path, contract) == fitted


@pytest.mark.parametrize("text", ["", "{}", '{"labels": {"cat": {"slope": 0}}}', "[]"])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "calibration.json").write_text(text)
    for task, contract in ((MultiLabel(), LABELS), (Regression(), NUMBERS)):
        with pytest.raises(TrainerError, match="should be as training wrote it"):
            task.read_fitted(tmp_path, contract)


def test_a_slope_that_turns_the_order_round_is_refused(tmp_path):
    fitted = LabelFit(NAMES, (-1.0, 1.0), (0.0, 0.0), (0.5, 0.5))
    (tmp_path / "calibration.json").write_text(fitted.to_json())
    with pytest.raises(TrainerError, match="a number that no fit gives"):
        label_result.read_fit(tmp_path / "calibration.json", LABELS)


def test_numbers_are_in_the_units_of_the_table():
    content = numbers().to_dict()
    age = content["per_target"]["age"]
    assert age["mae"] == pytest.approx((10 + 0 + 10 + 20) / 4)
    assert content["mean_absolute_error"] == pytest.approx(1.0)  # of a standard deviation of 10
    # The mean of train is 30: errors 20, 10, 0, 30. Its median is 20: errors 10, 0, 10, 40.
    assert age["always_the_mean"] == {
        "value": 30.0, "mae": 15.0, "rmse": pytest.approx((1400 / 4) ** 0.5), "r2": 0.0, "spearman": None,
    }  # fmt: skip
    assert age["always_the_median"]["mae"] == 15.0
    assert age["always_the_median"]["rmse"] == pytest.approx((1800 / 4) ** 0.5)
    assert age["r2"] == pytest.approx(1 - 600 / 1400)
    json.dumps(content, allow_nan=False)


def test_the_worst_answers_come_first():
    assert [example.position for example in numbers().worst(2)] == [3]  # a quarter of four records
    keys, truth = tuple(f"{i:016x}-000" for i in range(9)), np.zeros((9, 1), np.float32)
    many = NumberPredictions(("age",), keys, truth, np.arange(9, dtype=np.float32)[:, None] - 6)  # truth is -3
    found = NumberResult("test", many, Regression().unfitted(NUMBERS))
    assert [example.position for example in found.worst(24)] == [8, 7, 0]
    assert [example.position for example in found.worst(2)] == [8, 7]
    assert (numbers().worst(1)[0].answer, numbers().worst(1)[0].truth) == ("80.000", "60.000")
    first = labels().worst(4)
    # It is surest of the dog that is not there, 0.9. The others are 0.6 from the truth, and the first one is right.
    assert first[0].position == 3
    assert {example.position for example in first[1:]} == {1, 2}
    assert (first[0].answer, first[0].truth) == ("dog", "no label")


def test_predictions_are_a_line_a_record():
    rows = list(csv.DictReader(io.StringIO(labels().to_csv())))
    assert rows[2] == {
        "key": KEYS[2], "is cat": "0", "answer cat": "1", "probability of cat": "0.6", "is dog": "1",
        "answer dog": "0", "probability of dog": "0.7",
    }  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(numbers().to_csv())))
    assert rows[3] == {"key": KEYS[3], "true age": "60", "answer age": "80"}


def test_the_terminal_shows_scores_beside_constant_answers():
    text = score_table.table(numbers())
    assert "always the mean: 15.000, always the median: 15.000" in text
    assert "fewer than 30 records" in text
    text = score_table.table(labels())
    assert "always the same labels: 0.667" in text
    assert "Fewer than 10 records carry these labels, so their scores are very uncertain: cat (2), dog (2)." in text


@pytest.mark.parametrize("made", [labels, numbers])
def test_plots_and_scalars_are_written(tmp_path, made):
    plots.write_all(tmp_path, {"epoch": [1.0], "loss": [1.0]}, {"test": made()}, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["charts-test.png", "curves.png"]
    assert all(np.isfinite(value) for value in tensorboard.scalars(made()).values())


def test_a_split_without_records_has_no_scores():
    nothing = LabelPredictions(NAMES, (), np.zeros((0, 2), bool), np.zeros((0, 2), np.float32))
    found = LabelResult("test", nothing, PLAIN)
    assert found.cautions() == ["There are no records."]
    assert found.to_dict()["macro_f1"] is None
    empty = NumberPredictions(("age",), (), np.zeros((0, 1), np.float32), np.zeros((0, 1), np.float32))
    of_numbers = NumberResult("test", empty, Regression().unfitted(NUMBERS))
    assert of_numbers.cautions() == ["There are no records."]
    assert of_numbers.to_dict()["r2"] is None
    assert score_table.table(of_numbers)


def test_a_constant_answer_is_not_better_than_itself():
    found = numbers(answers=(30.0,) * 4)
    assert any("does not differ clearly from that of always answering one number" in s for s in found.cautions())


def test_a_score_below_that_of_the_same_labels_for_all_is_said():
    """Half the answers are right: an F1 of 0.5. Both labels for every record would get 2 * 2 / (2 + 4) = 0.667."""
    assert labels().scores["macro_f1"] == 0.5
    said = " is lower than that of the best answer that is the same for all records."
    assert [s for s in labels().cautions() if s.endswith(said)] == [f"The macro F1{said}", f"The micro F1{said}"]
    truth = np.array([[True, False], [False, True]] * 40)
    right = LabelPredictions(NAMES, tuple(map(str, range(80))), truth, np.where(truth, 9, -9).astype(np.float32))
    assert LabelResult("test", right, PLAIN).cautions() == []


def test_numbers_are_written_as_long_as_they_need():
    assert shown_result.number(123456.0) == "123,456"
    assert shown_result.number(1234.56) == "1234.6"
    assert shown_result.number(0.00123) == "0.00123"
    assert shown_result.number(float("nan")) == "–"


def test_a_smaller_error_and_a_greater_precision_are_better():
    assert Regression.kept.rank(0.1) > Regression.kept.rank(0.2)
    assert MultiLabel.kept.rank(0.2) > MultiLabel.kept.rank(0.1)


def sites(records):
    """Every second record is of site A; the others of B."""
    return Metadata((Column("site", "string", np.array(["A", "B"] * (records // 2), object)),), 2)


def test_labels_are_scored_by_slice():
    found = dataclasses.replace(labels(), metadata=sites(4))
    a, b = sorted(found.slices.rows, key=lambda row: row.value)
    assert [row.records for row in (a, b)] == [2, 2]
    assert (
        a.scores["mean_average_precision"].value
        == label_scores.scores(TRUTH[::2], P[::2], found.answers[::2], np.ones((1, 2)))["mean_average_precision"]
    )
    assert b.scores["micro_f1"].value == pytest.approx(2 * 1 / (2 + 2))  # one of two answers, of two labels
    content = found.to_dict()["by_slice"]["slices"]
    assert {row["value"] for row in content} == {"A", "B"}
    json.dumps(content, allow_nan=False)
    said = score_table.table(found)
    assert "mean AP of all records is" in said
    assert "site = A" in said
    header, first, *_ = csv.reader(io.StringIO(found.to_csv()))
    assert (header[-1], first[-1]) == ("metadata/site", "A")


def test_numbers_have_errors_and_residuals_by_slice():
    found = dataclasses.replace(numbers(), metadata=sites(4))  # errors: 10, 0, 10, 20
    worst, best = found.slices.rows
    assert (worst.value, best.value) == ("A", "B")  # both 10 on average: in the order of the values
    assert [row.scores["mae"].value for row in (worst, best)] == [10.0, 10.0]
    assert [row.scores["residual of age"].value for row in (worst, best)] == [10.0, 10.0]
    low, high = best.scores["mae"].interval
    assert (low, high) == (0.0, 20.0)
    assert worst.scores["mae"].interval == (10.0, 10.0)
    assert not worst.worse
    other = dataclasses.replace(numbers(answers=(0.0, 20, 20, 60)), metadata=sites(4))
    assert other.slices.rows[0].worse  # all errors of A are 10, and the mean of all is 5
    assert other.slices.rows[0].scores["residual of age"].value == -10.0
    report = found.report()
    assert report.slices.columns == ("slice", "records", "MAE", "95 %", "residual", "95 %")
    header, first, *_ = csv.reader(io.StringIO(found.to_csv()))
    assert (header[-1], first[-1]) == ("metadata/site", "A")


def test_several_numbers_are_ordered_by_errors_in_standard_deviations():
    truth = np.array([[0.0, 0.0]] * 4, np.float32)
    answers = np.array([[1.0, 0.0], [0.0, 30.0]] * 2, np.float32)  # in standard deviations
    fitted = NumberFit(("x", "y"), (0.0, 0.0), (10.0, 0.1), (0.0, 0.0), "validation", 9)
    found = NumberResult("test", NumberPredictions(("x", "y"), KEYS, truth, answers), fitted, sites(4))
    first, second = found.slices.rows
    assert (first.value, second.value) == ("B", "A")
    assert first.scores["mae"].value == pytest.approx(15.0)
    assert second.scores["residual of x"].value == pytest.approx(10.0)
    assert found.report().slices.columns[2] == "MAE / std of train"


def test_a_chart_of_too_few_records_says_so(tmp_path):
    """The calibration of four records would be one group, of which no line can be drawn."""
    charts = {chart.title: chart for chart in labels().report().charts}
    calibration = charts["Calibration, and the calibration error"]
    assert not calibration.series
    assert "There are 4 records, and two groups need at least 30" in calibration.instead
    assert not charts["ROC, and the area under it"].instead
    page = task_page.render("a run", {}, [(labels(), [])])
    assert calibration.instead in page
    assert 'd=""' not in page
    without = labels(truth=np.zeros((4, 2), bool)).report().charts
    assert all("there is nothing to rank" in c.instead or "too few" in c.instead for c in without)
    plots.write_all(tmp_path, {"epoch": [1.0], "loss": [1.0]}, {"test": labels()}, 1)
    assert (tmp_path / "charts-test.png").stat().st_size > 0


def test_labels_that_validation_lacks_are_named(tmp_path):
    truth = np.array([[True, False], [False, False]])
    found = LabelPredictions(NAMES, KEYS[:2], truth, np.zeros((2, 2), np.float32))
    fitted = MultiLabel().fit(found, "validation", LABELS)
    assert fitted.unfitted == ("dog",)
    (tmp_path / "calibration.json").write_text(fitted.to_json())
    assert MultiLabel().read_fitted(tmp_path, LABELS) == fitted
    result = labels(fitted)
    [caution] = [sentence for sentence in result.cautions() if "not calibrated" in sentence]
    assert caution.startswith("In validation, either no record or every record carries these labels")
    assert caution.endswith(": dog.")
    assert "(of dog it could not be)" in result.report().tables[1].text
    assert not any("not calibrated" in sentence for sentence in labels().cautions())
