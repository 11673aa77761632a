"""Flips that are told by what went in and what came out."""

import numpy as np
import pytest

from trainer.doctor.tools import flips

IMAGE = np.arange(48, dtype=np.float32).reshape(4, 4, 3) ** 1.5


@pytest.mark.parametrize("name", list(flips.FLIPS))
def test_each_flip_is_told_in_spite_of_brightness(name):
    assert flips.which(IMAGE, 0.5 * flips.FLIPS[name](IMAGE) + 20) == name


def test_what_is_no_flip():
    assert flips.which(IMAGE, 2 * IMAGE + 1) == ""
    assert flips.which(IMAGE, IMAGE[:2]) == ""
    assert flips.which(IMAGE, np.random.default_rng(0).random(IMAGE.shape)) == ""
    assert flips.which(np.ones((4, 4, 1)), np.ones((4, 4, 1))) == ""


def test_the_flips_of_a_picture_that_can_be_checked():
    picture = np.array([[1, 2], [3, 4]])[..., None]
    turned = {name: flip(picture)[..., 0].tolist() for name, flip in flips.FLIPS.items()}
    assert turned == {
        "mirrored": [[2, 1], [4, 3]],
        "upside down": [[3, 4], [1, 2]],
        "turned by 180 degrees": [[4, 3], [2, 1]],
        "turned by 90 degrees": [[2, 4], [1, 3]],
        "turned by 270 degrees": [[3, 1], [4, 2]],
    }


def test_correlation():
    assert flips.correlation(IMAGE, 3 * IMAGE) == pytest.approx(1)
    assert flips.correlation(IMAGE, -IMAGE) == pytest.approx(-1)
    assert flips.correlation(IMAGE, IMAGE[:2]) == 0
    assert flips.correlation(np.ones(3), np.ones(3)) == 1
