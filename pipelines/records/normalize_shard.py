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

MOST = 1 << 31  # most bytes of a record: the limit of protocol buffers


def finish(staged: str, target: str, affine: Affine, encoding: str) -> tuple[str, int]:
    """Writes the shard `staged` to `target` with every record's pixels normalized.

    The target is written completely or not at all.

    Returns:
      The SHA-256 in hex and the number of bytes of what was written.

    Raises:
      OSError: a staged record is damaged.
    """
    table = normalization_table(*affine, encoding)
    with storage.reading(staged) as file, storage.writing(target) as out:
        hashed = Hashed(out)
        for frame in tfrecord.frames(file.read, MOST):
            if frame.problem:
                raise OSError(f"{staged}, record at byte {frame.offset}: {frame.problem}. Remove it and run again.")
            hashed.write(tfrecord.framed(finish_example(frame.data, table)))
    return hashed.sha256.hexdigest(), hashed.size


def normalization_table(scale: tuple[float, ...], offset: tuple[float, ...], encoding: str) -> np.ndarray:
    """Returns every 8-bit value of every channel, normalized.

    The table is (3, 256) of the encoding's dtype. Its values are computed as contract.normalize computes them.
    """
    levels = np.arange(256, dtype=np.float32)
    table = levels * np.asarray(scale, np.float32)[:, None] + np.asarray(offset, np.float32)[:, None]
    return table.astype(contract.RAW_DTYPES[encoding])


def finish_example(staged: bytes, table: np.ndarray) -> bytes:
    """Replaces a staged record's 8-bit pixels by normalized little-endian values."""
    message = tf.train.Example.FromString(staged)
    value = message.features.feature["image"].bytes_list
    pixels = np.frombuffer(value.value[0], np.uint8).reshape(-1, 3)
    out = np.empty(pixels.shape, table.dtype)
    for channel in range(3):
        np.take(table[channel], pixels[:, channel], out=out[:, channel])
    value.value[0] = out.astype(out.dtype.newbyteorder("<"), copy=False).tobytes()
    return bytes(message.SerializeToString(deterministic=True))
