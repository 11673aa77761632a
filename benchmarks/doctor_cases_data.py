"""Faults in data: balance, splits, order, leaks, augmentation; and two more healthy set-ups with augmentation."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from doctor_cases import SIDE, SPARSE, given, net, pair
from doctor_registry import Given, Room, fault, healthy
from keras import layers

from tests.support.doctor import batches, unit

RARE = 5


def dataset(parts, change=None, other=None, size=32):  # type: ignore[no-untyped-def]
    """(train, validation) of 0..1; `change` of the shuffled train images before they are batched, `other` of "
    "validation."""
    x, y, vx, vy = parts
    train = tf.data.Dataset.from_tensor_slices((unit(x), y)).shuffle(len(x))
    validation = tf.data.Dataset.from_tensor_slices((unit(vx), vy))
    train = change(train) if change else train
    return train.batch(size), (other(validation) if other else validation).batch(size)


def thinned(room: Room, keep: int, label: int = RARE):  # type: ignore[no-untyped-def]
    """The parts of trashnet with only `keep` train images of one class."""
    x, y, vx, vy = pair(room)
    chosen = np.flatnonzero((y != label) | (np.cumsum(y == label) <= keep))
    return [x[chosen], y[chosen], vx, vy]


def nine_to_one(room: Room):  # type: ignore[no-untyped-def]
    x, y, vx, vy = pair(room, "dogcat", 270, 90)
    keep, other = ((labels == 0) | (np.cumsum(labels == 1) <= (labels == 0).sum() // 9) for labels in (y, vy))
    return [x[keep], y[keep], vx[other], vy[other]]


class Slices(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches that are slices of one array, divided by 255 in place or not."""

    def __init__(self, x: np.ndarray, y: np.ndarray, in_place: bool) -> None:
        super().__init__()
        order = np.random.default_rng(0).permutation(len(x))
        self.x, self.y, self.in_place = x[order].astype(np.float32), y[order], in_place

    def __len__(self) -> int:
        return len(self.x) // 32

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        part = slice(32 * index, 32 * index + 32)
        batch = self.x[part]
        if self.in_place:
            batch /= 255
            return batch, self.y[part]
        return batch / 255, self.y[part]

    def on_epoch_end(self) -> None:
        order = np.random.default_rng(len(self)).permutation(len(self.x))
        self.x[:], self.y[:] = self.x[order], self.y[order]


@fault("trashnet, slices of an array divided in place", "data-changed-in-place")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    return {"dataset": (Slices(x, y, True), batches(unit(vx), vy, 32)), "model": net(6)}


@healthy("trashnet, slices of an array, which is shuffled in place after each epoch")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    return {"dataset": (Slices(x, y, False), batches(unit(vx), vy, 32)), "model": net(6)}


@fault("dogcat 9:1", "imbalance")
def _(room: Room) -> Given:
    return given(nine_to_one(room), model=net(2))


@fault("dogcat 9:1 with a history of 90 % accuracy", "accuracy-is-majority")
def _(room: Room) -> Given:
    past = {"loss": (0.5, 0.4, 0.35), "val_loss": (0.4, 0.35, 0.34), "val_accuracy": (0.88, 0.9, 0.9)}
    return given(nine_to_one(room), model=net(2), past=past)


@fault("a trained model that answers the majority only", "answers-one-class")
def _(room: Room) -> Given:
    model = net(2)
    model.layers[-1].bias.assign([20.0, 0.0])
    model.optimizer.iterations.assign(500)
    return given(nine_to_one(room), model=model)


@fault("a class that training has not", "class-missing")
def _(room: Room) -> Given:
    return given(thinned(room, 0, label=3))


@fault("a class that validation has not", "class-missing")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    return given([x, y, vx[vy != 2], vy[vy != 2]])


@fault("six images of a class", "few-images")
def _(room: Room) -> Given:
    return given(thinned(room, 6))


@fault("train images that are in validation too", "duplicates-across-splits")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    return given([x, y, np.concatenate([vx, x[:12]]), np.concatenate([vy, y[:12]])])


@fault("the same, recompressed and brighter", "near-duplicates-across-splits")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    again = np.stack([tf.io.decode_jpeg(tf.io.encode_jpeg(image, quality=60)).numpy() for image in x[:12]])
    again = np.clip(again.astype(np.float32) * 0.9 + 10, 0, 255).astype(np.uint8)
    return given([x, y, np.concatenate([vx, again]), np.concatenate([vy, y[:12]])])


@fault("the same, mirrored", "near-duplicates-across-splits")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    return given([x, y, np.concatenate([vx, x[:12, :, ::-1]]), np.concatenate([vy, y[:12]])])


def by_class(parts):  # type: ignore[no-untyped-def]
    x, y, vx, vy = parts
    order = np.argsort(y, kind="stable")
    return [x[order], y[order], vx, vy]


@fault("sorted by class, not shuffled", "sorted-input")
def _(room: Room) -> Given:
    x, y, vx, vy = by_class(pair(room))
    return {"dataset": (batches(unit(x), y, 32, shuffle=False), batches(unit(vx), vy, 32)), "model": net(6)}


@fault("shuffled through a buffer smaller than a class", "sorted-input")
def _(room: Room) -> Given:
    x, y, vx, vy = by_class(pair(room))
    train = tf.data.Dataset.from_tensor_slices((unit(x), y)).shuffle(16).batch(32)
    return {"dataset": (train, batches(unit(vx), vy, 32)), "model": net(6)}


@fault("mixed once, the same order every epoch", "order-fixed")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    return {"dataset": (batches(unit(x), y, 32, shuffle=False), batches(unit(vx), vy, 32)), "model": net(6)}


@fault("validation repeated without end", "validation-endless")
def _(room: Room) -> Given:
    train, validation = dataset(pair(room))
    return {"dataset": (train, validation.repeat()), "model": net(6)}


@fault("repeated five times an epoch", "repeats")
def _(room: Room) -> Given:
    return {"dataset": dataset(pair(room), lambda d: d.repeat(5)), "model": net(6)}


def python_flip(image, label):  # type: ignore[no-untyped-def]
    if random.random() < 0.5:
        image = tf.image.flip_left_right(image)
    return image, label


def flip(image, label):  # type: ignore[no-untyped-def]
    return tf.image.random_flip_left_right(image), label


@fault("a flip whose coin is Python's random.random()", "augmentation-frozen")
def _(room: Room) -> Given:
    return {"dataset": dataset(pair(room), lambda d: d.map(python_flip)), "model": net(6)}


@fault("noise of numpy.random in a map", "augmentation-frozen")
def _(room: Room) -> Given:
    def noisy(image, label):  # type: ignore[no-untyped-def]
        return image + np.random.normal(0, 0.05, (SIDE, SIDE, 3)).astype(np.float32), label

    return {"dataset": dataset(pair(room), lambda d: d.map(noisy)), "model": net(6)}


@fault("a cache behind the augmentation", "augmentation-frozen")
def _(room: Room) -> Given:
    return {"dataset": dataset(pair(room), lambda d: d.map(flip).cache()), "model": net(6)}


@fault("validation augmented too", "augmentation-in-validation")
def _(room: Room) -> Given:
    return {"dataset": dataset(pair(room), lambda d: d.map(flip), lambda d: d.map(flip)), "model": net(6)}


@fault("augments all images of a batch that holds a rare one", "augmentation-all-classes")
def _(room: Room) -> Given:
    def augment(images, labels):  # type: ignore[no-untyped-def]
        if tf.reduce_any(labels == RARE):
            images = tf.image.random_brightness(images, 0.2)
        return images, labels

    train, validation = dataset(thinned(room, 20))
    return {"dataset": (train.map(augment), validation), "model": net(6)}


@fault("brightness in gray levels on images of 0..1", "augmentation-destroys")
def _(room: Room) -> Given:
    def bright(image, label):  # type: ignore[no-untyped-def]
        return tf.clip_by_value(tf.image.random_brightness(image, 32.0), 0.0, 1.0), label

    return {"dataset": dataset(pair(room), lambda d: d.map(bright)), "model": net(6)}


@healthy("trashnet, cache before random flip and brightness, prefetched")
def _(room: Room) -> Given:
    def jitter(image, label):  # type: ignore[no-untyped-def]
        return tf.image.random_brightness(image, 0.1), label

    train, validation = dataset(pair(room), lambda d: d.cache().map(flip, num_parallel_calls=2).map(jitter))
    return {"dataset": (train.prefetch(2), validation.cache()), "model": net(6)}


@healthy("trashnet 3:1, only the rare class augmented, with a history that goes well")
def _(room: Room) -> Given:
    def augment(image, label):  # type: ignore[no-untyped-def]
        if label == RARE:
            image = tf.image.random_flip_left_right(image)
        return image, label

    loss = tuple(1.8 * 0.88**i for i in range(12))
    past = {
        "loss": loss,
        "val_loss": tuple(v + 0.15 for v in loss),
        "val_accuracy": tuple(0.2 + 0.04 * i for i in range(12)),
    }
    model = net(6)
    model.compile("adam", SPARSE, metrics=["accuracy"])
    return {"dataset": dataset(thinned(room, 20), lambda d: d.map(augment)), "model": model, "past": past}


def beside(room: Room) -> list[np.ndarray]:
    """Photographs of pets at the left (0) or at the right (1) of a gray page."""
    parts = [part.copy() for part in pair(room, "dogcat", each=100, other=30)]
    for images, labels in (parts[:2], parts[2:]):
        narrow = images[:, :, ::2].copy()
        labels[:] = np.arange(len(labels)) % 2
        images[:] = 128
        images[labels == 0, :, : SIDE // 2], images[labels == 1, :, SIDE // 2 :] = (
            narrow[labels == 0],
            narrow[labels == 1],
        )
    return parts


@fault("photographs at the left or at the right, mirrored at random", "augmentation-changes-class")
def _(room: Room) -> Given:
    return {"dataset": dataset(beside(room), lambda d: d.map(flip)), "model": net(2)}


@healthy("photographs at the left or at the right, upside down at random")
def _(room: Room) -> Given:
    def upside_down(image, label):  # type: ignore[no-untyped-def]
        return tf.image.random_flip_up_down(image), label

    return {"dataset": dataset(beside(room), lambda d: d.map(upside_down)), "model": net(2)}


def to_gray(room: Room, augment: Callable[..., Any]) -> Given:
    """Photographs, their gray versions as targets, and a network that makes these."""
    parts = pair(room)
    train, validation = (
        tf.data.Dataset.from_tensor_slices((x, x.mean(axis=-1, keepdims=True)))
        for x in (unit(parts[0]), unit(parts[2]))
    )
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((SIDE, SIDE, 3)),
        layers.Conv2D(8, 3, padding="same", activation="relu"),
        layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
    ])  # fmt: skip
    model.compile("adam", "mse")
    return {"dataset": (train.shuffle(len(parts[0])).map(augment).batch(16), validation.batch(16)), "model": model}


@fault("images flipped, and the images that are to be made of them not", "augmentation-without-target")
def _(room: Room) -> Given:
    return to_gray(room, flip)


@healthy("images flipped together with those that are to be made of them")
def _(room: Room) -> Given:
    def together(image, target):  # type: ignore[no-untyped-def]
        both = tf.image.random_flip_left_right(tf.concat([image, target], axis=-1))
        return both[..., :3], both[..., 3:]

    return to_gray(room, together)
