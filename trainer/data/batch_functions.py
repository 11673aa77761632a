"""Converts batches of positions or serialized records to tensors.

The input pipeline calls these functions once for each batch. A position is the number of a record in the mapped shards.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.contract.task import MULTI_LABEL, NO_LABEL_ID
from trainer.data import decoded_cache, jpeg_crops, xla_normalize
from trainer.data.shards import gather, mmap_tfrecord
from trainer.data.shards.example_layout import Rows
from trainer.data.shards.indexed_records import IndexedRecords

Read = Callable[..., tuple[tf.Tensor, ...]]


def gathered(contract: Contract, shards: list[mmap_tfrecord.Shard], dequantize: bool, labelled: bool = True) -> Read:
    """Returns a function that reads a batch of records by position.

    The function maps positions int64 (B,) to (images, labels[, weights]), which `dataset.load` describes. Here and
    below, the labels are targets if records have these in their place. If not `labelled`, they are -1 or NaN.
    """
    # Calls are not stateful, because their results depend on the positions alone. Therefore tf.data runs them in
    # parallel even if training has to be reproducible.
    rows = Rows(contract, *gather.FRAME, labelled)
    records = gather.Gather(rows, shards)
    unpack = _unpacker(contract, rows, dequantize)

    def copied(positions: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batch = tf.numpy_function(records, [positions], tf.uint8, stateful=False)
        return unpack(tf.ensure_shape(batch, (positions.shape[0], rows.width)))

    if records.whole is None:
        return copied
    shape, images = records.whole.shape, xla_normalize.picker(contract, rows.image, dequantize)

    def picked(positions: tf.Tensor) -> tuple[tf.Tensor, ...]:
        dtypes = [tf.int64, tf.uint8, rows.answers.dtype, tf.float32]
        # Each call returns the array, without a copy: tf.data would copy an array that its function captured.
        which, whole, answers, weights = tf.numpy_function(records.find, [positions], dtypes, stateful=False)
        made = images(tf.ensure_shape(whole, shape), tf.ensure_shape(which, positions.shape))
        numbers = [tf.ensure_shape(answers, (*positions.shape, *rows.answers.shape))]
        if contract.weighted:
            numbers.append(tf.ensure_shape(weights, positions.shape))
        return tf.ensure_shape(made, (positions.shape[0], *contract.image_shape)), *numbers

    return picked


def streamed(contract: Contract, dequantize: bool, labelled: bool = True) -> Read:
    """Returns a function that reads a batch of serialized records.

    The function maps string (B,) to (images, labels[, weights]), which `dataset.load` describes. It parses records of
    compressed images. It parses raw images only if a record of the batch is not written as Shardmill writes them.
    """
    if contract.encoding not in contracts.RAW_DTYPES:
        return _parser(contract, dequantize, labelled)
    rows = Rows(contract, labelled=labelled)
    unpack, parse = _unpacker(contract, rows, dequantize), _parser(contract, dequantize, labelled)

    def read(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batch = tf.io.decode_raw(serialized, tf.uint8, fixed_length=rows.width)
        batch = tf.ensure_shape(batch, (serialized.shape[0], rows.width))
        fit = rows.fit(batch, tf.strings.length(serialized))
        made: tuple[tf.Tensor, ...] = tf.cond(fit, lambda: unpack(batch), lambda: parse(serialized))
        return made

    return read


def indexed(shards: Sequence[mmap_tfrecord.Shard], read: Read) -> Read:
    """Returns a function that reads a batch of records by position.

    The function maps positions int64 (B,), and what `read` needs besides, to what `read` makes of the records.

    Args:
      read: a function of serialized records, such as that of `streamed` or `cropped`.
    """
    records = IndexedRecords(shards)

    def found(positions: tf.Tensor, *more: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # Not stateful: what is kept never changes the result. Therefore tf.data may run several calls at once.
        serialized = tf.numpy_function(records, [positions], tf.string, stateful=False)
        return read(tf.ensure_shape(serialized, positions.shape), *more)

    return found


def cropped(contract: Contract, crops: jpeg_crops.Crops, dequantize: bool, labelled: bool = True) -> Read:
    """Returns a function that reads parts of the images of a batch.

    The function maps string (B,) and the number of the batch, int64 (), to (images, labels[, weights]), whose images
    have the height and width of `crops.size`.

    Raises:
      ContractError: the images of this dataset are not decoded in parts.
    """
    jpeg_crops.check(contract)
    images = jpeg_crops.reader(contract, crops)
    seen = dataclasses.replace(contract, image_shape=(*crops.size, contract.image_shape[2]))
    parse, finish = _fields(contract, labelled), _finisher(seen, dequantize)

    def read(serialized: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        encoded, *others = parse(serialized)
        return (finish(images(encoded, number)), *others)

    return read


def decoded_once(contract: Contract, store: decoded_cache.Store, dequantize: bool, labelled: bool = True) -> Read:
    """Returns a function like that of `gathered`, for compressed images.

    The function decodes only the images that the store does not hold yet.
    """
    parse, finish = _parser(contract, False, labelled), _finisher(contract, dequantize)
    width = contract.target_width
    dtypes = [tf.uint8, tf.float32 if width else tf.int64, *([tf.float32] if contract.weighted else [])]

    def read(positions: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # Not stateful, as above: the content of the store never changes the result.
        serialized, absent = tf.numpy_function(store.absent, [positions], [tf.string, tf.int64], stateful=False)
        parsed = parse(tf.ensure_shape(serialized, (None,)))
        images, *others = tf.numpy_function(store.take, [positions, absent, *parsed], dtypes, stateful=False)
        images = tf.ensure_shape(images, (positions.shape[0], *contract.image_shape))
        labels = tf.ensure_shape(others[0], (positions.shape[0], *([width] if width else [])))
        return (finish(images), labels, *(tf.ensure_shape(values, (positions.shape[0],)) for values in others[1:]))

    return read


def _unpacker(contract: Contract, rows: Rows, dequantize: bool) -> Read:
    images = xla_normalize.cutter(contract, rows.image, dequantize)

    def unpack(batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (tf.ensure_shape(images(batch), (batch.shape[0], *contract.image_shape)), *rows.numbers(batch))

    return unpack


def _finisher(contract: Contract, dequantize: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    finish: Callable[[tf.Tensor], tf.Tensor] = xla_normalize.dequantizer(contract) if dequantize else tf.identity
    return finish


def _parser(contract: Contract, dequantize: bool, labelled: bool) -> Read:
    parse, finish = _fields(contract, labelled), _finisher(contract, dequantize)

    def read(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        encoded, *others = parse(serialized)
        return (finish(contracts.stored_from_records(contract, encoded)), *others)  # (B, H, W, C)

    return read


def _fields(contract: Contract, labelled: bool) -> Read:
    """Returns a function that checks and parses a batch of records.

    The function maps serialized records, string (B,), to (encoded images string (B,), labels[, weights]).
    """
    spec: dict[str, Any] = dict(contracts.feature_spec(contract))
    for name in ("key", *(column.feature for column in contract.metadata)):  # tools need these, a model does not
        spec.pop(name)
    if not contract.weighted:
        spec.pop("weight")

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batch = tf.io.parse_example(serialized, spec)
        with tf.control_dependencies(_record_checks(contract, batch, labelled)):
            images = tf.identity(batch["image"])
            labels = tf.identity(batch["target" if contract.target_width else "label"])  # (B, K) or (B,)
        return (images, labels, batch["weight"]) if contract.weighted else (images, labels)

    return parse


def _record_checks(contract: Contract, batch: dict[str, tf.Tensor], labelled: bool) -> list[Any]:
    """Creates the ops that stop at a record that breaks the contract.

    A label beyond the last class trains silently on some kernels and crashes others. The bytes of two images would be
    reshaped into two images. A check of the shape would not help: Grappler removes a reshape that TensorFlow's shape
    inference believes to be redundant. Therefore the length is checked.
    """
    if not labelled:
        answer = batch["target" if contract.target_width else "label"]
        absent = tf.math.is_nan(answer) if contract.target_width else answer == NO_LABEL_ID
        checks = [tf.debugging.Assert(tf.reduce_all(absent), ["A record should have no label.", answer])]
    elif contract.task.kind == MULTI_LABEL:
        is_hot = (batch["target"] == 0) | (batch["target"] == 1)
        checks = [tf.debugging.Assert(tf.reduce_all(is_hot), ["A target should hold 0 or 1.", batch["target"]])]
    elif contract.target_width:
        checks = [tf.debugging.assert_all_finite(batch["target"], "A target should hold finite numbers.")]
    else:
        classes = tf.constant(len(contract.labels), tf.int64)
        checks = [tf.debugging.assert_less(batch["label"], classes), tf.debugging.assert_non_negative(batch["label"])]
    if contract.encoding in contracts.RAW_DTYPES:
        size = math.prod(contract.image_shape) * tf.as_dtype(contracts.RAW_DTYPES[contract.encoding]).size
        checks.append(tf.debugging.assert_equal(tf.strings.length(batch["image"]), size))
    return [op for op in checks if op is not None]  # None if TensorFlow has checked it while tracing
