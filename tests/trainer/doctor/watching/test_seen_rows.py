"""Validation rows on which an earlier fit of the same model trained."""

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
    assert sum(map(len, seen._past[model].rows)) == 20 * 8
    fit(seen, model, images[20:30], images[30:])
    assert seen.finding is None
    fit(seen, model, images[30:], images[:20])
    assert seen.finding.id == "validation-trained-on"
