"""Parts of a split by the columns that travel along: which records they have, their scores and their order."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pipelines.contract.metadata import MISSING_INTEGER, TEXT
from trainer.evaluation import slices
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.predictions import Predictions, to_csv
from trainer.evaluation.scores.calibration import UNCALIBRATED
from trainer.evaluation.scores.intervals import Interval, wilson
from trainer.evaluation.slices import Column, Metadata, Score
from trainer.reporting import class_page, score_table
from trainer.tasks import slice_table


def text(*values):
    return Column("site", "string", np.array(values, object))


def integers(*values):
    return Column("age", "int64", np.array(values, np.int64))


def found(column, smallest=1):
    """The positions of each slice, scored by nothing."""
    parts = {}

    def score(positions):
        parts[len(parts)] = positions.tolist()
        return {"score": Score(0.0, Interval(0.0, 0.0))}

    rows = slices.scored(Metadata((column,), smallest), score, 0.0)
    return {row.value: parts[i] for i, row in enumerate(rows.rows)}, rows.notes


def test_each_text_is_a_slice_and_so_is_what_is_missing():
    assert found(text("B", "A", "", "B"))[0] == {"A": [1], "B": [0, 3], "(missing)": [2]}


def test_few_numbers_are_a_slice_each():
    assert found(integers(1, 0, MISSING_INTEGER, 1))[0] == {"0": [1], "1": [0, 3], "(missing)": [2]}
    column = Column("dose", "float32", np.array([0.5, math.nan, 0.5, 2], np.float32))
    assert found(column)[0] == {"0.5": [0, 2], "2": [3], "(missing)": [1]}


def test_many_numbers_are_four_parts_of_about_equal_size():
    values = np.random.default_rng(0).permutation(100)
    parts, _ = found(integers(*values))
    assert list(parts) == ["0 to 24", "25 to 49", "50 to 74", "75 to 99"]
    assert sorted(values[parts["25 to 49"]].tolist()) == list(range(25, 50))


def test_equal_numbers_are_never_in_two_parts():
    parts, _ = found(integers(*[7] * 60, *range(40)))
    assert sum(map(len, parts.values())) == 100
    [with_seven] = [part for part in parts.values() if 0 in part]
    assert set(range(60)) <= set(with_seven)


def test_slices_with_few_records_are_left_out_and_counted():
    column = text(*"AAAAABBBC", "")
    parts, notes = found(column, smallest=3)
    assert list(parts) == ["A", "B"]
    assert notes == ("Parts with fewer than 3 records are left out: 2 of 'site'.",)
    assert found(text(*"AAAB"), smallest=1)[1] == ()


def test_identifiers_have_no_slices():
    parts, [note] = found(text(*map(str, range(60))))
    assert parts == {}
    assert note == "The text column 'site' has 60 different values: it has no slices. At most 50 have some."


@pytest.mark.parametrize("greater", [True, False])
def test_the_worst_comes_first_and_is_marked_if_all_of_its_interval_is_worse(greater):
    values = {"A": (0.9, (0.8, 1.0)), "B": (0.2, (0.1, 0.3)), "C": (0.6, (0.4, 0.8)), "D": (math.nan, (math.nan,) * 2)}
    names = text(*values)

    def score(positions):
        value, ends = values[names.values[positions[0]]]
        return {"score": Score(value, Interval(*ends))}

    rows = slices.scored(Metadata((names,), 1), score, 0.5, greater).rows

    order = ["B", "C", "A"] if greater else ["A", "C", "B"]
    assert [row.value for row in rows] == [*order, "D"]
    assert [row.value for row in rows if row.worse] == order[:1]
    json.dumps(slices.Slices(1, rows).to_dict(), allow_nan=False)


LABELS = np.array([0, 0, 0, 0, 1, 1, 0, 0, 1, 1])
ANSWERS = np.array([0, 0, 0, 1, 1, 1, 1, 1, 0, 1])
SITES = text(*"AAAAAABBBB")


@pytest.fixture
def assessment():
    """Site A: 5 of 6 right, 3 of 4 and 2 of 2 by class. Site B: 1 of 4 right, 0 of 2 and 1 of 2."""
    keys = tuple(f"{i:016x}-000" for i in range(10))
    found = Predictions(("cat", "dog"), keys, LABELS, np.eye(2, dtype=np.float32)[ANSWERS] * 4)
    ages = integers(*range(9), MISSING_INTEGER)
    return Assessment("test", found, UNCALIBRATED, Metadata((SITES, ages), 4))


def test_a_classifier_is_scored_by_slice(assessment):
    rows = {(row.column, row.value): row for row in assessment.slices.rows}

    a, b = rows["site", "A"], rows["site", "B"]
    assert (a.records, b.records) == (6, 4)
    assert a.scores["balanced_accuracy"].value == pytest.approx((3 / 4 + 1) / 2)
    assert b.scores["balanced_accuracy"].value == pytest.approx((0 + 1 / 2) / 2)
    assert b.scores["accuracy"] == (1 / 4, wilson(1, 4))
    low, high = a.scores["balanced_accuracy"].interval
    assert low < 0.875 < high + 1e-9
    assert assessment.slices.rows[0] is b
    told = assessment.to_dict()["by_slice"]
    assert told["smallest"] == 4
    assert told["slices"][0]["balanced_accuracy"] == 0.25
    assert told["slices"][0]["accuracy_interval"] == list(wilson(1, 4))


def test_a_class_without_records_in_a_slice_does_not_count():
    labels = np.zeros(5, np.int64)
    found = Predictions(("cat", "dog"), tuple("abcde"), labels, np.eye(2, dtype=np.float32)[[0, 0, 0, 0, 1]])
    [row] = Assessment("test", found, UNCALIBRATED, Metadata((text(*"AAAAA"),), 1)).slices.rows
    assert row.scores["balanced_accuracy"].value == 0.8


def test_a_part_of_one_class_has_the_interval_of_its_accuracy():
    labels = np.array([0, 0, 0, 0, 1, 0])
    found = Predictions(("cat", "dog"), tuple("abcdef"), labels, np.eye(2, dtype=np.float32)[[0, 0, 0, 1, 1, 0]])
    rows = Assessment("test", found, UNCALIBRATED, Metadata((text(*"AAAABB"),), 1)).slices.rows
    a, b = (next(row for row in rows if row.value == value) for value in "AB")
    assert a.scores["balanced_accuracy"] == (3 / 4, wilson(3, 4))
    # Both classes of B are right. Resamples would all be right, too, and say that there is no doubt.
    assert b.scores["accuracy"] == (1, wilson(2, 2))
    low, high = b.scores["balanced_accuracy"].interval
    assert (low, high) == (pytest.approx(1 - (1 - wilson(1, 1).low) * 2**0.5 / 2), 1)


def test_a_column_that_repeats_the_classes_has_no_parts():
    labels = np.array([0, 0, 1, 1, 1])
    found = Predictions(("cat", "dog"), tuple("abcde"), labels, np.eye(2, dtype=np.float32)[labels])
    columns = Column("folder", TEXT, np.array([*"AABBC"], object)), text(*"XXXXX")
    made = Assessment("test", found, UNCALIBRATED, Metadata(columns, 1)).slices
    assert made.notes == ("'folder' repeats the classes: see the scores of each class instead.",)
    assert [(row.column, row.value) for row in made.rows] == [("site", "X")]


def test_predictions_carry_the_columns(assessment):
    lines = to_csv(assessment.predictions, 1.0, assessment.metadata).splitlines()
    assert lines[0].endswith(",metadata/site,metadata/age")
    assert lines[1].endswith(",A,0")
    assert lines[10].endswith(",B,")
    plain = to_csv(assessment.predictions, 1.0).splitlines()
    assert [line.rsplit(",", 2)[0] for line in lines] == plain


def test_cells_are_the_shortest_texts_of_values():
    dose = Column("dose", "float32", np.array([2.7, math.nan, 1e-5, 40], np.float32))
    assert dose.texts() == ["2.7", "", "1e-05", "40.0"]
    assert integers(MISSING_INTEGER, -3).texts() == ["", "-3"]
    assert Metadata((dose, text("A", "", "B", "C"))).rows(4) == [
        ("2.7", "A"), ("", ""), ("1e-05", "B"), ("40.0", "C"),
    ]  # fmt: skip


def test_page_and_terminal_show_the_worst_slices(assessment):
    said = score_table.table(assessment)
    assert "slice " in said
    assert said.index("site = B") < said.index("site = A")
    shown = class_page.render("t", {}, [assessment], {})
    assert "<h3>Slices</h3>" in shown
    assert shown.index("site = B") < shown.index("site = A")
    assert "left out: 5 of &#39;age&#39;." in shown


def test_without_columns_nothing_is_shown():
    found = Predictions(("cat", "dog"), tuple("ab"), np.array([0, 1]), np.eye(2, dtype=np.float32))
    plain = Assessment("test", found, UNCALIBRATED)
    assert "by_slice" not in plain.to_dict()
    assert slice_table.of_classes(plain) is None
    assert "Slices" not in class_page.render("t", {}, [plain], {})


def test_names_of_strangers_are_escaped():
    found = Predictions(("cat", "dog"), tuple("ab"), np.array([0, 1]), np.eye(2, dtype=np.float32))
    column = Column("<b>", "string", np.array(["<script>", "<script>"], object))
    shown = class_page.render("t", {}, [Assessment("test", found, UNCALIBRATED, Metadata((column,), 1))], {})
    assert "<script>" not in shown
    assert "&lt;b&gt; = &lt;script&gt;" in shown
