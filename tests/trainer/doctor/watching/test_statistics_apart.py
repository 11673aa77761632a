"""Rows that Normalization and Discretization layers of other statistics made."""

import keras
import numpy as np
import pytest

from tests.support.doctor import subject
from trainer.doctor.subject.training import Place
from trainer.doctor.watching.statistics_apart import StatisticsApart

RNG = np.random.default_rng(0)
ROWS, SHIFTED = (RNG.normal(mean, 1, (300, 4)).astype(np.float32) for mean in (0, 2))
LIKE = RNG.normal(0, 1, (300, 4)).astype(np.float32)


def adapted(kind, rows):
    layer = kind(num_bins=8) if kind is keras.layers.Discretization else kind()
    layer.adapt(rows)
    return layer


def found(ours, theirs, columns=4):
    """The findings; the test rows hold what `theirs` made of them, among others."""
    noted, labels = StatisticsApart(), np.arange(300) % 2
    made = []
    for name, layer, rows in (("a", ours, ROWS), ("b", theirs, SHIFTED)):
        outputs = layer(rows[:, :columns])
        noted.places[layer] = Place("train.py", 9, f"{name}.adapt(rows)")
        noted.note(layer, outputs)
        made.append((np.concatenate([LIKE[:, :1], np.asarray(outputs, np.float32)], axis=1), labels))
    seen = subject(*made)
    return noted.compare(seen.train, seen.validation)


def test_two_layers_that_scale_otherwise():
    (told,) = found(adapted(keras.layers.Normalization, ROWS), adapted(keras.layers.Normalization, SHIFTED))
    assert (told.id, told.level, told.place) == ("statistics-differ", "error", "train.py:9: b.adapt(rows)")
    assert (
        told.what == "Two Normalization layers, adapted to other data, made the training rows and those of validation"
    )
    shift = np.abs(SHIFTED.mean(0) - ROWS.mean(0)) / ROWS.std(0)
    assert f"The same number differs by {shift.mean():.2f} deviations, on average over 4 columns." in told.evidence


def test_two_layers_that_cut_otherwise():
    (told,) = found(*(adapted(keras.layers.Discretization, rows[:, :1]) for rows in (ROWS, SHIFTED)), columns=1)
    assert told.what.startswith("Two Discretization layers")
    assert "of the numbers between those of training fall into another bin." in told.evidence


@pytest.mark.parametrize("kind", [keras.layers.Normalization, keras.layers.Discretization])
def test_one_layer_or_two_of_parts_of_one_set(kind):
    one = adapted(kind, ROWS[:, :1])
    assert found(one, one, columns=1) == []
    assert found(one, adapted(kind, LIKE[:, :1]), columns=1) == []


def test_rows_that_no_layer_made():
    noted, labels = StatisticsApart(), np.arange(300) % 2
    layer = adapted(keras.layers.Normalization, SHIFTED)
    noted.note(layer, layer(SHIFTED))
    seen = subject((ROWS, labels), (LIKE, labels))
    assert noted.compare(seen.train, seen.validation) == []
    assert noted.compare(seen.train, None) == []
