"""Sorting in runs is sorting."""

from __future__ import annotations

import tempfile

from hypothesis import given
from hypothesis import strategies as st

from pipelines.storage import external_sort

pairs = st.lists(st.tuples(st.integers(0, 9), st.integers()), max_size=60)


@given(pairs, st.integers(1, 12), st.integers(1, 5))
def test_sorted_in_runs_of_any_length_equals_sorted_at_once(items, run, block):
    assert list(external_sort.ordered(items, key=lambda i: i[0], run=run, block=block)) == sorted(
        items, key=lambda i: i[0]
    )


def test_no_more_than_a_run_is_taken_from_memory_at_a_time(monkeypatch):
    """What comes is written down before more is asked for, and what fits one run needs no file."""
    made, left = [], []
    write = external_sort._write

    def noted(items, *others):
        left.append(len(items))
        return write(items, *others)

    monkeypatch.setattr(external_sort, "_write", noted)
    temporary = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: made.append(1) or temporary())
    assert list(external_sort.ordered([3, 1, 2], key=lambda i: i, run=4)) == [1, 2, 3]
    assert (made, left) == ([], [])
    assert list(external_sort.ordered(range(10, 0, -1), key=lambda i: i, run=4)) == list(range(1, 11))
    assert (made, left) == ([1], [4, 4, 2])
