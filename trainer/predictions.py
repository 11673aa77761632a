"""What a model answered, record by record, and the keys that the records have in the shards."""

from __future__ import annotations

import dataclasses
import os

import keras
import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from trainer import calibration, dataset, export
from trainer.config import TrainerError
from trainer.gather import order

KEY_BATCH = 256  # records parsed at once for their keys


@dataclasses.dataclass(frozen=True)
class Predictions:
    """One model on N records of a split.

    names: of the classes, in order of the ids. keys: of the records. labels: int64 (N,), true ids.
    logits: float32 (N, C); their softmax are the probabilities before calibration.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]
    labels: np.ndarray
    logits: np.ndarray

    def answers(self) -> np.ndarray:
        """int64 (N,): the most probable class, which no temperature changes."""
        return self.logits.argmax(axis=1)

    def probabilities(self, temperature: float = 1.0) -> np.ndarray:
        """float64 (N, C)."""
        return calibration.softmax(self.logits, temperature)


def predict(network: keras.Model, data: str | os.PathLike[str], split: str, batch_size: int) -> Predictions:
    """Runs the network over a split, every record once.

    Raises what `dataset.load` raises, and
      TrainerError: the shards changed meanwhile.
    """
    function = tf.function(export.logits_function(network), reduce_retracing=True)
    labels: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    for images, batch_labels, *_ in dataset.load(data, split, batch_size):
        labels.append(batch_labels.numpy())
        logits.append(function(images).numpy())
    found, of_keys = np.concatenate(labels), keys(data, split)
    if not np.array_equal(found, of_keys[1]):
        raise TrainerError(
            f"The shards of split {split!r} in {os.fspath(data)!r} changed while they were read: try again."
        )
    return Predictions(contracts.load(data).labels, of_keys[0], found, np.concatenate(logits))


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
