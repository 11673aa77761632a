"""Images that predict gets, against those of training."""

import numpy as np
import pytest

from tests.support.doctor import in_memory
from trainer.doctor.probes.data.train_validation_skew import of_predict


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


def test_rows_and_small_pictures_are_left_alone():
    rows = np.random.default_rng(0).random((64, 6))
    assert told(rows, [255 * rows]) is None
    assert told(TRAIN[:, :6, :6], [255 * NEW[:, :6, :6]]) is None
