"""The value of --folds, and what follows for the splits."""

import pytest

from pipelines.plan import folds
from pipelines.plan.folds import Division


def test_folds_and_repeats_are_read():
    assert [folds.parsed(text) for text in ("", "2", "5x2", "36", "10×3")] == [
        None, Division(2, 1), Division(5, 2), Division(36, 1), Division(10, 3),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["0", "1", "37", "5x", "x5", "5x0", "5x101", "-5", "five", "5 x 2"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="should be a number of folds from 2 to 36"):
        folds.parsed(text)


def test_the_shares_of_folds_are_equal_and_in_the_order_of_their_numbers():
    assert list(Division(4, 1).shares.items()) == [("0", 0.25), ("1", 0.25), ("2", 0.25), ("3", 0.25)]


def test_validation_goes_to_train_and_other_splits_stay():
    assert folds.splits({"train": 0.5, "holdout": 0.25, "validation": 0.25}) == {"train": 0.75, "holdout": 0.25}
    assert folds.splits({"train": 1.0}) == {"train": 1.0}


def test_cuts_say_the_fold_of_each_repeat():
    half = 1 << 63
    cuts = {folds.key(r, "ant"): [(half, "0"), (2 * half, "1")] for r in range(2)}
    found = folds.of_unit("unit", "ant", 7, cuts)

    assert found == tuple(int(folds.position(7, r, "unit") >= half) for r in range(2))
    assert folds.of_unit("unit", "bee", 7, cuts) == ()
