"""Reads the EXIF orientation of encoded bytes in TensorFlow graphs.

It follows the rules of `exif.py`, for where no Python is available: in the TensorFlow Transform graph and in the
exported model.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from pipelines.images.files.exif import LONG, MAX_ENTRIES, MAX_SEGMENTS, SHORT, TAG

_WINDOW = 16  # bytes read at one position: a complete TIFF entry, or the start of any segment


def orientation(encoded: tf.Tensor, is_jpeg: tf.Tensor, is_png: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF orientation 1..8 in JPEG, PNG or WebP bytes, inside a graph.

    It is an int32 scalar, and 1 where there is no orientation or where it cannot be read.
    """
    # Zeros behind the end keep every window in range.
    data = tf.io.decode_raw(tf.strings.join([encoded, b"\0" * _WINDOW]), tf.uint8)
    end = tf.shape(data)[0] - _WINDOW

    def window(position: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.slice(data, [tf.clip_by_value(position, 0, end)], [_WINDOW]), tf.int32)

    def body(p: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        w = window(p)
        exif, skip, length = tf.cond(
            is_jpeg, lambda: _jpeg_segment(w), lambda: tf.cond(is_png, lambda: _png_chunk(w), lambda: _webp_chunk(w))
        )
        # A length that overflows, or the segment after which there is no EXIF, ends the search.
        following = tf.where(tf.logical_and(length > 0, p + length > p), p + length, end)
        return tf.where(exif, end, following), tf.where(exif, p + skip, found)

    start = tf.where(is_jpeg, 2, tf.where(is_png, 8, 12))
    _, tiff = tf.while_loop(
        lambda p, found: tf.logical_and(p < end, found < 0),
        body,
        (start, tf.constant(-1)),
        maximum_iterations=MAX_SEGMENTS,
    )
    return tf.cond(tiff >= 0, lambda: _tiff_orientation(tiff, end, window), lambda: tf.constant(1))


def _unsigned(w: tf.Tensor, offset: int, count: int, big: tf.Tensor | bool) -> tf.Tensor:
    """Returns the unsigned number of `count` bytes at `offset` of a window, as int32.

    A number of 2**31 or more becomes the largest int32. As a position, it would lead beyond any data.
    """
    low_first = [1, 1 << 8, 1 << 16, 1 << 24][:count]
    weights = tf.where(big, tf.constant(low_first[::-1]), tf.constant(low_first))
    value = tf.reduce_sum(w[offset : offset + count] * weights)  # wraps to a negative number where it overflows
    return tf.where(value < 0, tf.int32.max, value)


def _reads(w: tf.Tensor, offset: int, expected: bytes) -> tf.Tensor:
    return tf.reduce_all(tf.equal(w[offset : offset + len(expected)], tf.constant(list(expected))))


def _jpeg_segment(w: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Parses the start of a JPEG segment.

    Returns:
      (is it EXIF, offset of the TIFF structure, bytes to the next segment). The last is 0 where the search ends.
    """
    exif = tf.logical_and(_reads(w, 0, b"\xff\xe1"), _reads(w, 4, b"Exif\0\0"))
    last = tf.logical_or(tf.not_equal(w[0], 0xFF), tf.equal(w[1], 0xDA))
    fill = tf.logical_and(tf.equal(w[0], 0xFF), tf.equal(w[1], 0xFF))
    length = tf.where(last, 0, tf.where(fill, 1, 2 + _unsigned(w, 2, 2, True)))
    return exif, tf.constant(10), length


def _png_chunk(w: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    return _reads(w, 4, b"eXIf"), tf.constant(8), 12 + _unsigned(w, 0, 4, True)


def _webp_chunk(w: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    length = _unsigned(w, 4, 4, False)
    skip = tf.where(_reads(w, 8, b"Exif\0\0"), 14, 8)  # some writers keep JPEG's prefix
    return _reads(w, 0, b"EXIF"), skip, 8 + length + length % 2


def _tiff_orientation(tiff: tf.Tensor, end: tf.Tensor, window: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Reads tag 0x0112 of the first IFD of the TIFF structure at `tiff`."""
    head = window(tiff)
    big = _reads(head, 0, b"MM\0*")
    legible = tf.logical_or(big, _reads(head, 0, b"II*\0"))
    ifd = tiff + tf.minimum(_unsigned(head, 4, 4, big), end)
    count = tf.where(legible, _unsigned(window(ifd), 0, 2, big), 0)

    def body(i: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        entry = window(ifd + 2 + 12 * i)
        kind = _unsigned(entry, 2, 2, big)
        long = tf.where(tf.equal(kind, LONG), _unsigned(entry, 8, 4, big), 0)
        found = tf.where(tf.equal(kind, SHORT), _unsigned(entry, 8, 2, big), long)
        return i + 1, tf.where(tf.equal(_unsigned(entry, 0, 2, big), TAG), found, value)

    _, value = tf.while_loop(
        lambda i, value: tf.logical_and(i < count, value < 0),
        body,
        (tf.constant(0), tf.constant(-1)),
        maximum_iterations=MAX_ENTRIES,
    )
    return tf.where(tf.logical_and(value >= 1, value <= 8), value, 1)
