"""Reads shards as streams of serialized records, several shards in parallel.

That works for every encoding and for remote shards. Their order and the limits on memory are defined here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from trainer.data import epoch_order
from trainer.data.parts import Part

OPEN_SHARDS = 16  # read in parallel: the latency of one file is hidden behind the others
SHUFFLE_BYTES = 256 << 20  # serialized records in the shuffle buffer: a limit on memory, for images of any size
BLOCK_BYTES = 1 << 19  # a thread reads records of so many bytes at a time from a shard that is shuffled


def stream(part: Part, paths: list[str], seed: tf.Tensor | None = None) -> tf.data.Dataset:
    """Reads serialized records from OPEN_SHARDS shards in parallel.

    With a seed, the shards are in a random order. Of records that are not in the part, the bytes are read and dropped.

    Args:
      paths: of the shards that hold records.
    """

    def side_by_side(files: tf.data.Dataset, read: Callable[..., tf.data.Dataset]) -> tf.data.Dataset:
        return files.interleave(
            read,
            cycle_length=min(OPEN_SHARDS, len(paths)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    opened = _opener(part)
    files = tf.data.Dataset.from_tensor_slices((paths, np.arange(len(paths))))
    if seed is not None:  # so that the shuffle buffer after this gets another mixture of shards in every pass
        # Threads pass on many records at a time: passing on single records costs as much as reading them.
        block = max(1, BLOCK_BYTES // _mean_bytes(part))
        mixed = epoch_order.shuffled(files, len(paths), seed)
        records = side_by_side(mixed, lambda *file: opened(*file).batch(block)).unbatch()
    else:
        groups = files.batch(OPEN_SHARDS)  # `order` computes the same order
        records = groups.flat_map(lambda *group: side_by_side(tf.data.Dataset.from_tensor_slices(group), opened))
    # The number is in the contract: with it, tf.data reports a shard that was cut at a record boundary.
    return records.apply(tf.data.experimental.assert_cardinality(part.records))


def _opener(part: Part) -> Callable[[tf.Tensor, tf.Tensor], tf.data.Dataset]:
    """Returns a function that reads the records of a shard that are in the part.

    It takes the path of the shard, string (), and its number among those that hold records, int64 ().
    """
    if part.chosen is None:
        return lambda path, _: tf.data.TFRecordDataset(path)
    starts = np.cumsum([0, *map(len, part.chosen)])
    chosen = tf.constant(np.concatenate(part.chosen))

    def opened(path: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
        own = chosen[tf.gather(starts, number) : tf.gather(starts, number + 1)]
        both = tf.data.Dataset.zip(tf.data.TFRecordDataset(path), tf.data.Dataset.from_tensor_slices(own))
        return both.filter(lambda _, is_chosen: is_chosen).map(lambda record, _: record)

    return opened


def in_order(part: Part) -> np.ndarray:
    """Returns the positions of the records in the order of `stream` without a seed."""
    return np.asarray(part.positions[order(part.counts)])


def order(shards: Sequence[int], together: int = OPEN_SHARDS) -> np.ndarray:
    """Computes the order in which `stream` without a seed gives records.

    Args:
      shards: number of records of each shard.
      together: number of shards that are read in parallel.

    Returns:
      Positions int64 (N,): the first record of each of the first `together` shards, then the second of each ..., then
        the same for the next shards.
    """
    numbers = [np.arange(records) for records in shards]
    groups = [np.concatenate(numbers[i : i + together]) for i in range(0, len(shards), together)]
    starts = np.cumsum([0, *map(len, groups)])
    return np.concatenate([np.argsort(g, kind="stable") + start for g, start in zip(groups, starts, strict=False)])


def shuffle_buffer(part: Part) -> int:
    """Returns the number of records in the shuffle buffer.

    It is all records of a small part; of a large one as many as fit SHUFFLE_BYTES.
    """
    return max(1, min(part.records, SHUFFLE_BYTES // _mean_bytes(part)))


def _mean_bytes(part: Part) -> int:
    """Returns the mean number of bytes of the records of a split, at least 1."""
    split = part.contract.split(part.split)
    return max(1, sum(shard.bytes for shard in split.shards) // split.records)
