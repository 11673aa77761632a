"""Draws a sample of a dataset into memory: its first batches, unchanged."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from trainer.doctor.clock import Clock

MAX_IMAGES = 2048
MAX_BYTES = 512 << 20
SQUARE, SIDE, WIDEST = 8, 16, 2  # pixels of a square picture, of a side of others, and their ratio without channels
MAX_LABELS = 1 << 16  # labels are read further than images are kept, because they show the order and the class counts


@dataclasses.dataclass(frozen=True)
class Batch:
    """Holds one batch as the dataset returned it.

    x: images, usually (B, H, W, C). y: labels, (B,), (B, 1) or (B, classes). w: sample weights or None.
    inputs: all inputs in the structure of the dataset, if there are several; x is the one that looks like images.
    targets: all labels in their structure, if there are several; y is the first of them.
    """

    x: np.ndarray
    y: np.ndarray
    w: np.ndarray | None = None
    inputs: Any = None
    targets: Any = None


@dataclasses.dataclass(frozen=True)
class Sample:
    """Holds the first batches of a pass over a dataset.

    batches: the batches whose images were kept.
    labels_seen: int64 (M,), class ids in the order of the pass; also those of batches whose images were not kept.
    complete: True if the pass reached the end of the dataset and all images were kept.
    ended: True if the pass reached the end, so that `labels_seen` has all labels, also where `complete` is False.
    """

    batches: tuple[Batch, ...]
    labels_seen: np.ndarray
    complete: bool
    ended: bool = False

    @functools.cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Returns the distinct shapes of an image, the most frequent first."""
        count: dict[tuple[int, ...], int] = {}
        for batch in self.batches:
            count[batch.x.shape[1:]] = count.get(batch.x.shape[1:], 0) + len(batch.x)
        return tuple(sorted(count, key=lambda shape: -count[shape]))

    @functools.cached_property
    def images(self) -> np.ndarray:
        """Returns the images as the dataset gave them, (N, H, W, C).

        If there are several shapes, it returns only the images of the most frequent one.
        """
        return np.concatenate([b.x for b in self._alike])

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """Returns the labels of `images` unchanged: (N,), (N, 1) or (N, classes)."""
        return np.concatenate([b.y for b in self._alike])

    @functools.cached_property
    def inputs(self) -> Any:
        """Returns what a model is called with for `images`.

        These are the images, or the structure of all inputs.
        """
        parts = [batch.inputs for batch in self._alike]
        return self.images if parts[0] is None else keras.tree.map_structure(_concatenated, *parts)

    @functools.cached_property
    def targets(self) -> Any:
        """Returns what a loss is called with for `images`.

        These are the labels, or the structure of all labels.
        """
        parts = [batch.targets for batch in self._alike]
        return self.labels if parts[0] is None else keras.tree.map_structure(_concatenated, *parts)

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """Returns the class ids of `labels`, int64 (N,).

        The labels may be integers, one-hot or binary.
        """
        return class_ids(self.labels)

    @property
    def _alike(self) -> list[Batch]:
        return [batch for batch in self.batches if batch.x.shape[1:] == self.shapes[0]]

    @property
    def has_pairs(self) -> bool:
        """Tells whether there are several inputs, as two images of one label."""
        return any(batch.inputs is not None and len(keras.tree.flatten(batch.inputs)) > 1 for batch in self.batches)

    @property
    def has_several_targets(self) -> bool:
        """Tells whether there are labels for several outputs."""
        return any(batch.targets is not None and len(keras.tree.flatten(batch.targets)) > 1 for batch in self.batches)

    def __len__(self) -> int:
        return sum(len(batch.x) for batch in self.batches)


def is_picture(shape: tuple[int, ...]) -> bool:
    """Tells whether examples of this shape can be pictures, and are no rows or series.

    Two axes are a gray picture, or a series (steps, columns): pictures are square, or large on both sides and at most
    twice as wide as high. Three axes are a picture with channels unless one side is short, as of series with an axis
    more.
    """
    if len(shape) < 2 or len(shape) > 3:
        return len(shape) > 3
    short, long = sorted(shape[:2])
    if len(shape) == 2:
        return short >= (SQUARE if short == long else SIDE) and long <= WIDEST * short
    return short == long or short >= SIDE


def _concatenated(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts)


def choose(inputs: Any, index: Any) -> Any:
    """Returns an index or slice out of `Sample.inputs` or `Sample.targets`."""
    return keras.tree.map_structure(lambda part: part[index], inputs)


def class_ids(labels: np.ndarray) -> np.ndarray:
    """Converts labels in any usual form to class ids, int64 (N,).

    The id of a label (N, C > 1) is the index of its greatest value. Other labels are rounded; NaN and infinity become
    -1.
    """
    if labels.ndim > 1 and labels.shape[-1] > 1:
        return np.argmax(labels.reshape(len(labels), -1), axis=-1).astype(np.int64)
    flat = labels.reshape(len(labels), -1)[:, 0] if labels.ndim > 1 else labels
    return np.rint(np.nan_to_num(flat.astype(np.float64), nan=-1, posinf=-1, neginf=-1)).astype(np.int64)


def draw(
    dataset: Iterable[Any],
    clock: Clock,
    max_images: int = MAX_IMAGES,
    max_bytes: int = MAX_BYTES,
    max_labels: int = MAX_LABELS,
) -> Sample:
    """Reads the first batches of a dataset of (x, y) or (x, y, weight) batches.

    It keeps images up to `max_images` and `max_bytes`, and stops the pass at `max_labels` labels or when the time is
    over. It reads at least one batch.

    Raises:
      DatasetError: an element is not a pair or triple of arrays.
      Exception: whatever the dataset raises.
    """
    batches: list[Batch] = []
    labels: list[np.ndarray] = []
    images = size = seen = 0
    full = complete = ended = False
    iterator: Iterator[Any] = iter(dataset)
    while True:
        try:
            batch = _batch(next(iterator))
        except StopIteration:
            complete, ended = not full, True
            break
        labels.append(batch.y)
        seen += len(batch.y)
        full = full or images >= max_images or size + batch.x.nbytes > max_bytes > size > 0
        if not full:
            batches.append(batch)
            images += len(batch.x)
            size += batch.x.nbytes
        if clock.over or seen >= max_labels:
            break
    return Sample(tuple(batches), _joined(labels), complete, ended)


class DatasetError(ValueError):
    """Says that an element of the dataset is not (images, labels).

    The message describes the element.
    """


class TextError(DatasetError):
    """Says that an element holds text, which the checks of images do not read."""


def _batch(element: Any) -> Batch:
    if not isinstance(element, tuple | list) or len(element) not in (2, 3):
        raise DatasetError(f"(images, labels) batches were expected. An element is {_describe(element)}")
    inputs, targets = (keras.tree.map_structure(_array, _filled(part)) for part in element[:2])
    inputs = keras.tree.map_structure(lambda part: part[:, None] if part.ndim == 1 else part, inputs)  # as Keras does
    x, y = _images(keras.tree.flatten(inputs)), keras.tree.flatten(targets)[0]
    if x.ndim < 2 or y.ndim < 1 or len(x) != len(y):
        raise DatasetError(
            "batches of as many images as labels were expected. "
            f"An element has images of shape {x.shape} and labels of shape {y.shape}"
        )
    weights = keras.tree.flatten(element[2]) if len(element) == 3 and element[2] is not None else []
    return Batch(
        x, y, _array(weights[0]) if weights else None,
        None if isinstance(inputs, np.ndarray) else inputs, None if isinstance(targets, np.ndarray) else targets,
    )  # fmt: skip


def _filled(part: Any) -> Any:
    """Returns the inputs or labels of an element.

    One alone in a tuple or list is taken out of it.

    Raises:
      DatasetError: there are none.
    """
    leaves = keras.tree.flatten(part)
    if not leaves or any(leaf is None for leaf in leaves):
        raise DatasetError(f"one tensor of images and one of labels were expected. One of them is {_describe(part)}")
    return leaves[0] if isinstance(part, tuple | list) and len(leaves) == 1 else part


def _images(inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the input that looks like images: the one with the most axes."""
    return max(inputs, key=lambda part: part.ndim)


def _array(part: Any) -> np.ndarray:
    array = np.asarray(part.numpy() if hasattr(part, "numpy") else part)
    if array.dtype == object or array.dtype.kind in "SU":
        raise TextError(f"numbers were expected. An element holds {'text' if array.dtype.kind != 'O' else 'bytes'}")
    return array


def _describe(element: Any) -> str:
    if isinstance(element, dict):
        return f"a dict of {', '.join(map(repr, element))}"
    if isinstance(element, tuple | list):
        return f"a {type(element).__name__} of {len(element)}"
    return f"a {type(element).__name__}" + (f" of shape {tuple(element.shape)}" if hasattr(element, "shape") else "")


def _joined(labels: Sequence[np.ndarray]) -> np.ndarray:
    if not labels:
        return np.zeros((0,), np.int64)
    return np.concatenate([class_ids(part) for part in labels])
