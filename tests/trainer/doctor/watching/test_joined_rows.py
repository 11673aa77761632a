"""Tables that pandas joins by numbers of rows: those that mean different rows, and their healthy twins."""

import numpy as np
import pandas as pd
import pytest

from trainer.doctor.watching.joined_rows import JoinedRows
from trainer.doctor.watching.places import Places

RNG = np.random.default_rng(0)
N = 60
RAW = pd.DataFrame({"area": RNG.random(N), "age": RNG.random(N), "price": RNG.random(N)})
RAW.loc[5:14, "age"] = np.nan
KEPT = RAW.dropna()  # rows 0 to 4 and 15 to 59
DATES = pd.date_range("2020-01-01", periods=N)


@pytest.fixture
def joined(monkeypatch):
    """Watches pandas, and puts it back."""
    made = JoinedRows(Places({}, "."))
    made.start(lambda owner, name, make: monkeypatch.setattr(owner, name, make(getattr(owner, name))))
    return made


def new(frame, **options):
    """What a scaler gives: the same rows in a table of its own."""
    return pd.DataFrame(2 * frame.to_numpy(), columns=[f"new {name}" for name in frame], **options)


def concat(frame, **options):
    return pd.concat([new(frame, **options), frame["price"]], axis=1)


def concat_by_name(frame, **options):
    return pd.concat({"a": new(frame, **options), "b": frame}, axis="columns", join="inner")


def join(frame, **options):
    return new(frame, **options).join(frame["price"])


def merge(frame, **options):
    return frame.merge(new(frame, **options), left_index=True, right_index=True, how="outer")


def assign(frame, **options):
    return new(frame, **options).assign(price=frame["price"])


def insert(frame, **options):
    made = new(frame, **options)
    made.insert(0, "price", frame["price"])
    return made


def column(frame, **options):
    made = new(frame, **options)
    made["price"] = frame["price"]
    return made


def dictionary(frame, **options):
    return pd.DataFrame({"price": frame["price"], "new": new(frame, **options)["new area"]})


def columns(frame, **options):
    made = frame.copy()
    made[["a", "b", "c"]] = new(frame, **options)
    return made


JOINS = [concat, concat_by_name, join, merge, assign, insert, column, columns, dictionary]


@pytest.mark.parametrize("call", JOINS)
def test_rows_that_kept_their_numbers_beside_a_new_table(joined, call):
    call(KEPT, index=KEPT.index)
    assert joined.finding is None
    call(KEPT.reset_index(drop=True))
    assert joined.finding is None
    call(KEPT)
    assert (joined.finding.id, joined.finding.level) == ("rows-misaligned", "error")
    assert joined.finding.evidence == (
        "Both sides have 50 rows. One numbers them from 0 to 49, as every new table does. The other has the numbers "
        "that its rows had in a table before: 0, 1, 2, 3 ... 59. 35 of its rows are joined with another row, and 10 "
        "with none, which gives NaN."
    )


def test_the_line_and_the_call_are_told(joined):
    column(KEPT)
    assert joined.finding.place.endswith('made["price"] = frame["price"]')
    assert joined.finding.what.startswith("The assignment of a column of pandas joins columns of different rows")


def test_pandas_reads_an_iterator_once(joined):
    made = pd.concat(iter([new(KEPT), KEPT["price"]]), axis=1)
    pd.testing.assert_frame_equal(made, concat(KEPT))
    assert len(made) == 60


def test_a_column_may_have_any_name(joined):
    made = RAW.assign(frame=1, columns=3, original=4)
    assert list(made)[-3:] == ["frame", "columns", "original"]
    assert list(pd.merge(left=RAW, right=RAW, on="area")) == ["area", "age_x", "price_x", "age_y", "price_y"]
    made.insert(loc=0, column="first", value=1)
    assert list(pd.DataFrame(data={"a": [1]})) == ["a"]


SPLIT = RAW.sample(40, random_state=1)


@pytest.mark.parametrize("call", [concat, join, column])
def test_rows_of_a_random_split(joined, call):
    call(SPLIT)
    assert "Both sides have 40 rows." in joined.finding.evidence


def test_rows_behind_those_that_a_rolling_mean_has_no_value_for(joined):
    smooth = RAW[["area"]].rolling(10).mean().dropna()
    smooth["scaled"] = pd.Series(smooth["area"].to_numpy() * 2)
    assert "0 to 50" in joined.finding.evidence


def lagged(frame):
    before = frame["area"].copy()
    before.index += 1
    return before


@pytest.mark.parametrize(
    "call",
    [
        lambda: pd.concat([RAW, RAW.sample(frac=1, random_state=0)["area"].rename("b")], axis=1),  # another order
        lambda: pd.concat([RAW.set_index(DATES), new(RAW).set_index(DATES + pd.Timedelta("1D"))], axis=1),
        lambda: pd.concat([RAW, new(KEPT)], axis=1),  # other lengths
        lambda: pd.concat([RAW, new(RAW).set_index(pd.Index(range(100, 160), name="id"))], axis=1),
        lambda: pd.concat([RAW, lagged(RAW).rename("before")], axis=1),
        lambda: RAW.assign(before=lagged(RAW)),
        lambda: RAW.assign(age=KEPT["age"]),
        lambda: KEPT.assign(area=RAW["area"] * 2),  # the series has more rows
        lambda: pd.concat([KEPT, new(KEPT)]),  # one below the other
        lambda: RAW.assign(row=np.arange(N)[::-1]).join(new(RAW).set_index(np.arange(N) + 9), on="row"),
        lambda: pd.concat([RAW.iloc[:10], new(RAW.iloc[20:30]).set_index(RAW.index[20:30])], axis=1),  # few rows
        lambda: RAW.assign(whole=3, double=lambda frame: frame["area"] * 2),
        lambda: RAW.set_index(pd.Index([f"row {i}" for i in range(N)])).assign(area=RAW["area"]),
    ],
)
def test_joins_that_are_meant_so(joined, call):
    call()
    assert joined.finding is None


@pytest.mark.parametrize("form", [lambda mask: mask, np.asarray, list])
def test_rows_that_a_condition_chooses(joined, form):
    made = KEPT.copy()
    made[form(made["area"] >= 0)] = new(KEPT).set_axis(made.columns, axis=1)
    assert joined.finding is None


def test_a_table_that_cannot_be_looked_at_is_left_to_pandas(joined):
    class Odd(pd.Series):
        @property
        def iloc(self):
            raise RuntimeError

    made = RAW.copy()
    made["odd"] = Odd(np.arange(N), index=np.arange(N) + 5)
    assert made["odd"].isna().sum() == 5
    assert joined.finding is None
