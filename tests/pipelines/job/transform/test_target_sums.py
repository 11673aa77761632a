"""Sums of targets are whole numbers: exact, of any order, and small enough for int64."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.job.transform import target_sums
from pipelines.job.transform.target_sums import Scale


def test_by_hand():
    targets = {(0.0, 5.0): 1, (10.0, 5.0): 2, (5.0, 5.0): 1}
    scale = target_sums.scale_of([targets], 2)

    found = target_sums.columns(targets, scale._replace(bits=2))

    assert scale == Scale((0.0, 5.0), (10.0, 5.0), 40)
    # On the grid of four steps: 0, 4, 4 and 2; their squares 0, 16, 16 and 4 have the high parts 0, 4, 4 and 1.
    assert found == {
        "target_least": [0.0, 5.0], "target_greatest": [10.0, 5.0], "target_bits": [2, 2], "target_count": [4, 4],
        "target_sum": [10, 0], "target_square_high": [9, 0], "target_square_low": [0, 0],
    }  # fmt: skip


VALUES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.integers(1, 5))
def test_mean_and_deviation_follow_from_the_sums_of_any_parts(values, parts):
    of_parts = [{} for _ in range(parts)]
    for number, value in enumerate(values):
        part = of_parts[number % parts]
        part[(value,)] = part.get((value,), 0) + 1
    scale = target_sums.scale_of(of_parts, 1)
    rows = [target_sums.columns(part, scale) for part in of_parts]
    count, sums, high, low = (
        sum(row[name][0] for row in rows)
        for name in ("target_count", "target_sum", "target_square_high", "target_square_low")
    )
    step = 1 << scale.bits
    unit = (Fraction(scale.greatest[0]) - Fraction(scale.least[0])) / step
    mean = Fraction(scale.least[0]) + Fraction(sums, count) * unit
    variance = (Fraction(high * step + low, count) - Fraction(sums, count) ** 2) * unit**2

    spread = float(scale.greatest[0] - scale.least[0])
    assert count == len(values)
    assert math.isclose(float(mean), np.mean(values, dtype=np.float64), abs_tol=1e-11 * spread, rel_tol=1e-12)
    assert math.isclose(math.sqrt(max(variance, 0)), np.std(values, dtype=np.float64), abs_tol=1e-6 * spread)


def test_sums_of_a_hundred_million_images_fit_int64():
    targets = {(0.0,): 1, (1.0,): 100_000_000}
    scale = target_sums.scale_of([targets], 1)

    found = target_sums.columns(targets, scale)

    assert all(
        0 <= value < 1 << 63 for name in ("sum", "square_high", "square_low") for value in found[f"target_{name}"]
    )
    assert scale.bits == 62 - 27


def test_no_images_have_zeros():
    assert target_sums.columns({}, target_sums.scale_of([], 2))["target_sum"] == [0, 0]
