"""Flips that leave the targets behind, and flips that change the class."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.support.doctor import cnn, doctor, ids, only, subject
from trainer.doctor import run_probes
from trainer.doctor.probes.data import augmentation_classes, augmented_targets
from trainer.doctor.subject.training import Training

RNG = np.random.default_rng(0)
SIDE = 24


class OwnLayer(layers.Layer):
    """A layer of a user without a configuration, as `__init__` takes what Keras cannot write down."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, images):
        return self.function(images)


def scenes(count, seed=0):
    """Noisy images with a bright rectangle somewhere, and its mask."""
    rng = np.random.default_rng(seed)
    images = rng.random((count, SIDE, SIDE, 3)).astype(np.float32) * 0.2
    masks = np.zeros((count, SIDE, SIDE, 1), np.float32)
    for image, mask in zip(images, masks, strict=True):
        top, left = rng.integers(0, SIDE - 8, 2)
        height, width = rng.integers(4, 9, 2)
        image[top : top + height, left : left + width] += 0.6
        mask[top : top + height, left : left + width] = 1
    return images, masks


def painter(*front):
    keras.utils.set_random_seed(0)
    last = layers.Conv2D(1, 3, padding="same", activation="sigmoid")
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *front, layers.Conv2D(4, 3, padding="same"), last])
    model.compile("adam", "binary_crossentropy")
    return model


def image_alone(image, mask):
    return tf.image.random_flip_left_right(image), mask


def each_by_itself(image, mask):
    return tf.image.random_flip_left_right(image), tf.image.random_flip_left_right(mask)


def together(image, mask):
    both = tf.image.random_flip_left_right(tf.concat([image, mask], axis=-1))
    both = tf.image.random_flip_up_down(both)
    return tf.image.random_brightness(both[..., :3], 0.1), both[..., 3:]


def brighter(image, mask):
    return tf.image.random_brightness(image, 0.2), mask


TARGETS = augmented_targets.PROBES


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (image_alone, ["augmentation-without-target"]),
        (each_by_itself, ["augmentation-without-target"]),
        (together, []),
        (brighter, []),
    ],
)
@pytest.mark.parametrize("batched", [True, False])
def test_maps(function, expected, batched):
    data = tf.data.Dataset.from_tensor_slices(scenes(64))
    data = data.batch(16).map(function) if batched else data.map(function).batch(16)
    report = doctor(*TARGETS, dataset=data, model=painter())
    assert ids(report) == expected
    if expected:
        assert f"The map {function.__name__} (test_flipped.py, line " in report.findings[0].evidence


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)], ["augmentation-without-target"]),
        ([layers.RandomBrightness(0.2, value_range=(0, 1))], []),
        ([], []),
    ],
)
def test_layers_of_the_model(front, expected):
    data = tf.data.Dataset.from_tensor_slices(scenes(64)).batch(16)
    report = doctor(*TARGETS, dataset=data, model=painter(*front))
    assert ids(report) == expected
    if expected:
        assert report.findings[0].what == (
            "RandomFlip, RandomRotation of the model changes the images and not their targets"
        )


def of_arrays(train, validation):
    return ids(run_probes.run(subject(train, validation, model=painter()), TARGETS))


def test_pairs_of_a_generator_show_it_by_their_edges():
    images, masks = scenes(80)
    turned = np.concatenate([images[:40, :, ::-1], images[40:]])
    assert of_arrays((turned, masks), scenes(40, seed=1)) == ["augmentation-without-target"]
    assert of_arrays((images, masks), scenes(40, seed=1)) == []
    assert of_arrays((turned, masks), (turned, masks)) == []  # validation is no better: nothing is known
    noise = RNG.random((80, SIDE, SIDE, 1)).astype(np.float32)
    assert of_arrays((images, noise), (images[:40], noise[:40])) == []  # nothing in common


def test_classes_are_no_targets_to_be_flipped():
    report = doctor(*TARGETS, dataset=(RNG.random((32, SIDE, SIDE, 3)), np.arange(32) % 2), model=painter())
    assert report.not_checked == ((TARGETS[0].name, "the targets are no images"),)


# ---- flips that change the class

CLASSES = augmentation_classes.PROBES


def arrows(count=160, seed=0):
    """Noisy images with a bright bar at the left (0), at the right (1) or above (2)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = rng.random((count, 32, 32, 3)).astype(np.float32) * 0.4
    images[labels == 0, :, 2:10] += 0.5
    images[labels == 1, :, -10:-2] += 0.5
    images[labels == 2, 2:10] += 0.5
    return images, labels


def mirror(image, label):
    return tf.image.random_flip_left_right(image), label


def upside_down(image, label):
    return tf.image.random_flip_up_down(image), label


@pytest.mark.parametrize(("function", "expected"), [(mirror, ["augmentation-changes-class"]), (upside_down, [])])
@pytest.mark.parametrize("batched", [True, False])
def test_a_map_that_mirrors_left_and_right(function, expected, batched):
    data = tf.data.Dataset.from_tensor_slices(arrows())
    data = data.batch(16).map(function) if batched else data.map(function).batch(16)
    assert ids(doctor(*CLASSES, dataset=data, model=cnn(3))) == expected


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ([layers.RandomFlip("horizontal")], ["augmentation-changes-class"]),
        ([layers.RandomFlip("vertical")], []),
        ([layers.RandomRotation(0.5)], ["augmentation-changes-class"]),
        ([layers.RandomRotation(0.1), layers.RandomContrast(0.2)], []),
        ([OwnLayer(lambda images: images)], []),
    ],
)
def test_layers_that_mirror_left_and_right(front, expected):
    data = tf.data.Dataset.from_tensor_slices(arrows()).batch(16)
    report = doctor(*CLASSES, dataset=data, model=cnn(3, front))
    assert ids(report) == expected
    if expected:
        assert "class 0 looks like class 1 then" in report.findings[0].what
        assert "it takes 100% of class 0 for class 1 and 100% of class 1 for class 0" in report.findings[0].evidence


def test_a_generator_is_judged_on_validation():
    seen = subject(arrows(), arrows(120, 1), model=cnn(3), training=Training("fit", flips=("mirrored",)))
    found = only(run_probes.run(seen, CLASSES), "augmentation-changes-class")
    assert found.evidence.startswith("The ImageDataGenerator makes images that are mirrored.")
    other = dataclasses.replace(seen, training=Training("fit", flips=("upside down",)), _memo={})
    assert ids(run_probes.run(other, CLASSES)) == []


def test_labels_that_nothing_shows_are_left_alone():
    images, labels = arrows()
    data = tf.data.Dataset.from_tensor_slices((images, RNG.permutation(labels))).batch(16).map(mirror)
    assert ids(doctor(*CLASSES, dataset=data, model=cnn(3))) == []


@pytest.mark.slow
@pytest.mark.parametrize("collection", ["dogcat", "trashnet"])
def test_photographs_may_be_mirrored(real_data, collection):
    from tests.support.doctor import CLASSES as NAMES
    from tests.support.doctor import photos, unit

    images, labels = photos(real_data, collection, each=100, side=48)
    data = tf.data.Dataset.from_tensor_slices((unit(images), labels)).batch(32)
    front = [layers.RandomFlip("horizontal_and_vertical"), layers.RandomRotation(0.5)]
    model = cnn(len(NAMES[collection]), front, shape=(48, 48, 3))
    assert ids(doctor(*CLASSES, dataset=data, model=model)) == []
