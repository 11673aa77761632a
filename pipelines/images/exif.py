"""Reads the EXIF orientation of encoded bytes, in Python and in TensorFlow graphs.

Both readers follow the same rules. TensorFlow's decoders ignore the orientation. The graph's reader is needed where no
Python is available: in the TensorFlow Transform graph and in the exported model. The Python reader is used for headers.
Pillow is not used: it decodes a complete PNG to look for EXIF, and takes the orientation of XMP where there is no EXIF.

JPEG keeps EXIF in an APP1 segment, PNG in an eXIf chunk, WebP in an EXIF chunk; all three hold a TIFF structure whose
first directory has tag 0x0112 (CIPA DC-008, "Exif 2.32", 4.6.4; PNG third edition, 11.3.3.5; RFC 9649, 2.7.1.5).
Every length is clipped to the data, so that hostile bytes end the search and never cause a read beyond the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import tensorflow as tf

TAG = 0x0112
_SHORT, _LONG = 3, 4  # TIFF's types of 2 and 4 bytes
_MAX_SEGMENTS = 256  # real headers have far fewer; only hostile files have more
_MAX_ENTRIES = 512
_WINDOW = 16  # bytes read at one position: a complete TIFF entry, or the start of any segment


def read_orientation(data: bytes, format_: str) -> int:
    """Returns the EXIF orientation 1..8 in JPEG, PNG or WebP bytes.

    It is 1 where there is none or where it cannot be read. The result equals that of `orientation` for any bytes.

    Args:
      format_: "JPEG", "PNG" or "WEBP".
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
        maximum_iterations=_MAX_SEGMENTS,
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
        long = tf.where(tf.equal(kind, _LONG), _unsigned(entry, 8, 4, big), 0)
        found = tf.where(tf.equal(kind, _SHORT), _unsigned(entry, 8, 2, big), long)
        return i + 1, tf.where(tf.equal(_unsigned(entry, 0, 2, big), TAG), found, value)

    _, value = tf.while_loop(
        lambda i, value: tf.logical_and(i < count, value < 0),
        body,
        (tf.constant(0), tf.constant(-1)),
        maximum_iterations=_MAX_ENTRIES,
    )
    return tf.where(tf.logical_and(value >= 1, value <= 8), value, 1)
