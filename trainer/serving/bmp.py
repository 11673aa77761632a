"""BMP bytes to pixels, in TensorFlow ops only: as `pipelines.formats.canonical` reads them, with Pillow.

`tf.io.decode_bmp` ignores palettes and bit fields. Read here are 1, 4, 8, 16, 24 and 32 bits, upright or upside down,
with a palette or with those bit fields that Pillow knows (its `BmpImagePlugin`). Run-length encoding is refused: it
would be a loop over every run.
"""

from __future__ import annotations

import tensorflow as tf

from trainer.serving.image_bytes import MAX_PIXELS, number, refuse_unless, tail_padded, unreadable

_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes of the kinds of header
_PLAIN, _RUN_LENGTHS, _BITFIELDS = 0, (1, 2), 3
_OTHER = "a BMP that is damaged, too large or of a rare kind"
# Masks of red, green, blue and alpha in 32 bits -> the byte of each; 4 is a fifth byte, of 255.
_LAYOUTS = {
    (0xFF0000, 0xFF00, 0xFF, 0): (2, 1, 0, 4),
    (0xFF000000, 0xFF0000, 0xFF00, 0): (3, 2, 1, 4),
    (0xFF000000, 0xFF00, 0xFF, 0): (3, 1, 0, 4),
    (0xFF000000, 0xFF0000, 0xFF00, 0xFF): (3, 2, 1, 0),
    (0xFF, 0xFF00, 0xFF0000, 0xFF000000): (0, 1, 2, 3),
    (0xFF0000, 0xFF00, 0xFF, 0xFF000000): (2, 1, 0, 3),
    (0xFF000000, 0xFF00, 0xFF, 0xFF0000): (3, 1, 0, 2),
    (0, 0, 0, 0): (2, 1, 0, 3),
}
_MASKS_555, _MASKS_565, _MASKS_24 = (0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F), (0xFF0000, 0xFF00, 0xFF)


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """A BMP, string () -> uint8 (h, w, 4): RGB and alpha.

    Raises, when run:
      tf.errors.InvalidArgumentError: run-length encoded, a kind that Pillow does not read either, or data that end
        early.
    """
    data = tail_padded(encoded)
    header = number(data, 14, 4)
    old = tf.equal(header, 12)  # OS/2's: sides of 16 bits, no compression, palette entries of 3 bytes
    width = tf.where(old, number(data, 18, 2), number(data, 18, 4))
    upside_down = old | tf.not_equal(number(data, 25, 1), 0xFF)  # the usual order: the last row comes first
    tall = number(data, 22, 4)
    height = tf.where(old, number(data, 20, 2), tf.where(upside_down, tall, -tall))
    bits = tf.where(old, number(data, 24, 2), number(data, 28, 2))
    compression = tf.where(old, _PLAIN, number(data, 30, 4))
    usable = (
        _among(header, _HEADERS)
        & _among(bits, (1, 4, 8, 16, 24, 32))
        & (tf.equal(compression, _PLAIN) | (tf.equal(compression, _BITFIELDS) & (bits > 8)))
        & (width > 0) & (height > 0)
        & (tf.cast(width, tf.int64) * tf.cast(height, tf.int64) <= MAX_PIXELS)
    )  # fmt: skip
    what = tf.where(_among(compression, _RUN_LENGTHS), "a run-length encoded BMP", _OTHER)
    with tf.control_dependencies([refuse_unless(usable, unreadable(what))]):
        bits = tf.identity(bits)
    masks, behind_header = _masks(data, header, compression)
    colors, start = _palette(data, header, bits, old, behind_header)
    rows = _rows(data, start, width, height, bits)
    pixels = tf.switch_case(
        tf.argmax(tf.equal([8, 16, 24, 32], tf.maximum(bits, 8)), output_type=tf.int32),
        [
            lambda: tf.gather(colors, _indices(rows, width, bits)),
            lambda: _sixteen(rows, width, masks, compression),
            lambda: _twenty_four(rows, width, masks, compression),
            lambda: _thirty_two(rows, width, masks, compression),
        ],
    )
    return tf.ensure_shape(tf.cond(upside_down, lambda: tf.reverse(pixels, [0]), lambda: pixels), (None, None, 4))


def _among(value: tf.Tensor, allowed: tuple[int, ...]) -> tf.Tensor:
    return tf.reduce_any(tf.equal(value, tf.constant(allowed)))


def _masks(data: tf.Tensor, header: tf.Tensor, compression: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(masks of red, green, blue, alpha, int32 (4,); where the header with them ends). Short headers have no alpha."""
    masks = tf.stack([number(data, 54 + 4 * i, 4) for i in range(4)])
    masks *= tf.stack([1, 1, 1, tf.cast(header >= 56, tf.int32)])
    behind = 14 + header + tf.where(tf.equal(compression, _BITFIELDS) & tf.equal(header, 40), 12, 0)
    return masks, behind


def _palette(
    data: tf.Tensor, header: tf.Tensor, bits: tf.Tensor, old: tf.Tensor, behind_header: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """(the colors, uint8 (256, 4), missing ones black; where the pixels begin)."""
    entry = tf.where(old, 3, 4)
    count = tf.where(old, 0, number(data, 46, 4))
    count = tf.where(tf.equal(count, 0), tf.bitwise.left_shift(1, tf.minimum(bits, 8)), count)
    count = tf.where(bits <= 8, count, 0)
    # Pillow reads 8-bit pixels of a black and white palette as if they had one bit.
    sane = (count >= 0) & (count <= 65536) & (tf.not_equal(count, 2) | tf.equal(bits, 1))
    with tf.control_dependencies([refuse_unless(sane, unreadable(_OTHER))]):
        count = tf.identity(count)
    stored = number(data, 10, 4)
    start = tf.where(stored > 0, stored, behind_header + entry * count)
    start += tf.where(tf.equal(stored, 14 + header) & (bits <= 8), entry * count, 0)  # an offset that forgot it
    at = tf.minimum(behind_header, tf.shape(data)[0])
    table = data[at : at + entry * tf.minimum(count, 256)]
    entries = tf.minimum(tf.shape(table)[0] // entry, 256)
    colors = tf.reshape(table[: entries * entry], (entries, entry))[:, 2::-1]  # from BGR
    ramp = tf.cast(tf.range(256)[:, None] * tf.ones((1, 3), tf.int32), tf.uint8)
    gray = tf.reduce_all(tf.equal(colors, ramp[:entries]))
    missing = tf.where(gray, ramp[entries:], tf.zeros((256 - entries, 3), tf.uint8))
    return _opaque(tf.concat([colors, missing], 0)), start


def _rows(data: tf.Tensor, start: tf.Tensor, width: tf.Tensor, height: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """The stored rows, uint8 (h, bytes): each begins at a multiple of 4 bytes."""
    used = (tf.cast(width, tf.int64) * tf.cast(bits, tf.int64) + 7) // 8
    stride = (used + 3) // 4 * 4
    needed = stride * tf.cast(height - 1, tf.int64) + used
    end = tf.cast(tf.shape(data)[0], tf.int64) - 16
    begin = tf.cast(start, tf.int64)
    whole = (begin > 0) & (begin + needed <= end)
    with tf.control_dependencies([refuse_unless(whole, "The pixels of the BMP end early.")]):
        begin = tf.identity(begin)
    # The zeros behind the data stand in for what fills up the last row.
    return tf.reshape(data[begin : begin + stride * tf.cast(height, tf.int64)], (height, tf.cast(stride, tf.int32)))


def _indices(rows: tf.Tensor, width: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Color indices of 1, 4 or 8 bits, int32 (h, w); the high bits of a byte are the left pixels."""

    def unpacked(size: int) -> tf.Tensor:
        shifts = tf.constant(list(range(8 - size, -1, -size)), tf.uint8)
        parts = tf.bitwise.bitwise_and(
            tf.bitwise.right_shift(rows[..., None], shifts), tf.constant(2**size - 1, tf.uint8)
        )
        return tf.reshape(parts, (tf.shape(rows)[0], tf.shape(rows)[1] * (8 // size)))

    values = tf.switch_case(
        tf.argmax(tf.equal([1, 4, 8], bits), output_type=tf.int32), [lambda s=s: unpacked(s) for s in (1, 4, 8)]
    )
    return tf.cast(values[:, :width], tf.int32)


def _sixteen(rows: tf.Tensor, width: tf.Tensor, masks: tf.Tensor, compression: tf.Tensor) -> tf.Tensor:
    """5 bits a channel, or 6 of green: stretched to 0..255, rounded down."""
    wide = tf.equal(compression, _BITFIELDS) & _same(masks[:3], _MASKS_565)
    known = tf.equal(compression, _PLAIN) | wide | _same(masks[:3], _MASKS_555)
    with tf.control_dependencies([refuse_unless(known, unreadable(_OTHER))]):
        pairs = tf.cast(_pixels(rows, width, 2), tf.int32)
    value = pairs[..., 0] + pairs[..., 1] * 256
    green = tf.where(wide, 63, 31)
    parts = (
        (tf.bitwise.right_shift(value, tf.where(wide, 11, 10)) & 31) * 255 // 31,
        (tf.bitwise.right_shift(value, 5) & green) * 255 // green,
        (value & 31) * 255 // 31,
    )
    return _opaque(tf.cast(tf.stack(parts, -1), tf.uint8))


def _twenty_four(rows: tf.Tensor, width: tf.Tensor, masks: tf.Tensor, compression: tf.Tensor) -> tf.Tensor:
    known = tf.equal(compression, _PLAIN) | _same(masks[:3], _MASKS_24)
    with tf.control_dependencies([refuse_unless(known, unreadable(_OTHER))]):
        return _opaque(_pixels(rows, width, 3)[..., ::-1])


def _thirty_two(rows: tf.Tensor, width: tf.Tensor, masks: tf.Tensor, compression: tf.Tensor) -> tf.Tensor:
    signed = [[m - (1 << 32) if m >= 1 << 31 else m for m in layout] for layout in _LAYOUTS]
    same = tf.reduce_all(tf.equal(masks, tf.constant(signed, tf.int32)), axis=1)
    plain = tf.equal(compression, _PLAIN)
    with tf.control_dependencies([refuse_unless(plain | tf.reduce_any(same), unreadable(_OTHER))]):
        order = tf.where(plain, 0, tf.argmax(same, output_type=tf.int32))
    return tf.gather(_opaque(_pixels(rows, width, 4)), tf.constant(list(_LAYOUTS.values()))[order], axis=-1)


def _pixels(rows: tf.Tensor, width: tf.Tensor, size: int) -> tf.Tensor:
    """uint8 (h, w, size): the bytes of each pixel."""
    return tf.reshape(rows[:, : width * size], (tf.shape(rows)[0], width, size))


def _opaque(values: tf.Tensor) -> tf.Tensor:
    """With 255 behind the last channel."""
    return tf.concat([values, tf.fill(tf.concat([tf.shape(values)[:-1], [1]], 0), tf.constant(255, tf.uint8))], -1)


def _same(given: tf.Tensor, expected: tuple[int, ...]) -> tf.Tensor:
    return tf.reduce_all(tf.equal(given, tf.constant(expected)))
