"""From staged 8-bit pixels to the normalized floats of a record: one table look-up a value."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from pipelines import contract, storage, tfrecord
from pipelines.shards import Affine


def finish(staged: str, target: str, affine: Affine, encoding: str) -> None:
    """Writes the shard `staged` to `target` with every record's pixels normalized; whole or not at all."""
    table = normalization_table(*affine, encoding)
    with storage.writing(target) as out:
        for record in tf.data.TFRecordDataset(staged).as_numpy_iterator():
            out.write(tfrecord.framed(finish_example(record, table)))


def normalization_table(scale: tuple[float, ...], offset: tuple[float, ...], encoding: str) -> np.ndarray:
    """(3, 256) of the encoding's dtype: every 8-bit value of every channel, normalized as contract.normalize does."""
    levels = np.arange(256, dtype=np.float32)
    table = levels * np.asarray(scale, np.float32)[:, None] + np.asarray(offset, np.float32)[:, None]
    return table.astype(contract.RAW_DTYPES[encoding])


def finish_example(staged: bytes, table: np.ndarray) -> bytes:
    """A staged record with 8-bit pixels -> the record with normalized values, little-endian."""
    message = tf.train.Example.FromString(staged)
    value = message.features.feature["image"].bytes_list
    pixels = np.frombuffer(value.value[0], np.uint8).reshape(-1, 3)
    out = np.empty(pixels.shape, table.dtype)
    for channel in range(3):
        np.take(table[channel], pixels[:, channel], out=out[:, channel])
    value.value[0] = out.astype(out.dtype.newbyteorder("<"), copy=False).tobytes()
    return bytes(message.SerializeToString(deterministic=True))
