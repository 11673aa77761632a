"""How the images were divided, weighed and stored: each fault on drawn images, and its healthy twin."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.support.doctor import batches, doctor, ids, only, probe_of, subject
from trainer.doctor import run_probes
from trainer.doctor.probes.data import class_balance, pixel_order, sample_weights
from trainer.doctor.probes.splits import splits


def drawn(count: int, side: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth pictures in 0..1 with some detail: class 0 is brighter at the left and class 1 at the right."""
    rng = np.random.default_rng(seed)
    x = np.empty((count, side, side, 3), np.float32)
    for i in range(count):
        coarse = Image.fromarray((255 * rng.random((6, 6, 3))).astype(np.uint8))
        x[i] = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255
    y = np.arange(count) % 2
    slope = np.linspace(0.5, -0.5, side, dtype=np.float32)[None, :, None]
    x += np.where(y == 0, 1, -1)[:, None, None, None] * 0.5 * slope
    x += 0.06 * rng.normal(size=x.shape)
    return np.clip(x, 0, 1).astype(np.float32), y


X, Y = drawn(200)
XV, YV = drawn(100, seed=1)


def of(probes, train, validation=None):
    return run_probes.run(subject(train, validation), probes)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(1 - YV, ["labels-other-order"]), (YV, []), (np.random.default_rng(0).permutation(YV), [])],
)
def test_class_ids_in_another_order_in_validation(labels, expected):
    assert ids(of(splits.PROBES[4:], (X, Y), (XV, labels))) == expected


@pytest.mark.parametrize(
    ("spread", "renamed", "expected"),
    [
        (0.3, True, ["labels-other-order"]),
        (0.3, False, []),
        (1.2, True, []),  # six of ten rows are right once they are renamed: what holds for rows may change
    ],
)
def test_class_ids_of_rows_in_another_order_in_validation(spread, renamed, expected):
    """Two columns in units of their own, of which the first is 2 more in each class."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    rows = (np.stack([2 * labels, 0 * labels], axis=1) + spread * rng.normal(size=(300, 2))) * [1000, 0.01] + 0.5
    true = np.array([1, 2, 0])[labels] if renamed else labels
    assert ids(of(splits.PROBES[4:], (rows[:200], labels[:200]), (rows[200:], true[200:]))) == expected


def test_rows_of_whole_numbers_may_be_words():
    rows, labels = np.tile(np.arange(200)[:, None] % 2, (1, 4)), np.arange(200) % 2
    report = of(splits.PROBES[4:], (rows[:100], labels[:100]), (rows[100:], 1 - labels[100:]))
    assert report.not_checked == (("the same class ids in both splits", "the rows are whole numbers, such as words"),)


@pytest.mark.parametrize(("labels", "expected"), [(np.ones(100, np.int64), ["one-class"]), (YV, [])])
def test_one_class_only(labels, expected):
    assert ids(of(splits.PROBES[:1], (XV, labels))) == expected


@pytest.mark.parametrize(("count", "expected"), [(12, ["validation-small"]), (40, []), (100, [])])
def test_a_validation_split_too_small_to_tell(count, expected):
    found = of(splits.PROBES[2:3], (X, Y), (XV[:count], YV[:count]))
    assert ids(found) == expected
    if expected:
        assert "changes the accuracy by 8.3%" in found.findings[0].evidence


def cut(reshuffle: bool, cache: bool = False):
    whole = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(200, reshuffle_each_iteration=reshuffle)
    whole = whole.cache() if cache else whole
    return whole.take(160).batch(16), whole.skip(160).batch(16)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (lambda: cut(True), ["split-after-shuffle"]),
        (lambda: cut(False), []),
        (lambda: cut(True, cache=True), []),
        (lambda: (batches(X, Y).skip(2), batches(XV, YV, shuffle=False).take(2)), []),
    ],
)
def test_take_and_skip_after_a_shuffle(data, expected):
    assert ids(doctor(splits.PROBES[1], dataset=data())) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("repeat", "expected"), [(True, ["validation-endless"]), (False, [])])
def test_a_validation_that_never_ends(repeat, expected):
    validation = batches(XV, YV, shuffle=False)
    given = batches(X, Y), validation.repeat() if repeat else validation
    assert ids(doctor(splits.PROBES[3], dataset=given)) == expected


@pytest.mark.parametrize(
    ("classes", "case", "level"),
    [([1], "sorted", "error"), ([2, 3], "sorted", "error"), ([0, 1, 2], "", "warning"), ([0, 2], "", "warning")],
)
def test_a_validation_that_was_cut_from_sorted_arrays(classes, case, level):
    train = np.arange(200) % (2 if classes == [1] else 4)
    probe = probe_of(class_balance, class_balance.missing)
    found = only(of([probe], (X, train), (XV, np.resize(classes, 100))), "class-missing")
    assert found.level == level
    assert ("sorted by class when they were cut" in found.cost) == bool(case)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (np.where(np.arange(200) % 20 == 0, 1.0, 0.0), ["sample-weights"]),
        (np.where(np.arange(200) == 3, -1.0, 1.0), ["sample-weights"]),
        (np.where(Y == 0, 0.5, 2.0), []),
        (np.where(np.arange(200) % 20 == 0, 0.0, 1.0), []),  # some that are masked
    ],
)
def test_sample_weights(weights, expected):
    data = tf.data.Dataset.from_tensor_slices((X, Y, weights.astype(np.float32))).batch(20)
    assert ids(doctor(*sample_weights.PROBES, dataset=data)) == expected


RARE = (np.arange(200) % 8 == 0).astype(np.int64)  # 25 of 200
THREE = np.repeat([0, 1, 2], [120, 60, 20])


def weighed(labels, of_class):
    weights = np.array([of_class[label] for label in labels], np.float32)
    return tf.data.Dataset.from_tensor_slices((X, labels, weights)).batch(20)


@pytest.mark.parametrize(
    ("labels", "of_class", "expected"),
    [
        (RARE, {0: 1.75, 1: 0.25}, ["class-weights-reversed"]),  # as the counts
        (RARE, {0: 4.0, 1: 0.57}, ["class-weights-reversed"]),  # exchanged
        (RARE, {0: 0.57, 1: 4.0}, []),
        (RARE, {0: 1.0, 1: 1.0}, []),
        (RARE, {0: 1.2, 1: 1.0}, []),
        (RARE, {0: 1.0, 1: 0.0}, []),  # a class that is left out
        (np.arange(200) % 20 // 9, {0: 1.0, 1: 2.0, 2: 1.0}, []),  # two alike and a rare one
        (THREE, {0: 1.8, 1: 0.9, 2: 0.3}, ["class-weights-reversed"]),
        (THREE, {0: 0.6, 1: 1.1, 2: 3.3}, []),
        (THREE, {0: 1.0, 1: 3.0, 2: 0.5}, []),  # chosen by hand
    ],
)
def test_weights_that_make_the_balance_worse(labels, of_class, expected):
    assert ids(doctor(*sample_weights.PROBES, dataset=weighed(labels, of_class))) == expected


def test_reversed_weights_are_told_before_the_imbalance():
    report = doctor(*sample_weights.PROBES, *class_balance.PROBES[:1], dataset=weighed(RARE, {0: 1.75, 1: 0.25}))
    assert ids(report) == ["class-weights-reversed", "imbalance"]
    first, second = report.findings
    assert "175 images of class 0 weigh 1.75 each and 25 of class 1 0.25" in first.evidence
    assert second.follows == first.id


# ---- pixels


def reshaped(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 3, 1, 2).reshape(x.shape)


def disordered(x: np.ndarray) -> np.ndarray:
    pixels = x.reshape(len(x), -1, 3)
    return pixels[:, np.random.default_rng(0).permutation(pixels.shape[1])].reshape(x.shape)


def images_last(x: np.ndarray) -> np.ndarray:
    """As a .mat file of (height, width, channels, N) is read wrongly."""
    return np.moveaxis(x, 0, -1).reshape(x.shape)


def colored_noise(x: np.ndarray) -> np.ndarray:
    """Images of noise, of which each second one is redder."""
    noise = np.random.default_rng(0).random(x.shape, np.float32)
    return (noise * 0.5 + 0.5 * (np.arange(len(x)) % 2)[:, None, None, None] * [1, 0.5, 0]).astype(np.float32)


def reduced(x: np.ndarray, side: int) -> np.ndarray:
    return tf.image.resize(tf.image.resize(x, (side, side), antialias=True), x.shape[1:3]).numpy()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: x, []),
        (lambda x: 2 * x - 1, []),
        (reshaped, ["pixels-scrambled"]),
        (disordered, ["pixels-scrambled"]),
        (images_last, ["pixels-scrambled"]),
        (colored_noise, []),
        (lambda x: np.random.default_rng(0).random(x.shape, np.float32), []),  # noise has no order to lose
        (lambda x: (x * 400).astype(np.int64).astype(np.uint8), ["pixels-wrapped"]),
        (lambda x: np.clip(x * 400, 0, 255).astype(np.uint8), []),
        (lambda x: (x > 0.5).astype(np.float32), []),  # drawings jump between the ends
        (lambda x: reduced(x, 8), ["detail-lost"]),
        (lambda x: reduced(x, 24), []),
    ],
)
def test_pixels(change, expected):
    assert ids(of(pixel_order.PROBES, (change(X), Y))) == expected


def test_a_reshape_that_mixes_images_is_told_from_one_that_mixes_pixels():
    found = only(of(pixel_order.PROBES, (images_last(X), Y)), "pixels-scrambled")
    apart = int(re.search(r"Pixels that are ([\d,]+) numbers apart", found.evidence)[1].replace(",", ""))
    assert apart % (3 * len(X)) == 0  # three channels of so many images
    assert "np.moveaxis(x, -1, 0)" in found.fix
    assert "np.moveaxis" not in only(of(pixel_order.PROBES, (disordered(X), Y)), "pixels-scrambled").fix


@pytest.mark.parametrize(("scale", "expected"), [([1, 5000, 2], ["columns-unscaled"]), ([1, 20, 2], [])])
def test_columns_of_widely_different_scales(scale, expected):
    rows = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32) * np.array(scale, np.float32)
    assert ids(of(pixel_order.PROBES, (rows, Y))) == expected
