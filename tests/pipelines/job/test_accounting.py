"""How many rejects are too many, and what is said of a class that is gone; on counts made by hand."""

from __future__ import annotations

import pytest

from pipelines.core import elements
from pipelines.core.errors import DataRejectedError
from pipelines.core.summary import Rejected, Summary
from pipelines.job import accounting


def summary(read: int, **rejected: int) -> Summary:
    rejects = tuple(Rejected(f"in/{reason}", "bee", "", "", "list", reason, "Why.") for reason in rejected)
    return Summary(
        read=read, classes={}, rejected=rejected, rejects=rejects, formats={}, conversions={}, widths={}, heights={},
        file_bytes={}, pixel_histogram={}, duplicate_groups=0, conflicting_groups=0, straddling_groups=0, duplicates=(),
        thumbnails=(), settings={}, engine={}, warnings=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("read", "bad", "rate", "fails"),
    [
        (100, 1, 0.01, False),  # as many as are allowed
        (100, 2, 0.01, True),
        (199, 2, 0.01, True),  # 1.005 of 100
        (200, 2, 0.01, False),
        (1000, 1, 0.0, True),
        (1000, 0, 0.0, False),
        (10, 10, 1.0, False),
    ],
)
def test_the_limit_of_rejects_is_exact(read, bad, rate, fails):
    counts = summary(read, empty=bad)
    if not fails:
        accounting.check_rejects(counts, rate, "rejected.jsonl")
        return
    with pytest.raises(DataRejectedError) as raised:
        accounting.check_rejects(counts, rate, "rejected.jsonl")
    assert str(raised.value) == (
        f"{bad} of {read} inputs were rejected ({bad / read:.1%}); --max-reject-rate allows {rate:.1%}. Reasons: "
        f"empty {bad}; first: in/empty. Each is listed in rejected.jsonl. Nothing was published."
    )


@pytest.mark.parametrize("reason", elements.HARMLESS)
def test_harmless_rejects_count_neither_as_bad_nor_as_inputs(reason):
    accounting.check_rejects(summary(1000, **{reason: 900, "empty": 1}), 0.01, "")  # 1 of 100
    with pytest.raises(
        DataRejectedError, match=r"^2 of 100 inputs were rejected \(2\.0%\).*: empty 2; first: in/empty"
    ):
        accounting.check_rejects(summary(1000, **{reason: 900, "empty": 2}), 0.01, "")  # 2 of 100, not 2 of 1000


def test_only_harmless_rejects_are_never_too_many():
    accounting.check_rejects(summary(3, hidden=3), 0.0, "")


def test_labels_of_which_nothing_is_left_are_named():
    rejected = {("", "dog"): 1, ("train", "dog"): 2, ("", "cat"): 7, ("", ""): 3, ("", ".git"): 4, ("", "b" * 99): 1}
    assert list(accounting._lost_labels(("cat",), rejected)) == [
        f"These labels are not in the dataset, because all of their inputs were rejected: {'b' * 79}… (1), dog (3)."
    ]
    assert list(accounting._lost_labels(("cat", "dog", "b" * 99), rejected)) == []
