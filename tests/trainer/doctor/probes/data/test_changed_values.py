"""Rows that a second pass gives with other values: those times one number, and healthy passes."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.support.doctor import doctor, ids, only
from trainer.doctor.probes.data import changed_values

X = (np.random.default_rng(0).random((96, 8, 8, 3)) * 255).astype(np.float32)
Y = np.arange(96) % 2


class Files(keras.utils.PyDataset):
    """Images that are loaded when they are asked for, and kept."""

    def __init__(self, read, shuffle=False):
        super().__init__()
        self.read, self.shuffle, self.kept, self.order = read, shuffle, {}, np.arange(96)
        self.rng = np.random.default_rng(1)

    def __len__(self):
        return 6

    def __getitem__(self, index):
        rows = self.order[16 * index : 16 * index + 16]
        for i in rows:
            if i not in self.kept:
                self.kept[i] = X[i].copy()
        return np.stack([self.read(self, i) for i in rows]), Y[rows]

    def on_epoch_end(self):
        if self.shuffle:
            self.order = self.rng.permutation(96)


def divided_in_place(data, i):
    image = data.kept[i]
    image /= 255
    return image


def divided(data, i):
    return data.kept[i] / 255


def brighter(data, i):
    return data.kept[i] * data.rng.uniform(0.5, 1.5)


def cropped(data, i):
    return np.roll(data.kept[i], data.rng.integers(8), axis=0)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    ("read", "expected"),
    [(divided_in_place, ["data-changed-in-place"]), (divided, []), (brighter, []), (cropped, [])],
)
def test_images_that_are_kept(read, expected, shuffle):
    assert ids(doctor(*changed_values.PROBES, dataset=lambda: Files(read, shuffle))) == expected


def test_the_factor_is_told():
    told = only(doctor(*changed_values.PROBES, dataset=lambda: Files(divided_in_place)), "data-changed-in-place")
    assert told.what == "To read the train data changes them: the same rows have other values in each pass"
    assert told.evidence == ("Of 96 rows of the second pass, 90% or more are rows of the first one times 0.003922.")
    assert "image = kept[key] / 255" in told.fix


class Waves(keras.utils.PyDataset):
    """Rows of one form, each of another height in each pass."""

    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(0)

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return self.rng.uniform(1, 9, (16, 1)) * np.sin(np.arange(20.0)), Y[:16]


def test_rows_of_one_form_and_arrays():
    assert ids(doctor(*changed_values.PROBES, dataset=lambda: Waves())) == []
    assert ids(doctor(*changed_values.PROBES, dataset=lambda: (X, Y))) == []
