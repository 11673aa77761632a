"""Augmented copies: drawn from the hash alone, and each strength alone does what it says."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config import AUGMENT_DEFAULTS
from pipelines.images import augment
from pipelines.images.augment import Parameters

IDENTITY = Parameters(
    flip=False, angle=0.0, shift_x=0.0, shift_y=0.0, zoom=1.0, brightness=0.0, contrast=1.0, saturation=1.0, erase=None
)
ALL = {**AUGMENT_DEFAULTS, "erase": 0.3}
SHAPE = (12, 16, 3)


def picture(seed: int = 0, low: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, SHAPE, dtype=np.uint8)


def applied(pixels: np.ndarray, **changes) -> np.ndarray:
    return augment.apply(pixels, dataclasses.replace(IDENTITY, **changes))


@settings(max_examples=30, deadline=None)
@given(st.integers(), st.text(max_size=9), st.integers(1, 999))
def test_equal_seed_key_and_copy_give_equal_pixels(seed, key, copy):
    first = augment.apply(picture(), augment.draw(ALL, seed, key, copy))
    again = augment.apply(picture(), augment.draw(dict(reversed(ALL.items())), seed, key, copy))

    np.testing.assert_array_equal(first, again)
    assert first.shape == SHAPE
    assert first.dtype == np.uint8


def test_the_draw_never_changes():
    """A golden value: the same on every machine and version, since published data sets hold such copies."""
    drawn = augment.draw({"rotate": 10.0, "scale": 0.1, "flip": 1.0}, 7, "cat/1.jpg", 2)

    expected = dataclasses.replace(IDENTITY, angle=-0.16873296288444617, zoom=1.0096412743127807)
    assert dataclasses.astuple(drawn) == pytest.approx(dataclasses.astuple(expected), abs=1e-15)


def test_another_copy_key_or_seed_is_another_picture():
    others = [(0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1)]
    pictures = {augment.apply(picture(), augment.draw(ALL, *other)).tobytes() for other in others}

    assert len(pictures | {picture().tobytes()}) == 5  # and none is the original


@pytest.mark.parametrize("strengths", [{}, dict.fromkeys(AUGMENT_DEFAULTS, 0.0)])
def test_no_strength_is_the_identity(strengths):
    for copy in range(1, 20):
        assert augment.draw(strengths, 0, "a", copy) == IDENTITY
    np.testing.assert_array_equal(augment.apply(picture(), IDENTITY), picture())


def test_flip_alone_is_an_exact_mirror_of_half_of_the_copies():
    flips = 0
    for copy in range(1, 1000):
        drawn = augment.draw({"flip": 1.0}, 0, "a", copy)
        assert dataclasses.replace(drawn, flip=False) == IDENTITY
        flips += drawn.flip
    assert 440 < flips < 560
    assert not any(augment.draw({"flip": 0.0}, 0, "a", copy).flip for copy in range(1, 100))
    np.testing.assert_array_equal(applied(picture(), flip=True), picture()[:, ::-1])


@pytest.mark.parametrize(("columns", "rows"), [(1, 0), (-3, 0), (0, 2), (2, -1)])
def test_shift_moves_by_a_fraction_of_the_side(columns, rows):
    moved = applied(picture(), shift_x=columns / 16, shift_y=rows / 12)

    inside = moved[max(0, -rows) : 12 - max(0, rows), max(0, -columns) : 16 - max(0, columns)]
    expected = picture()[max(0, rows) : 12 + min(0, rows), max(0, columns) : 16 + min(0, columns)]
    np.testing.assert_array_equal(inside, expected)


def test_what_a_shift_uncovers_is_reflected():
    moved = applied(picture(), shift_x=2 / 16)

    np.testing.assert_array_equal(moved[:, -2:], picture()[:, :-3:-1])


def test_rotation_by_a_right_angle_and_a_half_turn():
    square = picture()[:, :12]

    np.testing.assert_array_equal(applied(picture(), angle=math.pi), picture()[::-1, ::-1])
    np.testing.assert_array_equal(applied(square, angle=math.pi / 2), np.rot90(square, 1))


def test_zoom_by_two_shows_the_centre():
    flat = np.zeros(SHAPE, np.uint8)
    flat[3:9, 4:12] = 200  # the central half

    grown = applied(flat, zoom=2.0)

    assert (grown[1:-1, 1:-1] == 200).all()
    small = applied(flat, zoom=0.5)
    assert (small[5:7, 7:9] == 200).all()
    assert (small[2:4, 3:13] == 0).all()


@pytest.mark.parametrize("levels", [40.0, -40.0, 12.25])
def test_brightness_adds_gray_levels(levels):
    expected = np.clip(np.rint(picture().astype(np.float64) + levels), 0, 255)

    np.testing.assert_array_equal(applied(picture(), brightness=levels), expected)


@pytest.mark.parametrize("factor", [0.75, 1.25, 0.0])
def test_contrast_stretches_around_the_middle(factor):
    exact = (picture().astype(np.float64) - 127.5) * factor + 127.5

    np.testing.assert_array_equal(applied(picture(), contrast=factor), np.clip(np.rint(exact), 0, 255))


def test_color_moves_towards_and_away_from_luma():
    source = np.tile(np.array([200, 100, 50], np.uint8), (4, 4, 1))
    luma = 0.299 * 200 + 0.587 * 100 + 0.114 * 50  # 124.2

    assert applied(source, saturation=0.0)[0, 0].tolist() == [124, 124, 124]
    assert applied(source, saturation=1.2)[0, 0].tolist() == [round(luma + 1.2 * (v - luma)) for v in (200, 100, 50)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.001, 1.0), st.integers(1, 40), st.integers(1, 40))
def test_erasing_takes_at_most_its_fraction(copy, fraction, height, width):
    drawn = augment.draw({"erase": fraction}, 0, "a", copy)
    erased = augment.apply(np.zeros((height, width, 3), np.uint8), drawn)

    assert dataclasses.replace(drawn, erase=None) == IDENTITY
    assert drawn.erase is not None
    top, left, tall, wide = drawn.erase
    assert top >= 0
    assert left >= 0
    assert top + tall <= 1 + 1e-12
    assert left + wide <= 1 + 1e-12
    assert tall * wide <= fraction + 1e-12
    changed = (erased[..., 0] == 127).sum()
    assert set(np.unique(erased)) <= {0, 127}
    assert changed <= fraction * height * width + 1e-9


def test_erasing_blanks_one_rectangle():
    erased = applied(np.zeros(SHAPE, np.uint8), erase=(0.25, 0.5, 0.5, 0.25))

    expected = np.zeros(SHAPE, np.uint8)
    expected[3:9, 8:12] = 127
    np.testing.assert_array_equal(erased, expected)


def test_erasing_rounds_down():
    erased = applied(np.zeros((5, 5, 3), np.uint8), erase=(0.0, 0.0, 0.3, 0.55))  # 1.5 by 2.75 pixels

    assert np.argwhere(erased[..., 0] == 127).tolist() == [[0, 0], [0, 1]]


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({n: st.floats(0, 0.9) for n in AUGMENT_DEFAULTS}), st.integers(1, 10**6))
def test_parameters_stay_within_their_strengths(strengths, copy):
    drawn = augment.draw(strengths, 0, "key", copy)

    assert abs(drawn.angle) <= math.radians(strengths["rotate"])
    assert max(abs(drawn.shift_x), abs(drawn.shift_y)) <= strengths["shift"]
    assert abs(drawn.zoom - 1) <= strengths["scale"] + 1e-12
    assert drawn.zoom > 0
    assert abs(drawn.brightness) <= 255 * strengths["brightness"]
    assert abs(drawn.contrast - 1) <= strengths["contrast"] + 1e-12
    assert abs(drawn.saturation - 1) <= strengths["color"] + 1e-12


def test_parameters_fill_their_range():
    angles = [math.degrees(augment.draw({"rotate": 10.0}, 0, "a", copy).angle) for copy in range(1, 500)]

    assert min(angles) < -9.5
    assert max(angles) > 9.5
    assert abs(np.mean(angles)) < 0.8  # 3 standard errors of 5.8 / sqrt(500)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 10**6))
def test_any_size_is_kept(height, width, copy):
    flat = np.full((height, width, 3), 99, np.uint8)
    strengths = {"flip": 1.0, "rotate": 180.0, "shift": 1.0, "scale": 0.9}

    moved = augment.apply(flat, augment.draw(strengths, 0, "a", copy))

    np.testing.assert_array_equal(moved, flat)  # a flat picture has no geometry: edges are reflected, never filled
