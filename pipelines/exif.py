"""The EXIF orientation of encoded bytes, read inside a TensorFlow graph: TensorFlow's decoders ignore it.

Needed where no Python runs: in the TensorFlow Transform graph and in the exported model. JPEG keeps EXIF in an APP1
segment, PNG in an eXIf chunk, WebP in an EXIF chunk; all three hold a TIFF structure whose first directory has tag
0x0112 (CIPA DC-008, "Exif 2.32", 4.6.4; PNG third edition, 11.3.3.5; RFC 9649, 2.7.1.5). Every length is clipped to the
data, so that hostile bytes end the search and never read beyond it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

TAG = 0x0112
_MAX_SEGMENTS = 256  # a file's headers end long before; only hostile ones have more


def orientation(encoded: tf.Tensor, is_jpeg: tf.Tensor, is_png: tf.Tensor) -> tf.Tensor:
    """The EXIF orientation in JPEG, PNG or WebP bytes, int32 1..8; 1 where there is none or it is illegible."""
    # Zeros behind the end let every bounded look-ahead below stay in range.
    data = tf.cast(tf.io.decode_raw(tf.strings.join([encoded, b"\0" * 64]), tf.uint8), tf.int32)
    end = tf.shape(data)[0] - 64

    def at(position: tf.Tensor, offset: int) -> tf.Tensor:
        return data[tf.clip_by_value(position, 0, end) + offset]

    def number(position: tf.Tensor, offset: int, count: int, big: tf.Tensor | bool) -> tf.Tensor:
        octets = [at(position, offset + i) for i in range(count)]
        high_first = functools.reduce(lambda a, b: a * 256 + b, octets)
        low_first = functools.reduce(lambda a, b: a * 256 + b, octets[::-1])
        return tf.where(big, high_first, low_first)

    def text(position: tf.Tensor, offset: int, expected: bytes) -> tf.Tensor:
        return tf.reduce_all([tf.equal(at(position, offset + i), c) for i, c in enumerate(expected)])

    def jpeg_step(p: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        exif = tf.logical_and(text(p, 0, b"\xff\xe1"), text(p, 4, b"Exif\0\0"))
        last = tf.logical_or(tf.not_equal(at(p, 0), 0xFF), tf.equal(at(p, 1), 0xDA))
        return exif, p + 10, tf.where(last, end, p + 2 + number(p, 2, 2, True))

    def png_step(p: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return text(p, 4, b"eXIf"), p + 8, p + 12 + tf.maximum(number(p, 0, 4, True), 0)

    def webp_step(p: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        length = tf.maximum(number(p, 4, 4, False), 0)
        prefix = tf.where(text(p, 8, b"Exif\0\0"), 6, 0)  # some writers keep JPEG's prefix
        return text(p, 0, b"EXIF"), p + 8 + prefix, p + 8 + length + length % 2

    def step(p: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return tf.cond(
            is_jpeg, lambda: jpeg_step(p), lambda: tf.cond(is_png, lambda: png_step(p), lambda: webp_step(p))
        )

    def body(p: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        exif, start, following = step(p)
        following = tf.where(following > p, following, end)  # a length that overflows ends the search
        return tf.where(exif, end, following), tf.where(exif, start, found)

    start = tf.where(is_jpeg, 2, tf.where(is_png, 8, 12))
    _, tiff = tf.while_loop(
        lambda p, found: tf.logical_and(p < end, found < 0),
        body,
        (start, tf.constant(-1)),
        maximum_iterations=_MAX_SEGMENTS,
    )
    return tf.cond(tiff >= 0, lambda: _tiff_orientation(tiff, end, text, number), lambda: tf.constant(1))


def _tiff_orientation(tiff: tf.Tensor, end: tf.Tensor, text: Callable, number: Callable) -> tf.Tensor:
    """Reads tag 0x0112 of the first IFD of the TIFF structure at `tiff`."""
    big = text(tiff, 0, b"MM")
    ifd = tiff + tf.clip_by_value(number(tiff, 4, 4, big), 0, end)
    count = tf.where(ifd < end, number(ifd, 0, 2, big), 0)

    def body(i: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        entry = ifd + 2 + 12 * i
        hit = tf.logical_and(tf.equal(number(entry, 0, 2, big), TAG), entry < end)
        return i + 1, tf.where(hit, number(entry, 8, 2, big), value)

    _, value = tf.while_loop(
        lambda i, value: tf.logical_and(i < count, value < 0),
        body,
        (tf.constant(0), tf.constant(-1)),
        maximum_iterations=512,
    )
    return tf.where(tf.logical_and(value >= 1, value <= 8), value, 1)
