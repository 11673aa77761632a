"""A target that is among the inputs, and targets that only look like it."""

import keras
import numpy as np
import pytest

from tests.support.doctor import doctor, ids, only, subject
from trainer.doctor import run_probes
from trainer.doctor.output import words
from trainer.doctor.probes.splits import target_in_inputs

RNG = np.random.default_rng(0)
HOURS = np.arange(400)
NOISE = np.cumsum(RNG.normal(size=400)) * 0.3 + RNG.normal(size=400)
SERIES = np.stack(
    [80 + 12 * np.sin(2 * np.pi * HOURS / 24) + NOISE, *(f(2 * np.pi * HOURS / 24) for f in (np.sin, np.cos))], axis=1
).astype("float32")
TABLE = RNG.normal(size=(200, 4)).astype("float32")
KINDS = RNG.integers(0, 3, 200)


def network(x, units=1, loss="mse"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Flatten(), keras.layers.Dense(units)])
    model.compile("adam", loss)
    return model


def ask(x, y, units=1, loss="mse"):
    return run_probes.run(subject((x, y), model=network(x, units, loss)), target_in_inputs.PROBES)


def ask_classes(x, y, units=3):
    return ask(x, y, units, keras.losses.SparseCategoricalCrossentropy(from_logits=True))


def windows(series, steps=24):
    return np.stack([series[i : i + steps] for i in range(len(series) - steps)])


def with_column(values, at=2):
    return np.insert(TABLE, at, values, axis=1)


# ---- windows of series


def test_a_target_that_was_not_shifted():
    x = windows(SERIES)
    found = only(ask(x, SERIES[: len(x), 0]), "target-in-inputs")
    assert found.what == "The target is one of the numbers of its own window: step 0, column 0"
    assert found.evidence == (
        "In all 376 windows of 24 steps (0 to 23) and 3 columns that were looked at, the target is equal to it: "
        "step 0, column 0."
    )
    assert "values[sequence_length + horizon - 1:]" in found.fix
    assert ids(ask(x, SERIES[24:, 0])) == []


@pytest.mark.parametrize(("late", "expected"), [(0, ["target-in-inputs"]), (1, [])])
def test_a_window_that_ends_one_step_late(late, expected):
    """The target in other units than the inputs, at the last step and after it."""
    x, y = windows(SERIES), SERIES[23 + late :, 0] * 5 - 2
    report = ask(x, y[: len(x)])
    assert ids(report) == expected
    if expected:
        assert "the target is 5 times it - 2: step 23, column 0." in report.findings[0].evidence


def test_several_targets_of_a_window():
    x = windows(SERIES)
    found = only(ask(x, SERIES[: len(x)], units=3), "target-in-inputs")
    assert "the target is equal to it: step 0, column 0." in found.evidence
    assert ids(ask(x, SERIES[24:], units=3)) == []  # although each sine is that of 24 hours before
    ahead = np.stack([SERIES[24 + i : 24 + i + 370, 0] for i in range(6)], axis=1)
    assert ids(ask(x[:370], ahead, units=6)) == []
    behind = np.stack([SERIES[i : i + 370, 0] for i in range(6)], axis=1)
    found = only(ask(x[:370], behind, units=6), "target-in-inputs")
    assert "the target is equal to it: step 0, column 0 and 5 more." in found.evidence


def test_one_column_of_steps():
    x = windows(SERIES[:, :1])
    assert only(ask(x, SERIES[: len(x), 0]), "target-in-inputs").what.endswith("step 0, column 0")
    assert ids(ask(x, SERIES[24:, 0])) == []
    flat = only(ask(x[..., 0], SERIES[5 : 5 + len(x), 0]), "target-in-inputs")
    assert flat.what == "The target is among the inputs: column 5"
    assert ids(ask(x[..., 0], SERIES[24:, 0])) == []


@pytest.mark.parametrize(
    "series",
    [
        np.sin(2 * np.pi * HOURS / 24),  # the next value is the first one of the window
        np.sin(2 * np.pi * HOURS / 100),
        np.sin(HOURS / 2000),  # smooth: the next value is nearly the last one
        np.sin(HOURS / 12000),
        np.sin(HOURS / 200000),
        HOURS * 0.1,
        1.01**HOURS,
    ],
    ids=["period of the window", "period", "smooth", "smoother", "smoothest", "line", "growth"],
)
@pytest.mark.parametrize("flat", [False, True])
def test_series_whose_next_value_follows_from_any_other(series, flat):
    x = windows(series[:, None].astype("float32"))
    assert ids(ask(x[..., 0] if flat else x, series[24:].astype("float32"))) == []


def test_a_network_that_makes_its_input_again_or_answers_at_each_step():
    x = windows(SERIES)
    for y in (x, x[:, :, 0], np.roll(x[:, :, 0], -1, axis=1)):
        assert ids(ask(x, y, units=24)) == []
    assert ids(ask(TABLE, TABLE, units=4)) == []
    assert ids(ask(with_column(TABLE[:, 0]), TABLE, units=4)) == []


def test_classes_of_windows():
    up = (np.diff(SERIES[:, 0], prepend=0) > 0).astype("float32")
    x = windows(np.concatenate([SERIES, up[:, None]], axis=1))
    found = only(ask_classes(x, up[: len(x)].astype(int), 2), "target-in-inputs")
    assert "the label is equal to it: step 0, column 3." in found.evidence
    assert ids(ask_classes(x, up[24:].astype(int), 2)) == []


def test_a_symbol_that_is_to_be_remembered_is_a_task():
    symbols = RNG.integers(0, 3, (300, 24))
    assert ids(ask_classes(np.eye(3, dtype="float32")[symbols], symbols[:, 0])) == []
    assert ids(ask_classes(symbols[..., None].astype("float32"), symbols[:, 0])) == []


def test_the_label_at_each_step():
    x = RNG.normal(size=(200, 10, 3)).astype("float32")
    x[:, :, 1] = KINDS[:, None] * 0.5
    found = only(ask_classes(x, KINDS), "target-in-inputs")
    assert found.what == "The target is among the inputs: column 1"
    assert "each label has one number there" in found.evidence
    x[::7, :, 1] = 0.7
    assert ids(ask_classes(x, KINDS)) == []


# ---- tables


@pytest.mark.parametrize(
    ("column", "how"),
    [
        (KINDS, "the label is equal to it: column 2 (the first is 0)."),
        (np.float32([3.5, -1, 0])[KINDS], "each label has one number there: column 2 (the first is 0)."),
    ],
)
def test_the_label_in_a_table(column, how):
    found = only(ask_classes(with_column(column), KINDS), "target-in-inputs")
    assert found.evidence == f"In all 200 rows of 5 columns that were looked at, {how}"
    assert 'y = df.pop("label")' in found.fix


def test_columns_of_get_dummies():
    one_hot = np.eye(3, dtype="float32")[KINDS]
    x = np.concatenate([TABLE, one_hot], axis=1)
    for y, loss in ((KINDS, "sparse_categorical_crossentropy"), (one_hot, "categorical_crossentropy")):
        found = only(ask(x, y, 3, loss), "target-in-inputs")
        assert "each class has a column of two numbers there: column 4 and column 5 and more" in found.evidence
    assert ids(ask(x[:, :6], KINDS, 3, "sparse_categorical_crossentropy")) == ["target-in-inputs"]  # drop_first
    assert ids(ask(x[:, :5], KINDS, 3, "sparse_categorical_crossentropy")) == []  # one class, and not the others


def test_labels_of_which_several_may_be_right():
    tags = RNG.integers(0, 2, (200, 3)).astype("float32")
    x = np.concatenate([TABLE, tags], axis=1)
    assert ids(ask(x, tags, 3, "binary_crossentropy")) == ["target-in-inputs"]
    assert ids(ask(x[:, :6], tags, 3, "binary_crossentropy")) == []


def test_numbers_in_a_table():
    y = RNG.normal(100, 3, 200).astype("float32")
    found = only(ask(with_column((y - 32) / 1.8), y), "target-in-inputs")
    assert "the target is 1.8 times it + 32: column 2" in found.evidence
    assert ids(ask(with_column(y + RNG.normal(size=200) * 0.01), y)) == []  # correlation 0.99999


@pytest.mark.parametrize("case", ["side", "two-class feature", "rare", "one error", "few rows", "logic", "one column"])
def test_labels_that_columns_only_tell(case):
    y, x = (TABLE[:, 0] > 0).astype(int), TABLE
    if case == "two-class feature":
        x = with_column(y ^ (np.arange(200) % 10 == 0))
        x = np.concatenate([x, 1 - x[:, 2:3]], axis=1)  # one-hot
    elif case == "rare":
        y = (np.arange(200) % 25 == 0).astype(int)
        x = with_column(y)
    elif case == "one error":
        x = with_column(np.where(np.arange(200) == 7, 1 - y, y))
    elif case == "few rows":
        x, y = with_column(y)[:49], y[:49]
    elif case == "logic":
        x = RNG.integers(0, 2, (200, 3)).astype("float32")
        y = x[:, 0].astype(int)
    elif case == "one column":
        x = y[:, None].astype("float32")
    assert ids(ask_classes(x, y, 2)) == []


def test_a_rule_of_one_number():
    x = RNG.normal(size=(100, 1)).astype("float32")
    assert ids(ask(x, 2 * x - 1)) == []
    assert ids(ask(np.concatenate([x, 0 * x, 3 * x + 1], axis=1), 2 * x - 1)) == []


def test_labels_that_are_an_input_of_their_own_are_meant():
    """As for a head of margins (ArcFace), which takes the label beside what is to be told apart."""
    from trainer.doctor.subject.sample import Batch, Sample
    from trainer.doctor.subject.subject import Split, Subject

    def given(label, x=TABLE):
        sample = Sample((Batch(x, KINDS, inputs={"x": x, "label": label}),), KINDS, True)
        return Subject(origin="dataset", train=Split("train", sample, sample), model=None)

    for label in (KINDS[:, None], np.eye(3)[KINDS]):
        assert ids(run_probes.run(given(label), target_in_inputs.PROBES)) == []
    report = run_probes.run(given(TABLE[:, :1], with_column(KINDS)), target_in_inputs.PROBES)
    assert "column 2 of the input 'x'" in only(report, "target-in-inputs").evidence


def test_pictures_are_not_looked_at():
    y = np.arange(100) % 2
    x = RNG.random((100, 28, 28)).astype("float32")
    x[:, 3, 4] = y
    report = ask_classes(x, y, 2)
    assert ids(report) == []
    assert report.not_checked == (
        ("targets among the inputs", "the inputs are neither rows of several columns nor series"),
    )


# ---- what is no picture


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        ((24, 3), "rows"), ((100, 12), "rows"), ((50, 300), "rows"), ((24, 3, 1), "rows"), ((6, 6), "rows"),
        ((28, 28), "images"), ((8, 8), "images"), ((64, 48), "images"), ((28, 28, 1), "images"),
        ((4, 4, 3), "images"), ((32, 256, 1), "images"), ((5, 32, 32, 3), "images"),
    ],
)  # fmt: skip
def test_the_word_for_examples(shape, word):
    x, y = RNG.random((8, *shape)).astype("float32"), np.arange(8) % 2
    given = subject((x, y))
    assert words.are_rows(given) is (word == "rows")
    assert doctor(*target_in_inputs.PROBES, dataset=[(x, y)]).about[0].startswith(f"train: 8 {word} (")
