"""Limits of the probes on drawn images, a little below and a little above each; photographs are needed elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.doctor import batches, cnn, doctor, ids, probe_of, subject
from trainer.doctor import run_probes
from trainer.doctor.probes.data import label_noise
from trainer.doctor.probes.model import head_and_loss
from trainer.doctor.probes.splits import train_validation_skew


def noise(count: int, seed: int = 0, side: int = 16) -> np.ndarray:
    """float32 (N, side, side, 3) in 0..1."""
    return np.random.default_rng(seed).random((count, side, side, 3), np.float32)


# ---- the head, the loss and the labels


def of_head(labels: np.ndarray, units: int, **more) -> list[str]:
    model = cnn(units, shape=(16, 16, 3), **more)
    return ids(doctor(*head_and_loss.PROBES, dataset=batches(noise(len(labels)), labels), model=model))


@pytest.mark.parametrize(
    ("activation", "loss", "expected"),
    [
        (None, "sparse_categorical_crossentropy", ["logits-as-probabilities"]),
        ("softmax", "sparse_categorical_crossentropy", []),
        ("softmax", None, ["probabilities-as-logits"]),  # the loss of `cnn` takes logits
        (None, None, []),
    ],
)
def test_activation_against_loss_of_three_classes(activation, loss, expected):
    assert of_head(np.arange(24) % 3, 3, activation=activation, loss=loss) == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 2], []),
        ([0, 1, 3], ["labels-out-of-range"]),  # one beyond the last
        ([-1, 0, 2], ["labels-out-of-range"]),
        ([1, 2, 3], ["labels-off-by-one"]),
        ([1, 2], []),
    ],
)
def test_labels_within_a_head_of_three(labels, expected):
    assert of_head(np.resize(labels, 24), 3) == expected


# ---- train against validation


def of_splits(train: np.ndarray, validation: np.ndarray) -> list[str]:
    labels = np.zeros(len(train), np.int64)
    return ids(run_probes.run(subject((train, labels), (validation, labels)), train_validation_skew.PROBES))


@pytest.mark.parametrize(
    ("contrast", "shift", "expected"),
    [
        (1.5, 0.0, []),
        (1.7, 0.0, ["splits-differ-normalization"]),
        (1 / 1.5, 0.0, []),
        (1 / 1.7, 0.0, ["splits-differ-normalization"]),
        (1.0, 0.8, []),
        (1.0, 1.0, ["splits-differ-normalization"]),  # in deviations
    ],
)
def test_contrast_and_brightness_of_the_splits(contrast, shift, expected):
    train, other = noise(64), noise(64, seed=1)
    assert of_splits(train, 0.5 + contrast * (other - 0.5) + shift * train.std()) == expected


@pytest.mark.parametrize(("change", "expected"), [(0.4, []), (0.6, ["splits-differ-resize"])])
def test_sharpness_of_the_splits(change, expected):
    """Noise and a smooth slope: with less noise, the finest detail has less of the variance."""
    slope = np.linspace(-2, 2, 16, dtype=np.float32)[None, :, None, None]
    fine = [noise(64, seed) - 0.5 for seed in (0, 1)]
    # Of the variance v of the noise and s of the slope, the sharpness is log(20 v / (v + s)).
    v, s = float(fine[0].mean(axis=-1).var()), float(slope.var())
    wanted = v / (v + s) * np.exp(-change)
    less = np.sqrt(wanted * s / (v * (1 - wanted)))
    # The same deviation in all, so that only the sharpness differs.
    one, two = slope + fine[0], slope + less * fine[1]
    assert of_splits(one, two * (one.std() / two.std())) == expected


# ---- wrong labels


def test_a_few_wrong_labels_are_enough_and_fewer_are_not():
    """Bright above or below; of 200 images, 3 or 12 have the label of the other class."""
    labels = np.arange(200) % 2
    images = 0.4 * noise(200, side=32)
    images[labels == 0, :16] += 0.5
    images[labels == 1, 16:] += 0.5
    for wrong, expected in ((0, []), (3, []), (12, ["labels-doubtful"])):
        given = np.where(np.arange(200) < wrong, 1 - labels, labels)
        probes = [probe_of(label_noise, label_noise.mislabeled)]
        assert ids(run_probes.run(subject((images, given)), probes)) == expected


# ---- tables


TABLE = np.random.default_rng(0).normal([40, 20000, 70, 2.1], [15, 6000, 30, 1.5], (400, 4)).astype(np.float32)
TRAIN, TEST = TABLE[:300], TABLE[300:]
SCALED = (TRAIN - TRAIN.mean(axis=0)) / TRAIN.std(axis=0)
LIKEWISE = (TEST - TRAIN.mean(axis=0)) / TRAIN.std(axis=0)
TIMES = np.arange(400, dtype=np.float32) / 7
WORDS = np.random.default_rng(1).integers(0, 9, (400, 12)) * (np.arange(12) < np.arange(400)[:, None] % 12)


def of_tables(train, validation):
    labels = np.arange(400) % 2
    splits = (train, labels[: len(train)]), (validation, labels[: len(validation)])
    return ids(run_probes.run(subject(*splits), train_validation_skew.PROBES))


@pytest.mark.parametrize(
    ("train", "validation", "expected"),
    [
        (SCALED, TEST, ["splits-differ-normalization"]),
        (TRAIN, LIKEWISE, ["splits-differ-normalization"]),
        (SCALED, np.round(TEST), ["splits-differ-normalization"]),  # a raw table of whole numbers
        (SCALED, LIKEWISE, []),
        (TRAIN, TEST, []),
        (SCALED, LIKEWISE + np.array([9, 0, 0, 0], np.float32), []),  # one column goes on
        (SCALED, LIKEWISE * 2, []),
        (SCALED, LIKEWISE * 4, ["splits-differ-normalization"]),
        (np.c_[SCALED, TIMES[:300]], np.c_[LIKEWISE, TIMES[300:]], []),
        (TIMES[:300, None], TIMES[300:, None], []),  # a single column in the order of time
        (WORDS[:300], WORDS[300:], []),
        (WORDS[:300].astype(np.float32), WORDS[300:].astype(np.float32) * 5, []),
        (SCALED.reshape(100, 3, 4), TEST.reshape(25, 4, 4)[:, :3], ["splits-differ-normalization"]),  # series
        (SCALED.reshape(100, 3, 4), LIKEWISE.reshape(25, 4, 4)[:, :3], []),
    ],
)
def test_a_table_that_is_scaled_in_one_split_only(train, validation, expected):
    assert of_tables(train, validation) == expected


def test_columns_that_are_nearly_always_empty_are_not_compared():
    rng = np.random.default_rng(2)
    empty = (rng.random((400, 50)) < np.where(np.arange(400) < 300, 0.004, 0.04)[:, None]) * rng.random((400, 50))
    assert of_tables(empty[:300].astype(np.float32), empty[300:].astype(np.float32)) == []
