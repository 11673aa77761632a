"""Normalizes a batch on the CPU at the speed of its memory.

XLA compiles the work to a single pass. The memory of a batch is kept for the next one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract


def dequantizer(contract: Contract) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function that normalizes stored images.

    It maps uint8, float16 or float32 (B, H, W, C) to float32 of that shape. The result has the same bits as that of
    `contract.normalize` and takes a third of its time.
    """
    return tf.function(_normalization(contract), jit_compile=True, autograph=False)  # type: ignore[no-any-return]


def cutter(contract: Contract, first: int, dequantize: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function that cuts the images out of rows uint8 (B, width).

    The image begins at byte `first` of a row. The function returns images (B, H, W, C) as they are stored, or with
    `dequantize` normalized, float32. For 8-bit images, one pass cuts and normalizes.
    """
    return _cutter(contract, first, dequantize, lambda rows: rows)


def picker(contract: Contract, first: int, dequantize: bool) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function like that of `cutter` that also selects rows by index.

    It takes rows (R, width) and indices int64 (B,). It reads only the selected rows and copies no complete row.
    """
    return _cutter(contract, first, dequantize, tf.gather)


def _cutter(contract: Contract, first: int, dequantize: bool, pick: Callable[..., tf.Tensor]) -> Callable[..., Any]:
    dtype = tf.as_dtype(contracts.RAW_DTYPES[contract.encoding])
    size = math.prod(contract.image_shape) * dtype.size
    normalize = _normalization(contract) if dequantize and dtype == tf.uint8 else tf.identity

    def cut(*source: tf.Tensor) -> tf.Tensor:
        found = pick(*source)[:, first : first + size]
        return normalize(tf.reshape(found, (-1, *contract.image_shape))) if dtype == tf.uint8 else found

    if pick is tf.gather or normalize is not tf.identity:  # one pass instead of two
        cut = tf.function(cut, jit_compile=True, autograph=False)
    if dtype == tf.uint8:
        return cut
    # XLA would assemble each number byte by byte: a copy costs less.
    finish = dequantizer(contract) if dequantize else tf.identity

    def images(*source: tf.Tensor) -> tf.Tensor:
        pixels = tf.reshape(cut(*source), (-1, *contract.image_shape, dtype.size))
        return finish(tf.bitcast(pixels, dtype))

    return images


def _normalization(contract: Contract) -> Callable[[tf.Tensor], tf.Tensor]:
    height, width, channels = contract.image_shape
    # The images are normalized row by row: a broadcast over a last axis of 3 is slower than over one of W * 3.
    scale, offset = (
        tf.constant([v * width], tf.float32) for v in (contract.normalization.scale, contract.normalization.offset)
    )

    def normalized(images: tf.Tensor) -> tf.Tensor:
        if images.dtype != tf.uint8:
            return tf.cast(images, tf.float32)
        rows = tf.reshape(images, (-1, height, width * channels))
        # XLA fuses a product and a sum into one operation, which rounds once instead of twice. The maximum changes no
        # number and prevents that.
        products = tf.maximum(tf.cast(rows, tf.float32) * scale, tf.float32.min)
        return tf.reshape(products + offset, (-1, height, width, channels))

    return normalized
