"""The EXIF orientation of encoded bytes, read in Python and inside a TensorFlow graph, by the same rules.

TensorFlow's decoders ignore it. The graph's reader is needed where no Python runs: in the TensorFlow Transform graph
and in the exported model; Python's is what headers are read with. Pillow's is neither: it decodes a whole PNG to
look for EXIF, and takes XMP's word where there is none.

JPEG keeps EXIF in an APP1 segment, PNG in an eXIf chunk, WebP in an EXIF chunk; all three hold a TIFF structure whose
first directory has tag 0x0112 (CIPA DC-008, "Exif 2.32", 4.6.4; PNG third edition, 11.3.3.5; RFC 9649, 2.7.1.5).
Every length is clipped to the data, so that hostile bytes end the search and never read beyond it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import tensorflow as tf

TAG = 0x0112
_SHORT, _LONG = 3, 4  # TIFF's types of 2 and 4 bytes
_MAX_SEGMENTS = 256  # a file's headers end long before; only hostile ones have more
_MAX_ENTRIES = 512


def read_orientation(data: bytes, format_: str) -> int:
    """The EXIF orientation 1..8 in JPEG, PNG or WebP bytes; 1 where there is none or it is illegible.

    `format_` is "JPEG", "PNG" or "WEBP". Equal to `orientation` on any bytes.
    """
    p = {"JPEG": 2, "PNG": 8, "WEBP": 12}[format_]
    for _ in range(_MAX_SEGMENTS):
        if p >= len(data):
            return 1
        if format_ == "JPEG":
            if data[p : p + 2] == b"\xff\xff":  # a fill byte before a marker
                p += 1
                continue
            if data[p] != 0xFF or data[p + 1 : p + 2] == b"\xda":
                return 1
            if data[p : p + 2] == b"\xff\xe1" and data[p + 4 : p + 10] == b"Exif\0\0":
                return _read_tiff(data, p + 10)
            p += 2 + _number(data, p + 2, 2, "big")
        elif format_ == "PNG":
            if data[p + 4 : p + 8] == b"eXIf":
                return _read_tiff(data, p + 8)
            p += 12 + _number(data, p, 4, "big")
        else:
            if data[p : p + 4] == b"EXIF":
                return _read_tiff(data, p + (14 if data[p + 8 : p + 14] == b"Exif\0\0" else 8))
            length = _number(data, p + 4, 4, "little")
            p += 8 + length + length % 2
    return 1


def _number(data: bytes, position: int, count: int, order: Literal["little", "big"]) -> int:
    return int.from_bytes(data[position : position + count].ljust(count, b"\0"), order)


def _read_tiff(data: bytes, tiff: int) -> int:
    order: Literal["little", "big"]
    if data[tiff : tiff + 4] == b"MM\0*":
        order = "big"
    elif data[tiff : tiff + 4] == b"II*\0":
        order = "little"
    else:
        return 1
    ifd = tiff + _number(data, tiff + 4, 4, order)
    for i in range(min(_number(data, ifd, 2, order), _MAX_ENTRIES)):
        entry = ifd + 2 + 12 * i
        if _number(data, entry, 2, order) == TAG:
            size = {_SHORT: 2, _LONG: 4}.get(_number(data, entry + 2, 2, order), 0)
            value = _number(data, entry + 8, size, order)
            return value if 1 <= value <= 8 else 1
    return 1


def orientation(encoded: tf.Tensor, is_jpeg: tf.Tensor, is_png: tf.Tensor) -> tf.Tensor:
    """The EXIF orientation in JPEG, PNG or WebP bytes, int32 1..8; 1 where there is none or it is illegible."""
    # Zeros behind the end let every bounded look-ahead below stay in range.
    data = tf.io.decode_raw(tf.strings.join([encoded, b"\0" * 64]), tf.uint8)
    end = tf.shape(data)[0] - 64

    def at(position: tf.Tensor, offset: int) -> tf.Tensor:
        return tf.cast(data[tf.clip_by_value(position, 0, end) + offset], tf.int32)

    def number(position: tf.Tensor, offset: int, count: int, big: tf.Tensor | bool) -> tf.Tensor:
        """An unsigned number; one of 2**31 or more, which leads beyond any data, becomes the greatest int32."""
        octets = [at(position, offset + i) for i in range(count)]
        high_first = functools.reduce(lambda a, b: a * 256 + b, octets)
        low_first = functools.reduce(lambda a, b: a * 256 + b, octets[::-1])
        value = tf.where(big, high_first, low_first)
        return tf.where(value < 0, tf.int32.max, value)

    def text(position: tf.Tensor, offset: int, expected: bytes) -> tf.Tensor:
        return tf.reduce_all([tf.equal(at(position, offset + i), c) for i, c in enumerate(expected)])

    def jpeg_step(p: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        exif = tf.logical_and(text(p, 0, b"\xff\xe1"), text(p, 4, b"Exif\0\0"))
        last = tf.logical_or(tf.not_equal(at(p, 0), 0xFF), tf.equal(at(p, 1), 0xDA))
        fill = text(p, 0, b"\xff\xff")
        return exif, p + 10, tf.where(last, end, tf.where(fill, p + 1, p + 2 + number(p, 2, 2, True)))

    def png_step(p: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return text(p, 4, b"eXIf"), p + 8, p + 12 + number(p, 0, 4, True)

    def webp_step(p: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        length = number(p, 4, 4, False)
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
    big = text(tiff, 0, b"MM\0*")
    legible = tf.logical_or(big, text(tiff, 0, b"II*\0"))
    ifd = tiff + tf.minimum(number(tiff, 4, 4, big), end)
    count = tf.where(legible, number(ifd, 0, 2, big), 0)

    def body(i: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        entry = ifd + 2 + 12 * i
        kind = number(entry, 2, 2, big)
        long = tf.where(tf.equal(kind, _LONG), number(entry, 8, 4, big), 0)
        found = tf.where(tf.equal(kind, _SHORT), number(entry, 8, 2, big), long)
        return i + 1, tf.where(tf.equal(number(entry, 0, 2, big), TAG), found, value)

    _, value = tf.while_loop(
        lambda i, value: tf.logical_and(i < count, value < 0),
        body,
        (tf.constant(0), tf.constant(-1)),
        maximum_iterations=_MAX_ENTRIES,
    )
    return tf.where(tf.logical_and(value >= 1, value <= 8), value, 1)
