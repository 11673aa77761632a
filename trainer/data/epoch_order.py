"""Decides the order of the records in each pass over a split.

The order of pass e is a pure function of the seed and e. Therefore a run can resume in the middle of a pass, and the
records of any batch can be found afterwards.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from trainer.data.shards.gather import calls

# Marks a function of tf.data that AutoGraph need not convert: that takes longer than to trace it.
plain = tf.autograph.experimental.do_not_convert
Start = Callable[[], tuple[int, int]]  # returns the number of a pass and how many of its batches to leave out
Pick = Callable[[np.ndarray, np.ndarray], np.ndarray]
ID_STEP = 1 << 32  # more than a pass has batches
_KEY = 498247692  # what tf.random.experimental.index_shuffle puts before a seed of two numbers


def from_zero() -> Start:
    """Returns a start function for passes 0, 1, 2 ..., each from its first batch."""
    numbers = itertools.count()
    return lambda: (next(numbers), 0)


def passes(seed: int, start: Start) -> tf.data.Dataset:
    """Creates a dataset of one element, which is computed anew for every pass.

    The element is (two random numbers of the pass uint32 (2,), number of batches to leave out int64 (), number of the
    pass int64 ()).
    """

    def draw() -> tuple[np.ndarray, np.int64, np.int64]:
        number, skip = start()
        return _words(seed, number), np.int64(skip), np.int64(number)

    def begin(once: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # The function is marked as not stateful and its argument is not a constant: if training has to be reproducible,
        # tf.data removes all threads and buffers from a dataset with a stateful operation.
        words, skip, number = tf.numpy_function(
            lambda _: draw(), [once], [tf.uint32, tf.int64, tf.int64], stateful=False
        )
        return tf.ensure_shape(words, (2,)), tf.ensure_shape(skip, ()), tf.ensure_shape(number, ())

    return tf.data.Dataset.from_tensors(0).map(plain(begin))


def numbered(start: Start, batches: int) -> tf.data.Dataset:
    """Creates a dataset of the ids of the batches of a pass, int64 ().

    It begins anew for every pass. An id is the number of the pass times ID_STEP plus the number of the batch. It is all
    that `Permutation` needs, so that a pass begins with one small function: TensorFlow takes milliseconds to prepare
    each function of a pass.

    Args:
      start: as for `dataset.load`.
      batches: number of batches of a pass.
    """

    def draw() -> tuple[np.int64, np.int64]:
        number, skip = start()
        return np.int64(number * ID_STEP + skip), np.int64(number * ID_STEP + batches)

    def one(once: tf.Tensor) -> tf.data.Dataset:
        first, end = tf.numpy_function(lambda _: draw(), [once], [tf.int64, tf.int64], stateful=False)  # as in `passes`
        return tf.data.Dataset.range(tf.ensure_shape(first, ()), tf.ensure_shape(end, ()))

    return tf.data.Dataset.from_tensors(0).flat_map(plain(one))


class Permutation:
    """Maps the ids of batches to positions that hold every record once a pass.

    Each pass has its own order. Positions ascend inside a batch, so that a disk reads forwards. They are computed when
    they are needed. Therefore the order takes no memory, and leaving out batches takes no time. Several threads may
    call it at once.
    """

    def __init__(self, seed: int, records: int, batch_size: int, pick: Pick) -> None:
        """Describes the passes.

        Args:
          seed: with the number of a pass, decides its order.
          records: number of records of a pass.
          batch_size: as for `dataset.load`.
          pick: maps slots int64 (B,) and the two random numbers of the pass to the positions for these slots.
        """
        self._records, self._batch_size, self._pick = records, batch_size, pick
        self._words = functools.lru_cache(functools.partial(_words, seed))

    def __call__(self, batch: int) -> np.ndarray:
        """Returns the positions of the batch with this id, int64 (B,)."""
        with calls:
            number, index = divmod(int(batch), ID_STEP)
            words = self._words(number)
            first = index * self._batch_size
            slots = np.arange(first, min(first + self._batch_size, self._records))
            return np.sort(self._pick(_shuffled(slots, words, self._records - 1), words))


def quotas_drawn(members: Sequence[np.ndarray], quotas: Sequence[int]) -> Pick:
    """Returns a function for `Permutation` that fills the quota of each class.

    The pass then has as many slots as the quotas together. The records of a class are taken in one random order after
    another, so that the numbers of times that two records of a class come differ by at most one.

    Args:
      members: for each class, the positions of its records, int64 (n,).
      quotas: records of each class in a pass; 0 for a class without records.
    """
    sizes = np.array([len(positions) for positions in members], np.int64)
    firsts, ends = np.cumsum(sizes) - sizes, np.cumsum(quotas)
    begins = ends - quotas
    positions = np.concatenate(members)  # sorted by class

    def pick(slots: np.ndarray, words: np.ndarray) -> np.ndarray:
        which = np.searchsorted(ends, slots, side="right")  # the class of each slot
        draw, size = slots - begins[which], sizes[which]
        walk = (draw // size).astype(np.uint32) * np.uint32(0x9E3779B1)  # a large prime
        seeds = np.stack([which.astype(np.uint32), np.full_like(walk, words[0]), words[1] + walk], axis=1)
        found: np.ndarray = positions[firsts[which] + _index_shuffle(draw % size, seeds, size - 1)]
        return found

    return pick


def repeated(
    records: Callable[[tf.Tensor], tf.data.Dataset], counts: Sequence[int], quotas: Sequence[int]
) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """Makes a stream in which each class has as many records as its quota.

    Some records come several times in a row, others not at all. Record j of a class of n records with quota q comes
    floor(((j + 1) q + u) / n) - floor((j q + u) / n) times. The number u is drawn for each pass from 0..n-1. In total
    these are q records, evenly spread over the class. The stream reads one pass over the records.

    Args:
      records: maps a seed int64 () to the serialized records of one pass, string (), with a feature `label`.
      counts: number of records of each class.
      quotas: as for `quotas_drawn`.
    """
    n, q = (tf.constant(np.maximum(values, 1), tf.int64) for values in (counts, quotas))
    spec = {"label": tf.io.FixedLenFeature([], tf.int64)}

    def stream(seed: tf.Tensor) -> tf.data.Dataset:
        start = tf.random.stateless_uniform((len(counts),), tf.stack([seed, 1]), dtype=tf.float64)
        offset = tf.cast(start * tf.cast(n, tf.float64), tf.int64)

        def step(done: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
            label = tf.io.parse_single_example(record, spec)["label"]
            before = done[label]
            after = before + q[label]
            times = (after + offset[label]) // n[label] - (before + offset[label]) // n[label]
            return tf.tensor_scatter_nd_update(done, [[label]], [after]), (record, times)

        counted = records(seed).scan(tf.zeros(len(counts), tf.int64), step)
        return counted.flat_map(lambda record, times: tf.data.Dataset.from_tensors(record).repeat(times))

    return stream


def buffered(
    begins: tf.data.Dataset,
    records: Callable[[tf.Tensor], tf.data.Dataset],
    buffer: int,
    batch_size: int,
    drop_remainder: bool,
    numbered: int = 0,
) -> tf.data.Dataset:
    """Creates batches of a stream, string (B,), shuffled in a buffer anew every pass.

    Args:
      begins: from `passes`.
      records: maps a seed int64 () to the records of one pass, string ().
      buffer: number of records in the buffer.
      batch_size, drop_remainder: as for `dataset.load`.
      numbered: number of batches of a pass, to get pairs of (batch, its number counted over all passes from 0, int64
        ()); 0 for batches alone.
    """

    def one(words: tf.Tensor, skip: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
        tf.random.set_seed(1)  # the seed of this graph: orders must not depend on the program's own seed
        files, bytes_ = tf.unstack(tf.cast(words, tf.int64))
        shuffled = records(files).shuffle(buffer, seed=bytes_, reshuffle_each_iteration=False)
        batches = shuffled.batch(batch_size, drop_remainder=drop_remainder).skip(skip)
        if not numbered:
            return batches
        return tf.data.Dataset.zip(batches, tf.data.Dataset.range(number * numbered + skip, tf.int64.max))

    return begins.flat_map(plain(one))


def count(records: int, batch_size: int, drop_remainder: bool = False) -> int:
    """Returns the number of batches of a pass."""
    return records // batch_size if drop_remainder else math.ceil(records / batch_size)


def _words(seed: int, number: int) -> np.ndarray:
    """Returns two random numbers of a pass, uint32 (2,).

    They come from SeedSequence, which NumPy promises not to change.
    """
    return np.random.SeedSequence([seed, number]).generate_state(2, np.uint32)


def _shuffled(slots: np.ndarray, words: np.ndarray, last: int) -> np.ndarray:
    """Returns where a permutation of 0..last puts slots int64 (B,).

    The numbers are those of tf.random.experimental.index_shuffle.
    """
    return _index_shuffle(slots, np.array([_KEY, *words], np.uint32), np.int64(last))


def _index_shuffle(index: np.ndarray, seed: np.ndarray, last: np.ndarray | np.int64) -> np.ndarray:
    # The raw op is used, because `tf.random.experimental.index_shuffle` of TensorFlow 2.21 accepts no seed for each
    # index, and takes several times as long for a batch.
    with tf.device("CPU"):
        shuffled = tf.raw_ops.RandomIndexShuffle(index=index, seed=seed, max_index=last, rounds=4)
    found: np.ndarray = shuffled.numpy()
    return found
