"""Validation rows on which an earlier fit of the same model trained."""

import os

import keras
import numpy as np
import pytest

from trainer.doctor.subject.training import Place
from trainer.doctor.watching.seen_rows import SeenRows

ROWS = np.random.default_rng(0).random((60, 4))
FIRST, SECOND = ROWS[:40], ROWS[40:]
PLACE = Place("train.py", 7, "model.fit(...)")


def network():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])


def fit(seen, model, x, validation, place=PLACE):
    given = {"x": x, "validation_data": None if validation is None else (validation, np.zeros(len(validation)))}
    seen.begin(model, given, place)
    model.set_weights([w + 1 for w in model.get_weights()])  # as a training changes them
    seen.end(model, given)


def test_folds_of_one_model_that_goes_on():
    seen, model = SeenRows(), network()
    fit(seen, model, FIRST, SECOND)
    assert seen.finding is None
    fit(seen, model, np.concatenate([SECOND, FIRST[20:]]), FIRST[:20].astype("float32"))
    assert (seen.finding.id, seen.finding.place) == ("validation-trained-on", "train.py:7: model.fit(...)")
    assert seen.finding.evidence.startswith("Of 20 validation rows, an earlier fit of this model trained on 20")


def test_half_of_the_rows_are_enough():
    for old, expected in ((10, True), (9, False)):
        seen, model = SeenRows(), network()
        fit(seen, model, FIRST, None)
        fit(seen, model, SECOND[:5], np.concatenate([FIRST[:old], SECOND[5 : 25 - old]])[:20])
        assert (seen.finding is not None) is expected


@pytest.mark.parametrize("case", ["new model", "set back", "the same split", "its own rows", "few rows", "not arrays"])
def test_sound_programs(case):
    seen, model = SeenRows(), network()
    first = model.get_weights()
    fit(seen, model, FIRST, SECOND)
    if case == "new model":
        fit(seen, network(), SECOND, FIRST)
    elif case == "set back":
        model.set_weights(first)
        fit(seen, model, SECOND, FIRST)
    elif case == "the same split":
        fit(seen, model, FIRST, SECOND)
    elif case == "its own rows":  # they have a finding of their own
        fit(seen, model, ROWS, FIRST)
    elif case == "few rows":
        fit(seen, model, SECOND, FIRST[:9])
    else:
        seen.begin(model, {"x": iter(()), "validation_data": iter(())}, PLACE)
        seen.end(model, {"x": iter(())})
    assert seen.finding is None


def test_large_images_are_told_apart_by_little_memory():
    images = np.random.default_rng(1).integers(0, 256, (40, 64, 64, 3), np.uint8)
    seen, model = (
        SeenRows(),
        keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Flatten(), keras.layers.Dense(1)]),
    )
    fit(seen, model, images[:20], None)
    (kept,) = seen._past(model)
    assert sum(map(len, kept.rows)) == 20 * 8
    assert kept.table.shape == (20, 64)
    fit(seen, model, images[20:30], images[30:])
    assert seen.finding is None
    fit(seen, model, images[30:], images[:20])
    assert seen.finding.id == "validation-trained-on"


# ---- rows of evaluate and predict

PARTS = np.split(ROWS, 3)


def fold(seen, model, number, scaled=lambda rows, by: rows, call="evaluate"):
    """Fits on two thirds and judges by the other one."""
    train = np.concatenate([part for i, part in enumerate(PARTS) if i != number])
    fit(seen, model, scaled(train, train), None)
    seen.judge(model, scaled(PARTS[number], train), Place("train.py", 9, "model.evaluate(...)"), call)


def standardized(rows, by):
    return (rows - by.mean(axis=0)) / by.std(axis=0)


def to_unit(rows, by):
    return ((rows - by.min(axis=0)) / np.ptp(by, axis=0)).astype("float32")


@pytest.mark.parametrize("scaled", [lambda rows, by: rows, standardized, to_unit], ids=["as they are", "std", "unit"])
def test_folds_that_evaluate_judges(scaled):
    seen, model = SeenRows(), network()
    fold(seen, model, 0, scaled)
    assert seen.finding is None
    fold(seen, model, 1, scaled)
    assert (seen.finding.id, seen.finding.place) == ("validation-trained-on", "train.py:9: model.evaluate(...)")
    assert seen.finding.what.startswith("The rows that evaluate gets are training data of an earlier fit")
    assert "an earlier fit of this model trained on 20, " in seen.finding.evidence
    assert ("another scale" in seen.finding.evidence) is (scaled in (standardized, to_unit))


@pytest.mark.parametrize("scaled", [standardized, to_unit])
def test_folds_with_validation_data_that_are_scaled_anew(scaled):
    seen, model = SeenRows(), network()
    for train, other in ((ROWS[20:], ROWS[:20]), (ROWS[:40], ROWS[40:])):
        assert seen.finding is None
        fit(seen, model, scaled(train, train), scaled(other, train))
    assert seen.finding.evidence.startswith("Of 20 validation rows that were looked at, an earlier fit of this model")


def test_answers_of_predict_are_kept_apart():
    seen, model = SeenRows(), network()
    fold(seen, model, 0, call="predict")
    fold(seen, model, 1, call="predict")
    assert seen.finding is None
    ((found, place),) = seen.of_predict
    assert (found.what[:27], place.line) == ("The rows that predict gets ", 9)


@pytest.mark.parametrize(
    "case",
    ["new model", "set back", "cloned", "own rows", "two stages", "tasks in turn", "part of it", "replay", "unseen"],
)
@pytest.mark.parametrize("scaled", [False, True])
def test_sound_calls_of_evaluate(case, scaled):
    seen, model = SeenRows(), network()
    first = model.get_weights()
    change = standardized if scaled else lambda rows, by: rows

    def judge(rows, train):
        seen.judge(model, change(rows, train), PLACE, "evaluate")
        seen.judge(model, change(rows, train), PLACE, "predict")

    if case in ("new model", "set back", "cloned"):
        for number in range(3):
            if case == "set back":
                model.set_weights(first)
            elif number:
                model = network() if case == "new model" else keras.models.clone_model(model)
            fold(seen, model, number, change)
    elif case == "own rows":
        for train in (ROWS[20:], ROWS[:40]):
            fit(seen, model, change(train, train), None)
            judge(train[:20], train)
            judge(train, train)
    elif case == "two stages":
        for _ in range(2):
            fit(seen, model, change(ROWS[:40], ROWS[:40]), None)
            judge(ROWS[40:], ROWS[:40])
    elif case == "tasks in turn":
        fit(seen, model, ROWS[:20], None)
        fit(seen, model, ROWS[20:], None)
        judge(ROWS[:20], ROWS[:20])
    elif case == "part of it":
        fit(seen, model, change(ROWS, ROWS), None)
        fit(seen, model, change(ROWS[:30], ROWS), None)
        judge(ROWS, ROWS)
    elif case == "replay":
        for start in (0, 10, 20):
            fit(seen, model, ROWS[start : start + 20], None)
        judge(ROWS[:20], ROWS)
    else:
        fit(seen, model, change(ROWS[:30], ROWS[:30]), None)
        fit(seen, model, change(ROWS[10:40], ROWS[10:40]), None)
        judge(ROWS[40:], ROWS[10:40])
    assert (seen.finding, seen.of_predict) == (None, [])


@pytest.mark.parametrize(("saved", "expected"), [("in the fit", True), ("before it", False)])
def test_weights_of_a_file(tmp_path, saved, expected):
    """Those of a checkpoint have seen the rows of their fit, and those that were saved before it have not."""
    seen, model, file = SeenRows(), network(), tmp_path / "best.weights.h5"
    model.save_weights(file)
    os.utime(file, (1, 1))
    for number in range(2):
        train = np.concatenate([part for i, part in enumerate(PARTS) if i != number])
        seen.begin(model, {"x": train}, PLACE)
        model.set_weights([w + 1 for w in model.get_weights()])
        if saved == "in the fit":
            model.save_weights(file)
        model.set_weights([w + 1 for w in model.get_weights()])
        seen.end(model, {"x": train})
        model.load_weights(file)
        seen.loaded(model, str(file))
        seen.judge(model, PARTS[number], PLACE, "evaluate")
    assert (seen.finding is not None) is expected


def test_a_table_of_few_values_is_not_taken_for_seen():
    """Rows of equal counts are there by chance, and in the last fit as well."""
    seen, model = SeenRows(), network()
    rows = np.random.default_rng(2).integers(0, 3, (300, 4)).astype("float32")
    fit(seen, model, rows[:150], None)
    fit(seen, model, rows[100:250], None)
    seen.judge(model, rows[250:], PLACE, "evaluate")
    assert seen.finding is None
