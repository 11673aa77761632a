"""Reading a prepared dataset: shards to batches of normalized images.

from trainer import dataset
train = dataset.load("OUT", "train", 32, shuffle=True, seed=0)     # (images, labels) batches, one epoch
test = dataset.load("OUT", "test", 32)                             # in the order of the shards

Local shards of a raw encoding are gathered from memory maps (`mapped.py`, `gather.py`); all others are streams.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract, ContractError
from trainer import mapped
from trainer.assembler import Assembler
from trainer.gather import Gather, Parse, order

OPEN_SHARDS = 16  # read side by side: hides one file's latency behind the others
SHUFFLE_BYTES = 256 << 20  # of serialized records held for shuffling: bounded by memory, and not by image size
CALLS = 4  # batches made at once from raw encodings: more would wait for one another's interpreter lock
AHEAD = 2  # of these, batches ready before they are asked for

Read = Callable[..., tuple[tf.Tensor, ...]]


def load(
    directory: str | os.PathLike[str],
    split: str,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int | None = None,
    drop_remainder: bool = False,
    dequantize: bool = True,
) -> tf.data.Dataset:
    """One pass over a split, each record exactly once; iterate again for the next epoch.

    Args:
      directory: of the prepared dataset.
      split: such as "train"; the contract names those that exist.
      batch_size: images a batch; the last batch holds what remains, unless `drop_remainder`.
      shuffle: another order every epoch, over the whole split where the shards are gathered, else through a buffer of
        SHUFFLE_BYTES. Without it: one order, records of OPEN_SHARDS shards in turn, not sorted by class.
      seed: with it, the orders are the same in every run; without it, each run draws its own.
      dequantize: False leaves the images as they are stored, 8-bit pixels or float16, for `Dequantize` to
        convert inside the compiled step: a quarter or half of the bytes over the wire.

    Returns:
      Batches of (images float32 (B, H, W, 3) normalized as the contract says, labels int64 (B,)), and where the
      contract is weighted (images, labels, weights float32 (B,)).

    Raises:
      ContractError: no dataset, no such split, an empty split, or shards that are missing or not of the recorded size.
      tf.errors.InvalidArgumentError, DataLossError, FailedPreconditionError, while iterating: a record is damaged,
        breaks the contract or is not there. Every checksum is compared at least once in a run.
    """
    contract = contracts.load(directory)
    paths = checked_shards(contract, os.fspath(directory), split)
    shards = mapped.open_shards(contract, os.fspath(directory), split)
    if shards is None:
        batches = _serialized(contract, split, paths, shuffle, seed).batch(batch_size, drop_remainder=drop_remainder)
    elif shuffle:
        batches = _permutation(contract.split(split).records, batch_size, seed, drop_remainder)
    else:
        positions = tf.data.Dataset.from_tensor_slices(order([shard.records for shard in shards], OPEN_SHARDS))
        batches = positions.batch(batch_size, drop_remainder=drop_remainder)
    # Batch first, then read: one call for B records instead of B small ones.
    if contract.encoding not in contracts.RAW_DTYPES:
        parsed = batches.map(_parser(contract, dequantize), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return parsed.prefetch(tf.data.AUTOTUNE)
    assembler = Assembler(contract, dequantize)
    call = Parse(assembler) if shards is None else Gather(assembler, shards)
    read = _reader(contract, call, assembler.dtypes, dequantize)
    return batches.map(read, num_parallel_calls=CALLS, deterministic=True).prefetch(AHEAD)


def wire_dtype(contract: Contract) -> str:
    """The dtype of the images of `load(..., dequantize=False)`."""
    return contracts.RAW_DTYPES.get(contract.encoding, "uint8")


def checked_shards(contract: Contract, directory: str, split: str) -> list[str]:
    """Full paths of the split's shards that hold records, after comparing each file's size with the contract's.

    A size costs one `stat`; it catches the shard that was not copied or was cut short, which TensorFlow would report
    in the middle of an epoch, or at a record boundary not at all. `python -m pipelines verify` compares the digests.
    """
    shards = contract.split(split).shards
    for shard in shards:
        path = os.path.join(directory, shard.file)
        size = _size(path)
        if size != shard.bytes:
            raise ContractError(
                f"Shard {path} should have {shard.bytes} bytes by its contract. "
                f"{'There is no such file' if size is None else f'It has {size}'}: copy or prepare the dataset again."
            )
    paths = [os.path.join(directory, shard.file) for shard in shards if shard.records]
    if not paths:
        raise ContractError(
            f"Split {split!r} of {directory} holds no records: choose another split, or prepare with more images."
        )
    return paths


def _size(path: str) -> int | None:
    """Bytes of a file, local or gs://; None where it cannot be found."""
    try:
        return int(tf.io.gfile.stat(path).length)
    except tf.errors.OpError:
        return None


def _permutation(records: int, batch_size: int, seed: int | None, drop_remainder: bool) -> tf.data.Dataset:
    """Batches of positions int64 (B,): every record once, in an order of its own every epoch.

    The order is computed where it is needed, from two random numbers an epoch, and takes no memory.
    """
    batches = records // batch_size if drop_remainder else math.ceil(records / batch_size)

    def number(epoch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.range(batches, dtype=tf.int64), tf.tile(tf.cast(epoch, tf.uint32)[None, :], (batches, 1))

    def positions(index: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        first = index * batch_size
        places = tf.range(first, tf.minimum(first + batch_size, tf.constant(records, tf.int64)))
        shuffled = tf.random.experimental.index_shuffle(places, epoch, tf.constant(records - 1, tf.int64))
        return tf.ensure_shape(shuffled, (batch_size if drop_remainder else None,))

    epochs = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
    numbered = epochs.take(1).map(number).unbatch()
    return numbered.apply(tf.data.experimental.assert_cardinality(batches)).map(positions)


def _serialized(contract: Contract, split: str, paths: list[str], shuffle: bool, seed: int | None) -> tf.data.Dataset:
    """Serialized records, read side by side from OPEN_SHARDS shards."""

    def side_by_side(files: tf.data.Dataset) -> tf.data.Dataset:
        return files.interleave(
            tf.data.TFRecordDataset,
            cycle_length=min(OPEN_SHARDS, len(paths)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=not shuffle or seed is not None,
        )

    files = tf.data.Dataset.from_tensor_slices(paths)
    if shuffle:  # first the files, so that the record buffer below sees another mixture of them every epoch
        records = side_by_side(files.shuffle(len(paths), seed=seed, reshuffle_each_iteration=True))
    else:
        groups = files.batch(OPEN_SHARDS)  # an order that is easily told: see `gather.order`
        records = groups.flat_map(lambda group: side_by_side(tf.data.Dataset.from_tensor_slices(group)))
    # Known from the contract: progress bars and step counts need it, and a shard cut at a record boundary is noticed.
    records = records.apply(tf.data.experimental.assert_cardinality(contract.split(split).records))
    if shuffle:  # bytes, before parsing: moving a string costs a pointer, moving a tensor costs the pixels
        records = records.shuffle(_shuffle_buffer(contract, split), seed=seed, reshuffle_each_iteration=True)
    return records


def _reader(contract: Contract, call: Gather | Parse, dtypes: list[tf.DType], dequantize: bool) -> Read:
    def read(batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # Not stateful: what it gives depends on the batch alone, so calls run side by side where training is to be
        # reproducible too.
        images, *others = tf.numpy_function(call, [batch], dtypes, stateful=False)
        images = tf.cast(images, tf.float32) if dequantize else images
        images = tf.ensure_shape(images, (batch.shape[0], *contract.image_shape))
        return (images, *(tf.ensure_shape(values, batch.shape) for values in others))

    return read


def _shuffle_buffer(contract: Contract, split: str) -> int:
    """Records to hold: all of a small split; of a large one as many as fit SHUFFLE_BYTES."""
    shards = contract.split(split).shards
    records = sum(shard.records for shard in shards)
    mean_bytes = max(1, sum(shard.bytes for shard in shards) // records)
    return max(1, min(records, SHUFFLE_BYTES // mean_bytes))


def _parser(contract: Contract, dequantize: bool) -> Read:
    spec: dict[str, Any] = dict(contracts.feature_spec(contract))
    spec.pop("key")  # of use to tools, not to a model
    if not contract.weighted:
        spec.pop("weight")

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batch = tf.io.parse_example(serialized, spec)
        with tf.control_dependencies(_record_checks(contract, batch)):
            images = _images(contract, tf.identity(batch["image"]), dequantize)  # (B, H, W, 3)
            labels = tf.identity(batch["label"])  # (B,)
        return (images, labels, batch["weight"]) if contract.weighted else (images, labels)

    return parse


def _record_checks(contract: Contract, batch: dict[str, tf.Tensor]) -> list[Any]:
    """Ops that stop at a record that breaks the contract.

    A label beyond the head trains silently on some kernels and crashes others. Bytes for two images would reshape into
    two, and a reshape that only TensorFlow's shape inference thinks redundant is removed by Grappler: so the length.
    """
    classes = tf.constant(len(contract.labels), tf.int64)
    checks = [tf.debugging.assert_less(batch["label"], classes), tf.debugging.assert_non_negative(batch["label"])]
    if contract.encoding in contracts.RAW_DTYPES:
        size = math.prod(contract.image_shape) * tf.as_dtype(contracts.RAW_DTYPES[contract.encoding]).size
        checks.append(tf.debugging.assert_equal(tf.strings.length(batch["image"]), size))
    return [op for op in checks if op is not None]  # None where TensorFlow could tell while tracing


def _images(contract: Contract, encoded: tf.Tensor, dequantize: bool) -> tf.Tensor:
    read = contracts.images_from_records if dequantize else contracts.stored_from_records
    return read(contract, encoded)
