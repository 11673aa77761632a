"""Rows of numbers are not called images."""

import numpy as np
import pytest

from tests.support.doctor import batches, doctor, only
from trainer.doctor.output import words
from trainer.doctor.probes.data import few_images, pixel_values


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Of 1,200 train images 3 are equal.", "Of 1,200 train rows 3 are equal."),
        ("Images of an image: (images)", "Rows of a row: (images)"),
        ("An image takes 4 bytes.", "A row takes 4 bytes."),
        ("at train.py:3: images = load(images)", "at train.py:3: images = load(images)"),
        ("use image_dataset, --images or x.images", "use image_dataset, --images or x.images"),
        ("no word", "no word"),
    ],
)
def test_sentences(said, expected):
    assert words.of_rows(said) == expected


@pytest.mark.parametrize(("shape", "word"), [((6,), "rows"), ((4, 4, 3), "images")])
def test_a_report(shape, word):
    random = np.random.default_rng(0)
    x, y = random.random((60, *shape), np.float32), np.arange(60) % 2
    x[3] = np.nan
    report = doctor(*pixel_values.PROBES, *few_images.PROBES, dataset=batches(x, y))
    assert report.about[0].startswith(f"train: 60 {word} (")
    assert f"{word} of each class" in report.checked
    told = only(report, "not-finite")
    assert "1 of 60 " + word in told.evidence
    assert {"rows": "image", "images": "row"}[word] not in told.what + told.evidence + told.cost
