"""A network on every record of a split, with the keys that the records have in the shards."""

from __future__ import annotations

import os

import keras
import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from trainer.config import TrainerError
from trainer.data import dataset
from trainer.data.gather import order
from trainer.evaluation.predictions import Predictions
from trainer.models.outputs import logits_function

KEY_BATCH = 256  # records parsed at once for their keys


def predict(network: keras.Model, data: str | os.PathLike[str], split: str, batch_size: int) -> Predictions:
    """Runs the network over a split, every record once.

    Raises what `dataset.load` raises, and
      TrainerError: the shards changed meanwhile.
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
    """Key and label id, int64 (N,), of every record, in the order of `dataset.load` without shuffling."""
    contract = contracts.load(data)
    counts = [shard.records for shard in contract.split(split).shards if shard.records]
    whole = contracts.feature_spec(contract)
    spec = {name: whole[name] for name in ("key", "label")}
    records = tf.data.TFRecordDataset(dataset.checked_shards(contract, os.fspath(data), split)).batch(KEY_BATCH)
    found = [(b["key"].numpy(), b["label"].numpy()) for b in records.map(lambda r: tf.io.parse_example(r, spec))]
    which = order(counts, dataset.OPEN_SHARDS)
    texts = np.concatenate([part for part, _ in found])[which]
    return tuple(t.decode("utf-8", "replace") for t in texts), np.concatenate([part for _, part in found])[which]


def pixels(data: str | os.PathLike[str], split: str, positions: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """The 8-bit images, uint8 (H, W, 3), of records at some positions in the order of `keys`, in that of `positions`.

    The contract's normalization is undone; what float16 rounded is rounded back.
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
