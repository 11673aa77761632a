"""Data that change while they are read, and data that are read in the same ways and stay as they are."""

from __future__ import annotations

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.doctor.subject import data_forms, held_arrays, load

RNG = np.random.default_rng(0)
X = (RNG.random((96, 8, 8, 3)) * 255).astype(np.float32)
Y = np.arange(96) % 2


class Batches(keras.utils.PyDataset):
    """Batches of 16; a test gives what is done to each, and what at the end of a pass."""

    def __init__(self, change, end=None, images=None):
        super().__init__()
        self.images, self.labels = X.copy() if images is None else images, Y.copy()
        self.change, self.end = change, end
        self.order = np.arange(96)

    def __len__(self):
        return 6

    def __getitem__(self, index):
        rows = slice(16 * index, 16 * index + 16)
        return self.change(self, rows), self.labels[rows]

    def on_epoch_end(self):
        if self.end is not None:
            self.end(self)


class Divided(Batches):
    def __init__(self, **options):
        super().__init__(None, **options)

    def __getitem__(self, index):
        batch = self.images[16 * index : 16 * index + 16]
        batch /= 255.0
        return batch, self.labels[16 * index : 16 * index + 16]


def problems(data):
    return list(load.subject_of(dataset=lambda: data).problems)


def ids(data):
    return [problem.id for problem in problems(data)]


def test_a_slice_that_is_divided_in_place_is_told_and_taken_back():
    data = Divided()
    (told,) = problems(data)
    assert (told.id, told.level) == ("data-changed-in-place", "error")
    assert told.what == "To read the train data changes them: self.images has other values after each pass"
    least, most = X.min(), X.max()
    assert told.evidence == (
        "A pass over the data changes 96 of 96 rows of self.images, and another one changes rows of these again: "
        f"{least:.4g}..{most:.4g}, then {least / 255:.4g}..{most / 255:.4g}, then "
        f"{least / 65025:.4g}..{most / 65025:.4g}. A pass multiplies them by 1/255. "
        "What changes them is `batch /= 255.0`."
    )
    assert "batch = self.images[a:b] / 255" in told.fix
    np.testing.assert_array_equal(data.images, X)


def test_what_was_read_keeps_the_values_of_its_own_pass():
    subject = load.subject_of(dataset=lambda: Divided())
    np.testing.assert_allclose(subject.train.sample.images, X / 255, rtol=1e-6)
    np.testing.assert_allclose(subject.train.second.images, X / 255 / 255, rtol=1e-6)


def test_a_shuffle_in_place_beside_it_is_not_taken_back():
    def shuffle(data):
        order = np.random.default_rng(1).permutation(96)
        data.images[:], data.labels[:] = data.images[order], data.labels[order]

    data = Divided(end=shuffle)
    assert ids(data) == ["data-changed-in-place"]
    order = np.random.default_rng(1).permutation(96)
    np.testing.assert_array_equal(data.labels, Y[order][order])
    np.testing.assert_allclose(data.images, (X / 255 / 255)[order][order], rtol=1e-5)


def shifted(data, rows):
    batch = data.images[rows]
    batch -= X.mean(axis=0)
    return batch


def noisy(data, rows):
    batch = data.images[rows]
    batch += np.random.default_rng(rows.start).normal(0, 40, batch.shape)
    return batch


@pytest.mark.parametrize("change", [shifted, noisy])
def test_changes_that_are_no_factor(change):
    data = Batches(change)
    (told,) = problems(data)
    assert "A pass multiplies" not in told.evidence
    np.testing.assert_array_equal(data.images, X)


def one_by_one(data, rows):
    held = data.images.get("train", data.images) if isinstance(data.images, dict) else data.images
    return np.stack([np.divide(held[i], 2, out=held[i]) for i in range(rows.start, rows.stop)])


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (list, "self.images"),
        (lambda x: dict(enumerate(x)), "self.images"),
        (lambda x: {"train": x}, "self.images['train']"),
    ],
)
def test_arrays_in_lists_and_dictionaries(form, name):
    images = X.copy()
    (told,) = problems(Batches(one_by_one, images=form(images)))
    assert f"changes 96 of 96 rows of {name}, and" in told.evidence
    assert "A pass multiplies them by 1/2." in told.evidence
    np.testing.assert_array_equal(images, X)


def test_labels_that_a_batch_is_a_slice_of():
    class Labelled(Batches):
        def __getitem__(self, index):
            labels = self.labels[16 * index : 16 * index + 16]
            labels -= 1
            return self.images[16 * index : 16 * index + 16], labels

    data = Labelled(None)
    (told,) = problems(data)
    assert "rows of self.labels, and another one" in told.evidence
    assert "0..1, then -1..0, then -2..-1" in told.evidence
    np.testing.assert_array_equal(data.labels, Y)


def test_of_large_arrays_some_rows_are_compared(monkeypatch):
    monkeypatch.setattr(held_arrays, "MOST_BYTES", 2 * X.nbytes)  # of three arrays, so that each gets two thirds of X
    data = Divided()
    (told,) = problems(data)
    assert "changes 96 of 96 rows of self.images" in told.evidence
    np.testing.assert_allclose(data.images, X / 255 / 255, rtol=1e-6)  # there is no copy of all of it


def scaled(data, rows):
    return data.images[rows] / 255


def clipped(data, rows):
    return np.clip(data.images[rows], 20, 200, out=data.images[rows])


def of_length_one(data, rows):
    data.images[rows] /= np.sqrt((data.images[rows] ** 2).sum(axis=(1, 2, 3), keepdims=True))
    return data.images[rows]


def buffered(data, rows):
    if not hasattr(data, "room"):
        data.room = np.zeros((16, 8, 8, 3), np.float32)
    data.room[:] = data.images[rows]
    return data.room


def cached(data, rows):
    if not hasattr(data, "cache"):
        data.cache = np.zeros_like(data.images)
    data.cache[rows] = data.images[rows] / 255
    return data.cache[rows]


def counted(data, rows):
    data.order[rows] += 1
    return data.images[rows]


def others_each_time(data, rows):
    data.images[rows] = np.random.default_rng(rows.start + int(data.images.sum())).random((16, 8, 8, 3))
    return data.images[rows]


def remembered(data, rows):
    """A memory of its own, of which no batch is a slice, changes by little in each pass."""
    if not hasattr(data, "memory"):
        data.memory = data.images / 255
    data.memory[rows] = 0.8 * data.memory[rows] + 0.2 * np.random.default_rng(rows.start).random((16, 8, 8, 3))
    return data.images[rows] / 255


def ragged(data, rows):
    return tf.RaggedTensor.from_row_lengths(data.images[rows].reshape(-1), [192] * 16)


def shuffled(data):
    order = np.random.default_rng(1).permutation(96)
    data.images[:], data.labels[:] = data.images[order], data.labels[order]


def put_back(data):
    data.images[:] = X


@pytest.mark.parametrize(
    ("change", "end"),
    [(scaled, None), (scaled, shuffled), (clipped, None), (of_length_one, None), (buffered, None), (cached, None),
     (counted, None), (others_each_time, None), (remembered, None), (noisy, put_back), (shifted, put_back)],
)  # fmt: skip
def test_data_that_are_the_same_in_each_epoch(change, end):
    data = Batches(change, end)
    data[0]
    assert ids(data) == []
    assert ids(Batches(change, end)) == []


def test_a_batch_without_a_known_shape_is_no_fault():
    held = held_arrays.HeldArrays(Batches(scaled))
    held.follow()
    held.begin()
    for batch in (ragged(Batches(scaled), slice(16)), tf.TensorShape(None), None, "text", {"a": object()}):
        held.read_on((batch, batch))
    held.end()
    assert held.told("train") == []


def generator(images, labels, change):
    while True:
        for start in range(0, 96, 16):
            batch = images[start : start + 16]
            if change:
                batch /= 2
            yield batch, labels[start : start + 16]


@pytest.mark.parametrize(("change", "expected"), [(True, ["data-changed-in-place"]), (False, [])])
def test_a_generator_that_goes_on_for_ever(change, expected):
    found = problems(generator(X.copy(), Y, change))
    assert [problem.id for problem in found] == expected
    assert all("rows of images, and another one" in problem.evidence for problem in found)
    assert all("A pass multiplies them by 1/2. What changes them is `batch /= 2`." in one.evidence for one in found)


@pytest.mark.parametrize(("change", "expected"), [(True, ["data-changed-in-place"]), (False, [])])
def test_a_generator_that_is_read_on_in_fit(change, expected):
    images = X.copy()
    peeked = data_forms.Peeked(generator(images, Y, change))
    peeked.held.follow()
    read = [x for x, _ in itertools.islice(peeked.peek(), 3)]
    assert peeked.held.told("train") == []
    read += [x.copy() for x, _ in itertools.islice(peeked.restored(), 3, 13)]
    assert [told.id for told in peeked.held.told("train")] == expected
    assert peeked.held.told("train") == []  # it is told once
    np.testing.assert_allclose(np.concatenate(read[6:12]), X / 4 if change else X)


@pytest.mark.parametrize(("change", "expected"), [(True, ["data-changed-in-place"]), (False, [])])
@pytest.mark.parametrize("form", ["closure", "partial", "batched"])
def test_a_dataset_of_a_generator(change, expected, form):
    images = X.copy()

    def batches(images=images):
        for start in range(0, 96, 16):
            batch = images[start : start + 16]
            if change:
                batch /= 255
            yield batch, Y[start : start + 16]

    def closure():
        yield from zip(images if not change else np.divide(images, 255, out=images), Y, strict=True)

    made = {"closure": closure, "partial": functools.partial(batches, images), "batched": lambda: batches(images)}[form]
    shape = (8, 8, 3) if form == "closure" else (None, 8, 8, 3)
    signature = tf.TensorSpec(shape, tf.float32), tf.TensorSpec(shape[:-3], tf.int64)
    data = tf.data.Dataset.from_generator(made, output_signature=signature)
    data = (data.batch(16) if form == "closure" else data).prefetch(1)
    found = problems(data)
    assert [problem.id for problem in found] == expected
    np.testing.assert_array_equal(images, X)


class Loader:
    """An object of the program's own that gives batches."""

    def __init__(self, change):
        self.images, self.change = X.copy(), change

    def __iter__(self):
        for start in range(0, 96, 16):
            batch = self.images[start : start + 16]
            if self.change:
                batch /= 255
            yield batch, Y[start : start + 16]


@pytest.mark.parametrize(("change", "expected"), [(True, ["data-changed-in-place"]), (False, [])])
def test_an_object_that_gives_batches(change, expected):
    data = Loader(change)
    assert ids(data) == expected
    np.testing.assert_array_equal(data.images, X)
