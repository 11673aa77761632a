"""Normalizing a batch on the processor at the speed of its memory: compiled to one pass, into memory that is kept."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
MOST = 2**31 - 1


def dequantizer(contract: Contract) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from images as stored, uint8 or float16 or float32 (B, H, W, 3), to normalized float32 of that shape.

    To the same bits as `contract.normalize`, for a third of its time.
    """
    return tf.function(_normalization(contract), jit_compile=True, autograph=False)  # type: ignore[no-any-return]


def cutter(contract: Contract, first: int, dequantize: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from rows uint8 (B, width), in which the image begins at byte `first`, to images (B, H, W, 3).

    They are as stored, or with `dequantize` normalized, float32; 8-bit ones in the pass that cuts them out.
    """
    return _cutter(contract, first, dequantize, lambda rows: rows)


def picker(contract: Contract, first: int, dequantize: bool) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """As `cutter`, of many rows (R, width) those numbered int64 (B,); reads no others, and copies none as a whole."""
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
    # The compiler puts a number together byte by byte: a copy costs less.
    finish = dequantizer(contract) if dequantize else tf.identity

    def images(*source: tf.Tensor) -> tf.Tensor:
        pixels = tf.reshape(cut(*source), (-1, *contract.image_shape, dtype.size))
        return finish(tf.bitcast(pixels, dtype))

    return images


def _normalization(contract: Contract) -> Callable[[tf.Tensor], tf.Tensor]:
    height, width, channels = contract.image_shape
    # Row by row: a broadcast over a last axis of 3 is slower than over one of W * 3.
    scale, offset = (
        tf.constant([v * width], tf.float32) for v in (contract.normalization.scale, contract.normalization.offset)
    )

    def normalized(images: tf.Tensor) -> tf.Tensor:
        if images.dtype != tf.uint8:
            return tf.cast(images, tf.float32)
        rows = tf.reshape(images, (-1, height, width * channels))
        # The compiler makes one operation of a product and a sum, which rounds once instead of twice. The maximum
        # changes no number and keeps them apart.
        products = tf.maximum(tf.cast(rows, tf.float32) * scale, tf.float32.min)
        return tf.reshape(products + offset, (-1, height, width, channels))

    return normalized


@functools.cache
def keep_memory() -> None:
    """Has the C library keep freed blocks of megabytes for the next batch: the system would clear every page anew.

    glibc otherwise maps each of them and gives it back. Nothing happens with another library.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.mallopt(M_MMAP_THRESHOLD, 1 << 30)
            library.mallopt(M_TRIM_THRESHOLD, MOST)
