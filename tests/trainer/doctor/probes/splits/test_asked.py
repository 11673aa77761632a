"""Images that predict gets, against those of training."""

import numpy as np
import pytest

from tests.support.doctor import in_memory
from trainer.doctor.probes.splits.train_validation_skew import of_predict


def drawn(count, seed):
    """Smooth pictures of 0..1."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:1:24j, 0:1:24j]
    a, b, c = rng.uniform(-0.4, 0.4, (3, count, 1, 1, 3))
    return (0.5 + a * rows[..., None] + b * columns[..., None] + 0.2 * c).clip(0, 1).astype("float32")


TRAIN = drawn(64, 1)
NEW = drawn(24, 2)


def told(train, arrays):
    return of_predict(in_memory("train", train, np.arange(len(train)) % 2), arrays)


@pytest.mark.parametrize("times", [255.0, 1 / 255])
def test_another_range(times):
    finding = told(TRAIN, [image[None] * times for image in NEW])
    assert (finding.id, finding.level) == ("splits-differ-normalization", "error")
    assert finding.what == "predict gets images in another range than those of training"
    assert "the first 24 images that predict gets: " in finding.evidence


@pytest.mark.parametrize(
    "arrays",
    [
        [NEW],
        [2 * NEW - 1],  # another range by less than five times, as other pictures may have
        [255 * NEW[:15]],  # too few
        [255 * np.random.default_rng(0).random((24, 24, 24, 3))],  # noise, to measure time
        [np.zeros((24, 24, 24, 3))],
        [255 * NEW[:, :12]],  # of another size
        [255 * NEW[..., 0]],
        [],
    ],
    ids=["alike", "twice", "few", "noise", "black", "another size", "gray", "none"],
)
def test_others_are_left_alone(arrays):
    assert told(TRAIN, arrays) is None


def tinted(tints, count, seed):
    return drawn(count, seed) * np.resize(np.float32(tints), (count, 3))[:, None, None]


ORANGE, PLUM, GRAY = (0.9, 0.5, 0.1), (0.4, 0.1, 0.6), (0.7, 0.7, 0.7)


@pytest.mark.parametrize(
    ("train", "asked", "expected"),
    [
        ((ORANGE, PLUM), tinted(ORANGE, 24, 2)[..., ::-1], True),  # one class alone, as in a loop over folders
        ((ORANGE, PLUM), tinted(PLUM, 24, 2)[..., ::-1], True),
        ((ORANGE, PLUM), tinted((ORANGE, PLUM), 24, 2)[..., ::-1], True),
        ((ORANGE, PLUM), tinted(ORANGE, 24, 2), False),
        ((ORANGE, PLUM), tinted(PLUM, 24, 2), False),
        ((GRAY,), tinted(GRAY, 24, 2)[..., ::-1], False),  # cannot be told
        ((ORANGE, ORANGE[::-1]), tinted(ORANGE, 24, 2)[..., ::-1], False),  # the other class looks so
    ],
)
def test_channels_in_the_other_order(train, asked, expected):
    finding = told(tinted(train, 64, 1), [asked])
    assert (finding is not None) == expected
    if finding is not None:
        assert (finding.id, finding.level) == ("splits-differ-channels", "error")
        assert finding.what == "predict gets images with their channels in the other order (RGB and BGR)"
        assert finding.evidence.startswith("Of the first 24 images that predict gets, ")


def test_rows_and_small_pictures_are_left_alone():
    rows = np.random.default_rng(0).random((64, 6))
    assert told(rows, [255 * rows]) is None
    assert told(TRAIN[:, :6, :6], [255 * NEW[:, :6, :6]]) is None
