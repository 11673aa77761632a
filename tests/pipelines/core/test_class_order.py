"""The order of class ids: by number where all labels are numbered alike, else by code point."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core import class_order


@pytest.mark.parametrize(
    "names",
    [
        [str(n) for n in range(12)],
        ["-2", "-1", "0", "0.25", "0.5", "3", "10"],
        ["01", "1", "2"],
        ["class1", "class2", "class10", "class20a", "class20b"],
        ["0_plane", "2_bird", "10_truck"],
        ["1.9", "1.10a", "2.1"],  # not all are numbers: chapters
        ["fold1 class2", "fold1 class10", "fold2 class1"],
        # No common pattern: by code point.
        ["10", "2", "other"],
        ["a10", "a2", "b1"],
        ["10", "2", "class1"],
        ["Zoo", "ant", "élan"],
        ["1", "²"],
        [],
    ],
    ids=repr,
)
def test_the_order(names):
    assert class_order.ordered(reversed([*names, *names])) == tuple(names)


@given(st.lists(st.text(st.sampled_from("a0129-. "), max_size=6)))
def test_every_label_has_one_place_whatever_the_order_of_the_input(labels):
    made = class_order.ordered(labels)
    assert sorted(made) == sorted(set(labels))
    assert made == class_order.ordered(sorted(labels))


def test_fixed_classes_come_first_and_the_others_have_an_order_of_their_own():
    assert class_order.ordered(["10", "2", "cat", "ant"], ["cat", "zebra", "ant"]) == ("cat", "zebra", "ant", "2", "10")


def test_the_order_is_told_where_it_is_not_that_of_the_names():
    assert class_order.told(["ant", "bee"]) == class_order.told(["class1", "class2"]) == ""
    assert class_order.told([str(n) for n in range(11)]) == (
        "The ids of the classes follow the numbers in their names: 0, 1, 2, 3, …. --classes gives another order."
    )
