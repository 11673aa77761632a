"""From staged 8-bit pixels to the normalized floats of a record: one table look-up a value."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from pipelines import contract, storage
from pipelines.contract import tfrecord
from pipelines.core.elements import Affine

MOST = 1 << 31  # bytes of a record: protocol buffers' own limit


def finish(staged: str, target: str, affine: Affine, encoding: str) -> tuple[str, int]:
    """Writes the shard `staged` to `target` with every record's pixels normalized; whole or not at all.

    Returns:
      The SHA-256 in hex and the number of bytes of what was written.

    Raises:
      OSError: a staged record is damaged.
    """
    table = normalization_table(*affine, encoding)
    with storage.reading(staged) as file, storage.writing(target) as out:
        hashed = storage.Hashed(out)
        for frame in tfrecord.frames(file.read, MOST):
            if frame.problem:
                raise OSError(f"{staged}, record at byte {frame.offset}: {frame.problem}. Remove it and run again.")
            hashed.write(tfrecord.framed(finish_example(frame.data, table)))
    return hashed.hexdigest(), hashed.size


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
