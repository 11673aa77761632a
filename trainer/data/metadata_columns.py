"""Adds the columns that travel along to batches.

They are the columns that `prepare --keep` named. Texts cannot go to a device, so all of them stay tensors of the host.
Of mapped shards, a record is parsed when it is first needed; its values are then kept by its position. Of streams, the
columns are parsed beside the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract, metadata, tf_example
from pipelines.contract.metadata import FLOAT, INTEGER, TEXT
from trainer.config import TrainerError
from trainer.data.shards import mmap_tfrecord
from trainer.data.shards.example_layout import Layout, LayoutError
from trainer.data.shards.gather import calls

_MEMORY = {INTEGER: np.int64, FLOAT: np.float32, TEXT: object}


def check(contract: Contract) -> None:
    """Raises TrainerError if no columns travel along."""
    if not contract.metadata:
        raise TrainerError(
            f"with_metadata: no column of a table travels along with dataset {contract.name!r}. Prepare it with "
            "--keep COLUMN,…"
        )


def spec(contract: Contract) -> dict[str, tf.io.FixedLenFeature]:
    """Returns the specification of the columns alone, for `tf.io.parse_example`."""
    whole = contracts.feature_spec(contract)
    return {column.feature: whole[column.feature] for column in contract.metadata}


def added(
    contract: Contract, read: Callable[..., Any], shards: Sequence[mmap_tfrecord.Shard] | None
) -> Callable[..., Any]:
    """Returns a function like `read` that gives the columns, too.

    They are the last part of a batch.

    Args:
      read: maps positions int64 (B,), or serialized records string (B,), and what it needs besides, to a batch.
      shards: those that positions count through; None for serialized records.

    Raises:
      TrainerError: no columns travel along.
    """
    check(contract)
    columns = _parsed(contract) if shards is None else _gathered(contract, shards)
    return lambda batch, *more: (*read(batch, *more), columns(batch))


def _parsed(contract: Contract) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    wanted = spec(contract)

    def columns(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        found = tf.io.parse_example(serialized, wanted)
        return {column.name: found[column.feature] for column in contract.metadata}

    return columns


def _gathered(contract: Contract, shards: Sequence[mmap_tfrecord.Shard]) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    values = Columns(contract, shards)
    dtypes = [tf.as_dtype(column.dtype) for column in contract.metadata]

    def columns(positions: tf.Tensor) -> dict[str, tf.Tensor]:
        # Not stateful: what is kept never changes the result. Therefore tf.data may run several calls at once.
        found = tf.numpy_function(values.take, [positions], dtypes, stateful=False)
        return {
            column.name: tf.ensure_shape(value, positions.shape)
            for column, value in zip(contract.metadata, found, strict=True)
        }

    return columns


class Columns:
    """Holds the values of the columns of one split, by position.

    Several threads may use it at once.
    """

    def __init__(self, contract: Contract, shards: Sequence[mmap_tfrecord.Shard]) -> None:
        self._columns, self._shards = contract.metadata, shards
        self._firsts = np.cumsum([0, *(shard.records for shard in shards)])
        records = int(self._firsts[-1])
        self._values = [np.zeros(records, _MEMORY[column.dtype]) for column in self._columns]
        self._ready = np.zeros(records, bool)

    def take(self, positions: np.ndarray) -> list[np.ndarray]:
        """Returns the values of the records at positions int64 (B,), for each column (B,).

        Raises:
          ContractError: a record is not as the contract says; the message names the shard and the record.
        """
        with calls:
            for position in np.unique(positions[~self._ready[positions]]).tolist():
                self._read(position)
            return [values[positions] for values in self._values]

    def _read(self, position: int) -> None:
        which = int(np.searchsorted(self._firsts, position, side="right")) - 1
        shard, number = self._shards[which], position - int(self._firsts[which])
        start, stop = shard.place(number)
        record = shard.map[start:stop]
        try:
            places = Layout.of(record).values
            for column, values in zip(self._columns, self._values, strict=True):
                if column.feature not in places:
                    raise LayoutError(f"it has no {column.feature}")
                first, last = places[column.feature]
                values[position] = _value(record[first:last], column)
        except LayoutError as e:
            raise shard.error(number, str(e)) from e
        self._ready[position] = True  # set last, because other threads rely on it


def _value(data: bytes, column: metadata.MetadataColumn) -> Any:
    """Returns the value in the bytes of a feature.

    Raises:
      LayoutError: they are of another type.
    """
    if column.dtype == TEXT:
        return data
    if column.dtype == FLOAT and len(data) == 4:
        return np.frombuffer(data, "<f4")[0]
    if column.dtype == INTEGER and data:
        try:
            value, end = tf_example.read_varint(data, 0)
        except tf_example.ExampleError:
            end = -1
        if end == len(data):
            return tf_example.signed(value)
    raise LayoutError(f"its {column.feature} should be one {column.dtype}")
