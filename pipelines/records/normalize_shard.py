"""Normalizes the 8-bit pixels of staged records to floats.

Each value costs one table look-up.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from pipelines import contract, storage
from pipelines.contract import tfrecord
from pipelines.core.elements import Affine
from pipelines.core.hashing import Hashed
from pipelines.records import read_shard


def finish(staged: str, target: str, records: int, affine: Affine, encoding: str) -> tuple[str, int]:
    """Writes the shard `staged` to `target` with every record's pixels normalized.

    The target is written completely or not at all.

    Args:
      records: the number of records that were staged.

    Returns:
      The SHA-256 in hex and the number of bytes of what was written.

    Raises:
      IncompleteError: the staged shard is not as it was written.
    """
    table = normalization_table(*affine, encoding)
    with storage.writing(target) as out:
        hashed = Hashed(out)
        for record in read_shard.records(staged, records):
            hashed.write(tfrecord.framed(finish_example(record, table)))
    return hashed.sha256.hexdigest(), hashed.size


def normalization_table(scale: tuple[float, ...], offset: tuple[float, ...], encoding: str) -> np.ndarray:
    """Returns every 8-bit value of every channel, normalized.

    The table is (C, 256) of the encoding's dtype. Its values are computed as contract.normalize computes them.
    """
    levels = np.arange(256, dtype=np.float32)
    table = levels * np.asarray(scale, np.float32)[:, None] + np.asarray(offset, np.float32)[:, None]
    return table.astype(contract.RAW_DTYPES[encoding])


def finish_example(staged: bytes, table: np.ndarray) -> bytes:
    """Replaces a staged record's 8-bit pixels by normalized little-endian values."""
    message = tf.train.Example.FromString(staged)
    value = message.features.feature["image"].bytes_list
    pixels = np.frombuffer(value.value[0], np.uint8).reshape(-1, len(table))
    out = np.empty(pixels.shape, table.dtype)
    for channel in range(len(table)):
        np.take(table[channel], pixels[:, channel], out=out[:, channel])
    value.value[0] = out.astype(out.dtype.newbyteorder("<"), copy=False).tobytes()
    return bytes(message.SerializeToString(deterministic=True))
