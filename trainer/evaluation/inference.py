"""Applies a network to every record of a split.

It also reads the keys of the records and their images from the shards.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from trainer.config import TrainerError
from trainer.data import dataset, parts, record_stream
from trainer.data.shards import integrity
from trainer.evaluation.predictions import Predictions
from trainer.models import alignment
from trainer.models.outputs import logits_function

KEY_BATCH = 256  # records whose keys are parsed at once


Outputs = tuple[tuple[str, ...], tuple[str, ...], np.ndarray, np.ndarray]


def predict(network: keras.Model, data: str | os.PathLike[str], split: str, batch_size: int) -> Predictions:
    """Predicts the logits of every record of a split, each record once.

    Raises:
      TrainerError: the shards changed while they were read. Other errors are those of `dataset.load`.
    """
    return Predictions(*outputs(logits_function(network), data, batch_size)(split))


def outputs(
    function: Callable[[tf.Tensor], tf.Tensor], data: str | os.PathLike[str], batch_size: int
) -> Callable[[str], Outputs]:
    """Returns what computes the outputs of a function on a split.

    TensorFlow traces the function once, for all splits and for the last batches, which are smaller.

    Args:
      function: maps normalized images, float32 (B, H, W, 3), to float32 (B, K).

    Returns:
      A function of a split. It returns the names of the K outputs, the keys of the N records, their labels as the
      loader gives them, and the outputs, float32 (N, K). It raises TrainerError if the shards changed while they were
      read, and the errors of `dataset.load`.
    """
    contract = contracts.load(data)

    def of_stored(stored: tf.Tensor) -> tf.Tensor:
        images = contracts.normalize(contract, stored) if stored.dtype == tf.uint8 else tf.cast(stored, tf.float32)
        return function(images)

    compiled = tf.function(of_stored, autograph=False)

    def on_split(split: str) -> Outputs:
        # As they are stored: XLA would compile the normalization of `dataset.load` for each split.
        batches = dataset.load(data, split, batch_size, dequantize=False)
        stored = batches.element_spec[0]
        computed = compiled.get_concrete_function(tf.TensorSpec((None, *stored.shape[1:]), stored.dtype))
        labels: list[np.ndarray] = []
        values: list[np.ndarray] = []
        for images, batch_labels, *_ in batches:
            labels.append(batch_labels.numpy())
            values.append(computed(images).numpy())
        found, (of_keys, labels_of_keys) = np.concatenate(labels), keys(data, split)
        if not np.array_equal(found, labels_of_keys, equal_nan=found.dtype.kind == "f"):
            raise TrainerError(
                f"The shards of split {split!r} in {os.fspath(data)!r} changed while they were read: try again."
            )
        return alignment.names(contract), of_keys, found, np.concatenate(values)

    return on_split


def keys(data: str | os.PathLike[str], split: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Reads the keys and the labels of all records of a split.

    Their order is that of `dataset.load` without shuffling. Labels are class ids, int64 (N,), or targets, float32
    (N, K).
    """
    contract = contracts.load(data)
    part = parts.find(contract, data, split)
    whole = contracts.feature_spec(contract)
    answer = "target" if contract.target_width else "label"
    spec = {name: whole[name] for name in ("key", answer)}
    records = tf.data.TFRecordDataset(integrity.checked_shards(contract, os.fspath(data), part.split)).batch(KEY_BATCH)
    parsed = records.map(tf.autograph.experimental.do_not_convert(lambda r: tf.io.parse_example(r, spec)))
    found = [(b["key"].numpy(), b[answer].numpy()) for b in parsed]
    which = record_stream.in_order(part)
    texts = np.concatenate([part for part, _ in found])[which]
    return tuple(t.decode("utf-8", "replace") for t in texts), np.concatenate([part for _, part in found])[which]


def pixels(data: str | os.PathLike[str], split: str, positions: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Reads the 8-bit images, uint8 (H, W, C), of the records at `positions`.

    Positions count records in the order of `keys`. The images are returned in the order of `positions`. The function
    undoes the normalization of the contract, and rounding removes the error of float16.
    """
    n = contracts.load(data).normalization
    found: dict[int, np.ndarray] = {}
    if not len(positions):
        return []
    wanted, first = set(positions.tolist()), 0
    batches, read = dataset.load_at(data, split, np.unique(positions), batch_size)
    for images, *_ in batches:
        for place, position in enumerate(read[first : first + len(images)].tolist()):
            if position not in wanted:
                continue
            image = images[place].numpy()
            if image.dtype != np.uint8:
                levels = (image.astype(np.float32) - np.asarray(n.offset)) / np.asarray(n.scale)
                image = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
            found[position] = image
        first += len(images)
        if len(found) == len(wanted):
            break
    return [found[p] for p in positions.tolist()]
