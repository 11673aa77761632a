"""In which order each pass over a split gives its records.

The order of pass e is a pure function of the seed and e, so that a run can go on in the middle of a pass, and the
records of any batch can be told afterwards.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

Start = Callable[[], tuple[int, int]]  # of a pass: its number, and how many of its batches to leave out


def from_zero() -> Start:
    """Passes 0, 1, 2 ..., each from its first batch."""
    numbers = itertools.count()
    return lambda: (next(numbers), 0)


def passes(seed: int, start: Start) -> tf.data.Dataset:
    """One element, drawn anew for every pass: (two random numbers of the pass uint32 (2,), batches to leave out int64).

    The numbers come from SeedSequence, which NumPy promises not to change.
    """

    def draw() -> tuple[np.ndarray, np.int64]:
        number, skip = start()
        return np.random.SeedSequence([seed, number]).generate_state(2, np.uint32), np.int64(skip)

    def begin(once: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Called "not stateful", with an argument that is no constant: where training is to be reproducible, tf.data
        # takes all its threads and buffers from a dataset with anything stateful in it.
        words, skip = tf.numpy_function(lambda _: draw(), [once], [tf.uint32, tf.int64], stateful=False)
        return tf.ensure_shape(words, (2,)), tf.ensure_shape(skip, ())

    return tf.data.Dataset.from_tensors(0).map(begin)


def permutation(begins: tf.data.Dataset, records: int, batch_size: int, drop_remainder: bool) -> tf.data.Dataset:
    """Batches of positions int64 (B,): every record once, in an order of its own every pass.

    A position is computed where it is needed, from the numbers of the pass: the order takes no memory, and leaving out
    batches takes no time.
    """
    batches = count(records, batch_size, drop_remainder)

    def number(words: tf.Tensor, skip: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.range(skip, batches).map(lambda index: (index, words))

    def positions(index: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
        first = index * batch_size
        places = tf.range(first, tf.minimum(first + batch_size, tf.constant(records, tf.int64)))
        shuffled = tf.random.experimental.index_shuffle(places, words, tf.constant(records - 1, tf.int64))
        return tf.ensure_shape(shuffled, (batch_size if drop_remainder else None,))

    return begins.flat_map(number).map(positions)


def buffered(
    begins: tf.data.Dataset,
    records: Callable[[tf.Tensor], tf.data.Dataset],
    buffer: int,
    batch_size: int,
    drop_remainder: bool,
) -> tf.data.Dataset:
    """Batches of a stream, string (B,), shuffled in a buffer anew every pass.

    Args:
      begins: of `passes`.
      records: from a seed int64 () to the records of one pass, string ().
      buffer: records to hold.
      batch_size, drop_remainder: as for `dataset.load`.
    """

    def one(words: tf.Tensor, skip: tf.Tensor) -> tf.data.Dataset:
        tf.random.set_seed(1)  # of this graph: orders should not depend on the program's own seed
        files, bytes_ = tf.unstack(tf.cast(words, tf.int64))
        shuffled = records(files).shuffle(buffer, seed=bytes_, reshuffle_each_iteration=False)
        return shuffled.batch(batch_size, drop_remainder=drop_remainder).skip(skip)

    return begins.flat_map(one)


def count(records: int, batch_size: int, drop_remainder: bool = False) -> int:
    """Batches of a pass."""
    return records // batch_size if drop_remainder else math.ceil(records / batch_size)
