"""Decides the order of the records in each pass over a split.

The order of pass e is a pure function of the seed and e. Therefore a run can resume in the middle of a pass, and the
records of any batch can be found afterwards.

If training has to be reproducible, tf.data removes all threads and buffers from a dataset, and each step waits for its
batch, if one of the dataset's functions has an operation that TensorFlow calls stateful. Of the operations that make
datasets, those of `from_tensors` and `shuffle` are such, and those of `range`, `from_tensor_slices` and TFRecordDataset
are not (kDeterministicStatefulOps in TensorFlow's make_deterministic.cc). A test holds that batches are made ahead.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# Marks a function of tf.data that AutoGraph need not convert: that takes longer than to trace it.
plain = tf.autograph.experimental.do_not_convert
Start = Callable[[], tuple[int, int]]  # returns the number of a pass and how many of its batches to leave out
Element = tuple[Any, ...]  # of an order: what a batch is read from


def from_zero() -> Start:
    """Returns a start function for passes 0, 1, 2 ..., each from its first batch."""
    numbers = itertools.count()
    return lambda: (next(numbers), 0)


@dataclasses.dataclass(frozen=True)
class Order:
    """Describes the batches of each pass.

    A function of tf.data costs some milliseconds at the beginning of each pass, because TensorFlow optimizes its graph
    each time. Therefore what makes an element into a batch is not mapped here: the function that reads the batch calls
    it.

    elements: one pass, an element for each batch; another pass each time that it is iterated.
    batch: maps the parts of an element to a tuple, whose first part is the batch: positions int64 (B,) or serialized
      records, string (B,).
    begin: begins a pass without tf.data. It returns the numbers of the batches of the pass and a function of such a
      number, which returns the element. None if records are not read by position.
    """

    elements: tf.data.Dataset
    batch: Callable[..., tuple[tf.Tensor, ...]] = lambda *element: element
    begin: Callable[[], tuple[range, Callable[[int], Element]]] | None = None

    @classmethod
    def of(cls, *parts: tf.data.Dataset) -> Order:
        """Makes an order of datasets, whose elements are what a batch is read from."""
        return cls(tf.data.Dataset.zip(parts))


class Passes:
    """Begins passes, each with random numbers of its own.

    The random numbers come from SeedSequence, which NumPy promises not to change.

    Args:
      seed: of all passes.
      start: called once for every pass.
    """

    def __init__(self, seed: int, start: Start) -> None:
        self._seed, self._start = seed, start

    def draw(self) -> tuple[np.ndarray, np.int64, np.int64]:
        """Begins a pass.

        Returns:
          (two random numbers of the pass uint32 (2,), number of batches to leave out, number of the pass).
        """
        number, skip = self._start()
        words = np.random.SeedSequence([self._seed, number]).generate_state(2, np.uint32)
        return words, np.int64(skip), np.int64(number)

    def __call__(self, once: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Begins a pass in a function of tf.data; does not look at its argument."""
        # The function is marked as not stateful and its argument is not a constant, see the top of this file.
        dtypes = [tf.uint32, tf.int64, tf.int64]
        words, skip, number = tf.numpy_function(lambda _: self.draw(), [once], dtypes, stateful=False)
        return tf.ensure_shape(words, (2,)), tf.ensure_shape(skip, ()), tf.ensure_shape(number, ())


def shuffled(records: tf.data.Dataset, buffer: int, seed: tf.Tensor) -> tf.data.Dataset:
    """Shuffles as `records.shuffle` does, without a stateful operation.

    The order is that of `records.shuffle` in a graph with the seed 1, in each iteration alike.

    Args:
      records: what to shuffle.
      buffer: number of elements in the buffer.
      seed: int64 ().
    """
    spec = records.element_spec
    parts = tf.nest.flatten(spec)
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(records), buffer_size=tf.constant(buffer, tf.int64),
        seed=tf.constant(1, tf.int64), seed2=seed % (2**31 - 1), reshuffle_each_iteration=False,
        output_types=[part.dtype for part in parts], output_shapes=[part.shape for part in parts],
    )  # fmt: skip
    return tf.data.experimental.from_variant(variant, spec)


def in_order(positions: np.ndarray, batch_size: int, drop_remainder: bool) -> Order:
    """Orders batches of positions, int64 (B,), as they are given."""
    elements = tf.data.Dataset.from_tensor_slices((positions,)).batch(batch_size, drop_remainder)
    numbers = range(count(len(positions), batch_size, drop_remainder))

    def element(number: int) -> Element:
        return (tf.constant(positions[number * batch_size : (number + 1) * batch_size]),)

    return Order(elements, begin=lambda: (numbers, element))


def _each_pass(begin: Passes, one: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.data.Dataset]) -> tf.data.Dataset:
    """Creates a dataset that begins a pass whenever it is iterated.

    `one` makes what the pass holds of the three results of `begin`.
    """
    return tf.data.Dataset.from_tensors(0).flat_map(plain(lambda once: one(*begin(once))))


def permutation(
    begin: Passes,
    records: int,
    batch_size: int,
    drop_remainder: bool,
    pick: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = lambda slots, _: slots,
    numbered: bool = False,
) -> Order:
    """Orders batches of positions that hold every record once a pass.

    Each pass has its own order. The batches are int64 (B,), in ascending order inside a batch: then the records of one
    shard are copied in one call, and a disk reads forwards. A position is computed when it is needed, from the numbers
    of the pass. Therefore the order takes no memory, and leaving out batches takes no time.

    Args:
      begin: begins the passes.
      records: number of records of a pass.
      batch_size, drop_remainder: as for `dataset.load`.
      pick: maps slots int64 (B,) and the two random numbers of the pass to the positions for these slots, int64 (B,).
      numbered: whether each batch comes with its number, counted over all passes from 0, int64 ().
    """
    batches = count(records, batch_size, drop_remainder)

    def one(words: tf.Tensor, skip: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
        indices = tf.data.Dataset.range(skip, batches)
        of_pass = tf.data.Dataset.from_tensor_slices((words[tf.newaxis], number[tf.newaxis])).repeat()
        return tf.data.Dataset.zip(indices, of_pass)

    def positions(index: tf.Tensor, of_pass: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        words, number = of_pass
        first = index * batch_size
        slots = tf.range(first, tf.minimum(first + batch_size, tf.constant(records, tf.int64)))
        shuffled = tf.random.experimental.index_shuffle(slots, words, tf.constant(records - 1, tf.int64))
        found = tf.ensure_shape(tf.sort(pick(shuffled, words)), (batch_size if drop_remainder else None,))
        return (found, number * batches + index) if numbered else (found,)

    def in_python() -> tuple[range, Callable[[int], Element]]:
        words, skip, number = begin.draw()
        of_pass = tf.constant(words), tf.constant(number)
        return range(int(skip), batches), lambda index: (tf.constant(index, tf.int64), of_pass)

    return Order(_each_pass(begin, one), positions, in_python)


def drawn(
    begin: Passes,
    members: Sequence[np.ndarray],
    quotas: Sequence[int],
    batch_size: int,
    drop_remainder: bool,
    numbered: bool = False,
) -> Order:
    """Orders batches of positions with as many records of each class as its quota.

    The batches are int64 (B,), in ascending order inside a batch, and drawn anew every pass. The records of a class are
    taken in one random order after another, so that the numbers of times that two records of a class come differ by at
    most one. As in `permutation`, a position is computed when it is needed.

    Args:
      begin: begins the passes.
      members: for each class, the positions of its records, int64 (n,).
      quotas: records of each class in a pass; 0 for a class without records.
      batch_size, drop_remainder: as for `dataset.load`.
      numbered: as for `permutation`.
    """
    sizes = tf.constant([len(positions) for positions in members], tf.int64)
    firsts, ends = tf.cumsum(sizes, exclusive=True), tf.cumsum(tf.constant(quotas, tf.int64))
    # Sorted by class. The graph captures the tensor and does not copy it.
    positions = tf.constant(np.concatenate(members), tf.int64)

    def pick(slots: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
        which = tf.searchsorted(ends, slots, side="right")  # the class of each slot
        draw = slots - tf.gather(ends - tf.constant(quotas, tf.int64), which)
        size = tf.gather(sizes, which)
        walk = tf.cast(draw // size, tf.uint32) * tf.constant(0x9E3779B1, tf.uint32)  # a large prime
        seeds = tf.stack([tf.cast(which, tf.uint32), tf.fill(tf.shape(which), words[0]), words[1] + walk], axis=1)
        # The raw op is used, because `tf.random.experimental.index_shuffle` of TensorFlow 2.21 accepts no seed for each
        # index.
        inside = tf.raw_ops.RandomIndexShuffle(index=draw % size, seed=seeds, max_index=size - 1, rounds=4)
        return tf.gather(positions, tf.gather(firsts, which) + inside)

    return permutation(begin, sum(quotas), batch_size, drop_remainder, pick, numbered)


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
      quotas: as for `drawn`.
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
        return counted.flat_map(
            lambda record, times: tf.data.Dataset.from_tensor_slices(record[tf.newaxis]).repeat(times)
        )

    return stream


def buffered(
    begin: Passes,
    records: Callable[[tf.Tensor], tf.data.Dataset],
    buffer: int,
    batch_size: int,
    drop_remainder: bool,
    numbered: int = 0,
) -> Order:
    """Orders batches of a stream, string (B,), shuffled in a buffer anew every pass.

    Args:
      begin: begins the passes.
      records: maps a seed int64 () to the records of one pass, string ().
      buffer: number of records in the buffer.
      batch_size, drop_remainder: as for `dataset.load`.
      numbered: number of batches of a pass, to get pairs of (batch, its number counted over all passes from 0, int64
        ()); 0 for batches alone.
    """

    def one(words: tf.Tensor, skip: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
        files, bytes_ = tf.unstack(tf.cast(words, tf.int64))
        mixed = shuffled(records(files), buffer, bytes_)
        batches = mixed.batch(batch_size, drop_remainder=drop_remainder).skip(skip)
        numbers = [tf.data.Dataset.range(number * numbered + skip, tf.int64.max)] if numbered else []
        return tf.data.Dataset.zip((batches, *numbers))

    return Order(_each_pass(begin, one))


def count(records: int, batch_size: int, drop_remainder: bool = False) -> int:
    """Returns the number of batches of a pass."""
    return records // batch_size if drop_remainder else math.ceil(records / batch_size)
