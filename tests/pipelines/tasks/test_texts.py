"""The text of an answer says exactly one answer, and equal answers have equal texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tasks import multi_label, regression
from pipelines.tasks.kind import Answers
from pipelines.tasks.kinds import KINDS

LABELS = st.text(st.sampled_from("ab|\\ é"), min_size=1, max_size=5)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.sets(LABELS, max_size=5))
def test_a_set_of_labels_makes_the_round_trip(labels):
    text = multi_label.text_of(labels)
    assert multi_label.parsed(text) == tuple(sorted(labels))
    assert text == multi_label.text_of(sorted(labels, reverse=True))


def test_the_texts_are_readable():
    assert multi_label.text_of(["dog", "cat", "dog"]) == "cat|dog"
    assert multi_label.text_of([]) == "|"
    assert multi_label.text_of(["|"]) == "\\|"
    assert regression.text_of((0.1, 31.0, -2.5)) == "0.1,31,-2.5"


@given(st.lists(FLOATS, min_size=1, max_size=4))
def test_numbers_make_the_round_trip_to_the_bit(values):
    stored = np.array(values, np.float32)
    assert np.array(regression.parsed(regression.text_of(values)), np.float32).tobytes() == stored.tobytes()


@given(FLOATS, FLOATS)
def test_positions_are_in_the_order_of_the_numbers(a, b):
    if a != b:
        assert (regression.position(a) < regression.position(b)) == (a < b)


def test_answers_are_what_records_hold():
    several = Answers(KINDS["multi-label"], ("ant", "bee", "cat"))
    assert (several["ant|cat"], several["|"]) == ((1.0, 0.0, 1.0), (0.0, 0.0, 0.0))
    assert Answers(KINDS["classes"], ("ant", "bee"))["bee"] == 1
    assert Answers(KINDS["regression"], ())["0.5,2"] == (0.5, 2.0)


@pytest.mark.parametrize("name", KINDS)
def test_a_record_tells_the_text_again(name):
    kind, labels = KINDS[name], ("ant", "bee", "cat")
    text = {"classes": "bee", "multi-label": "ant|cat", "regression": "0.1,7"}[name]
    assert kind.text(Answers(kind, labels)[text], labels) == text


@pytest.mark.parametrize(
    ("cell", "separator", "expected"),
    [
        ("a|b", "|", ("a", "b")), (" a ; b ;", ";", ("a", "b")), ("a b", " ", ("a", "b")), ("a b", "", ("a b",)),
        ('["a", "b"]', "|", ("a", "b")), ("['a', 'b']", "", ("a", "b")), (["a", 3], "", ("a", "3")),
        ("['a, b', 'c']", "", ("a, b", "c")), ("[a, b]", "|", ("a", "b")),
        ("[" * 9999 + "]", "", ("[" * 9998,)), ("[]", "", ()),
        ("", "|", ()), (None, "|", ()), (float("nan"), "", ()), ([b"a", b"b"], "", ("a", "b")), ("a|a", "|", ("a",)),
        ([["a"]], "", "should have labels that are texts or numbers. Received: [['a']]"),
        ({"a": 1}, "", "should have labels that are texts or numbers. Received: {'a': 1}"),
    ],
)  # fmt: skip
def test_labels_are_read_of_cells(cell, separator, expected):
    assert multi_label.of_cell(cell, separator) == expected


@pytest.mark.parametrize("cell", ["", "old", None, "nan", "inf", float("nan"), "1_0", "1e39", [1.0], True])
def test_what_is_no_number_is_said_with_the_column(cell):
    assert str(regression.of_cells((1, cell), ("x", "y"))).startswith("should have a number as its y. Received: ")


def test_numbers_are_read_of_cells():
    assert regression.of_cells(("31", 0.25, " -0.0 "), ("a", "b", "c")) == (31.0, 0.25, 0.0)


def test_the_rarest_label_is_the_stratum():
    counts = {"ant": 9, "bee": 2, "cat": 2}
    assert [KINDS["multi-label"].stratum(t, counts) for t in ("ant|cat", "bee|cat", "ant", "|")] == [
        "cat", "bee", "ant", "",
    ]  # fmt: skip


def test_pairs_are_counted():
    assert multi_label.pairs({"a|b": 2, "a|b|c": 1, "c": 5, "|": 4}) == {("a", "b"): 3, ("a", "c"): 1, ("b", "c"): 1}


def test_a_decimal_comma_is_named():
    told = "should have a number as its age. Received: '3,5': write it with a point in place of the comma"
    assert regression.of_cells(("3,5",), ("age",)) == told
    assert regression.of_cells(("3,5", 2), ("age", "x"), ("age", "x")) == (3.5, 2.0)
    assert str(regression.of_cells(("1,234.5",), ("age",))).endswith("Received: '1,234.5'")
