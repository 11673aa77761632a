"""Applies a network to every record of a split.

It also reads the keys of the records and their images from the shards.
"""

from __future__ import annotations

import os

import keras
import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from trainer.config import TrainerError
from trainer.data import dataset, integrity, record_stream
from trainer.evaluation.predictions import Predictions
from trainer.models.outputs import logits_function

KEY_BATCH = 256  # records whose keys are parsed at once


def predict(network: keras.Model, data: str | os.PathLike[str], split: str, batch_size: int) -> Predictions:
    """Predicts the logits of every record of a split, each record once.

    Raises:
      TrainerError: the shards changed while they were read. Other errors are those of `dataset.load`.
    """
    function = tf.function(logits_function(network), reduce_retracing=True)
    labels: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    for images, batch_labels, *_ in dataset.load(data, split, batch_size):
        labels.append(batch_labels.numpy())
        logits.append(function(images).numpy())
    found, (of_keys, labels_of_keys) = np.concatenate(labels), keys(data, split)
    if not np.array_equal(found, labels_of_keys):
        raise TrainerError(
            f"The shards of split {split!r} in {os.fspath(data)!r} changed while they were read: try again."
        )
    return Predictions(contracts.load(data).labels, of_keys, found, np.concatenate(logits))


def keys(data: str | os.PathLike[str], split: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Reads the keys and the label ids, int64 (N,), of all records of a split.

    Their order is that of `dataset.load` without shuffling.
    """
    contract = contracts.load(data)
    counts = [shard.records for shard in contract.split(split).shards if shard.records]
    whole = contracts.feature_spec(contract)
    spec = {name: whole[name] for name in ("key", "label")}
    records = tf.data.TFRecordDataset(integrity.checked_shards(contract, os.fspath(data), split)).batch(KEY_BATCH)
    found = [(b["key"].numpy(), b["label"].numpy()) for b in records.map(lambda r: tf.io.parse_example(r, spec))]
    which = record_stream.order(counts)
    texts = np.concatenate([part for part, _ in found])[which]
    return tuple(t.decode("utf-8", "replace") for t in texts), np.concatenate([part for _, part in found])[which]


def pixels(data: str | os.PathLike[str], split: str, positions: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Reads the 8-bit images, uint8 (H, W, 3), of the records at `positions`.

    Positions count records in the order of `keys`. The images are returned in the order of `positions`. The function
    undoes the normalization of the contract, and rounding removes the error of float16.
    """
    n = contracts.load(data).normalization
    found: dict[int, np.ndarray] = {}
    wanted, first = set(positions.tolist()), 0
    for images, *_ in dataset.load(data, split, batch_size) if wanted else ():
        for position in (p for p in wanted if first <= p < first + len(images)):
            levels = (images[position - first].numpy() - np.asarray(n.offset)) / np.asarray(n.scale)
            found[position] = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
        first += len(images)
        if len(found) == len(wanted):
            break
    return [found[p] for p in positions.tolist()]
