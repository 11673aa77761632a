"""Small sets of real photographs in memory, small networks, and the doctor's answer to them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from PIL import Image

from trainer.doctor import run_probes
from trainer.doctor.output.text import Report
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import load
from trainer.doctor.subject.sample import Batch, Sample, class_ids
from trainer.doctor.subject.subject import Split, Subject

CLASSES = {"trashnet": ("cardboard", "glass", "metal", "paper", "plastic", "trash"), "dogcat": ("cat", "dog")}
# One of each pair of equal files under two labels, see the data's README: healthy sets should not have them.
CONTRADICTORY = {"metal91.jpg", "plastic152.jpg", "plastic332.jpg", "glass115.jpg", "glass176.jpg", "glass389.jpg"}


@functools.lru_cache(maxsize=16)
def photos(root: Path, collection: str, each: int, side: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, side, side, 3) and int64 (N,): `each` photos of every class from the `start`-th on, mixed in order."""
    images, labels = [], []
    for label, name in enumerate(CLASSES[collection]):
        files = sorted(f for f in os.listdir(root / collection / name) if f not in CONTRADICTORY)
        for file in files[start : start + each]:
            with Image.open(root / collection / name / file) as image:
                image.draft("RGB", (2 * side, 2 * side))
                images.append(np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BOX)))
                labels.append(label)
    order = np.random.default_rng(0).permutation(len(images))
    return np.stack(images)[order], np.array(labels, np.int64)[order]


def unit(images: np.ndarray) -> np.ndarray:
    """0..255 -> float32 in 0..1."""
    return images.astype(np.float32) / 255


def batches(images: np.ndarray, labels: np.ndarray, size: int = 16, shuffle: bool = True) -> tf.data.Dataset:
    """A dataset of (images, labels) batches, shuffled as a whole."""
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    return (dataset.shuffle(len(images), seed=1) if shuffle else dataset).batch(size)


def cnn(
    classes: int,
    front: Sequence[Any] = (),
    shape: tuple[int | None, ...] = (32, 32, 3),
    activation: str | None = None,
    loss: Any = None,
) -> keras.Model:
    """A small network with logits and the loss for them, unless told otherwise."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(shape),
            *front,
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(classes, activation=activation),
        ]
    )
    model.compile("adam", loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def doctor(*probes: Probe, **given: Any) -> Report:
    """The report of these probes on `gather.subject_of(**given)`."""
    return run_probes.run(load.subject_of(**given), probes)


def subject(train: Any, validation: Any = None, **more: Any) -> Subject:
    """A subject of (images, labels) arrays, as if a dataset had given them in two equal passes."""
    splits = [None if s is None else in_memory(name, *s) for name, s in (("train", train), ("validation", validation))]
    return Subject(**({"origin": "dataset", "train": splits[0], "validation": splits[1]} | more))


def in_memory(name: str, images: np.ndarray, labels: np.ndarray) -> Split:
    """A split whose one batch is all of it."""
    sample = Sample((Batch(images, labels),), class_ids(labels), True)
    return Split(name, sample, sample)


def ids(report: Report) -> list[str]:
    """The ids of the findings; fails on a check that broke down, which would pass for a healthy one."""
    broken = [(name, reason) for name, reason in report.not_checked if "the check failed" in reason]
    if broken:
        raise AssertionError(broken)
    return [finding.id for finding in report.findings]


def only(report: Report, id_: str) -> Any:
    """The finding of this id; there has to be exactly one finding, or several of this id."""
    if set(ids(report)) != {id_}:
        raise AssertionError(f"expected {id_}:\n{report.text()}")
    return report.findings[0]


def probe_of(module: Any, function: Callable[..., Any]) -> Probe:
    """The probe of a module that looks with this function."""
    return next(probe for probe in module.PROBES if probe.look is function)
