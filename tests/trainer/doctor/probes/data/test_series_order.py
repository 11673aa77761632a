"""Time series (steps, columns) that were reshaped where they had to be transposed."""

import numpy as np
import pytest

from tests.support.doctor import ids, only, probe_of, subject
from trainer.doctor import run_probes
from trainer.doctor.probes.data import pixel_order

SERIES = probe_of(pixel_order, pixel_order.series_order)
RNG = np.random.default_rng(0)


def smooth(n, length, width=5):
    """Moving means of noise, (n, length)."""
    sums = np.cumsum(RNG.normal(size=(n, length + width)), axis=1)
    return (sums[:, width:] - sums[:, :-width]) / width


def columns(n=200, count=6, steps=60, width=5):
    """(n, columns, steps), each column by itself."""
    return smooth(n * count, steps, width).reshape(n, count, steps)


def bursts(n=400, count=5, steps=48):
    """Noise with a short burst in each column."""
    series = RNG.normal(0, 0.35, (n, count, steps))
    at = RNG.integers(0, steps - 5, (n, count))
    for i in range(5):
        np.put_along_axis(series, at[..., None] + i, np.take_along_axis(series, at[..., None] + i, 2) + 1.6, 2)
    return series


def movements(n=300, count=6, steps=128):
    """Waves of 40 steps with noise: numbers that are 6 apart still resemble each other, but less than neighbours."""
    at = np.arange(steps) / 40 * RNG.normal(1, 0.2, (n, 1, 1)) + RNG.random((n, count, 1))
    return 0.6 * np.sin(2 * np.pi * at) + RNG.normal(0, 0.35, (n, count, steps))


def scaled(series):
    """Columns of other units, one of them around 9.8."""
    count = series.shape[1]
    return series * np.linspace(1, 30, count)[:, None] + (np.arange(count) == 2)[:, None] * 9.8


BY_COLUMN = {
    "smooth": columns(),
    "bursts": bursts(),
    "walks": np.cumsum(RNG.normal(size=(200, 4, 100)), axis=2),
    "units": scaled(columns()),
    "long": columns(60, 3, 301, 12),
    "movements": movements(),
}


def asked(series):
    labels = np.arange(len(series)) % 2
    return run_probes.run(subject((series.astype(np.float32), labels)), [SERIES])


@pytest.mark.parametrize("name", BY_COLUMN)
def test_series_that_were_reshaped(name):
    series = BY_COLUMN[name]
    n, count, steps = series.shape
    found = only(asked(series.reshape(n, steps, count)), "pixels-scrambled")
    assert (
        found.what
        == "The train series were reshaped where they had to be transposed: their steps and columns are mixed"
    )
    assert f"the series are ({count} columns, {steps} steps)" in found.evidence
    assert "np.transpose(x, (0, 2, 1))" in found.fix
    assert ids(asked(series.transpose(0, 2, 1))) == []


def picture(inside):
    """(n, 32, 20) with an empty border."""
    made = np.zeros((200, 32, 20))
    made[:, 8:24, 5:15] = inside
    return made


@pytest.mark.parametrize(
    "series",
    [
        np.repeat(RNG.normal(size=(300, 50, 1)), 4, 2) + 0.1 * RNG.normal(size=(300, 50, 4)),  # prices of a day
        smooth(300, 28 * 7).reshape(300, 28, 7),  # days of weeks, one series that was folded
        np.repeat(smooth(200, 120)[..., None], 2, 2),  # two equal channels
        picture(RNG.random((200, 1, 1)) + 0.2 * RNG.random((200, 16, 10))),
        np.eye(20)[RNG.integers(0, 20, (200, 50))],  # letters
        RNG.normal(size=(100, 8))[RNG.integers(0, 100, (200, 40))],  # embedded words
        np.where(np.arange(64)[:, None] < RNG.integers(20, 64, (200, 1, 1)), columns(200, 3, 64).transpose(0, 2, 1), 0),
        smooth(200 * 32, 40).reshape(200, 32, 40),  # spectra that have nothing in common
        np.cumsum(smooth(200 * 32, 40), axis=1).reshape(200, 32, 40),
        RNG.normal(size=(200, 40, 5)),
        np.ones((200, 40, 5)),
    ],
)
def test_rows_whose_numbers_resemble_each_other_as_they_are(series):
    assert ids(asked(series)) == []


@pytest.mark.parametrize("shape", [(200, 12, 6), (200, 60, 1), (200, 40, 40), (200, 60)])
def test_what_is_no_series_of_several_columns(shape):
    assert asked(RNG.normal(size=shape)).not_checked[0][0].startswith("order of the steps of series")
