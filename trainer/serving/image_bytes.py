"""Encoded images in the served graph: what the dataset's own graph does not read becomes PNG, or is refused.

The graph that TensorFlow Transform saved reads JPEG, PNG and WebP. `pipelines.formats.canonical` (Pillow) makes
lossless PNG of the other formats before they reach it; here the same is done in TensorFlow ops for GIF and BMP, so
that a server without Python takes them, too. For TIFF, AVIF and animated WebP TensorFlow has no right decoder: refused.
"""

from __future__ import annotations

import tensorflow as tf

MAX_PIXELS = 64 << 20  # as `prepare --max-pixels` has it
TAIL = 16  # zeros behind the data, so that a number can be read anywhere
_UNREADABLE = (
    "The model reads JPEG, PNG, WebP (not animated), the first frame of GIF, and BMP (not RLE). Received: {}. "
    "Convert it first: pipelines.formats.canonical(bytes), or use `python -m trainer predict`."
)


def readable(encoded: tf.Tensor) -> tf.Tensor:
    """Bytes of an image, string () -> bytes that the dataset's graph reads, string (): unchanged, or as PNG.

    Raises, when run:
      tf.errors.InvalidArgumentError: a format that the served model does not read, or damaged GIF or BMP.
    """
    from trainer.serving import bmp
    from trainer.serving import gif as gifs

    gif = tf.strings.regex_full_match(tf.strings.substr(tail_joined(encoded), 0, 6), "GIF8[79]a")
    bitmap = tf.equal(tf.strings.substr(tail_joined(encoded), 0, 2), b"BM")
    return tf.cond(
        gif,
        lambda: tf.io.encode_png(gifs.decode(encoded), compression=1),
        lambda: tf.cond(
            bitmap, lambda: tf.io.encode_png(bmp.decode(encoded), compression=1), lambda: _checked(encoded)
        ),
    )


def _checked(encoded: tf.Tensor) -> tf.Tensor:
    head = tail_joined(encoded)

    def starts(position: int, expected: bytes) -> tf.Tensor:
        return tf.equal(tf.strings.substr(head, position, len(expected)), expected)

    moving = starts(12, b"VP8X") & tf.equal(tf.bitwise.bitwise_and(number(tail_padded(encoded), 20, 1), 2), 2)
    webp = starts(0, b"RIFF") & starts(8, b"WEBP")
    known = starts(0, b"\xff\xd8") | starts(0, b"\x89PNG") | (webp & tf.logical_not(moving))
    what = tf.constant("bytes of no image that is known")
    for name, is_it in (
        ("no bytes", tf.equal(tf.strings.length(encoded), 0)),
        ("an animated WebP", webp),
        ("a TIFF", starts(0, b"II*\0") | starts(0, b"MM\0*")),
        ("an AVIF or HEIC", starts(4, b"ftyp")),
    ):
        what = tf.where(is_it, name, what)
    with tf.control_dependencies([refuse_unless(known, unreadable(what))]):
        return tf.identity(encoded)


def unreadable(what: str | tf.Tensor) -> tf.Tensor:
    """The sentence that says what is read, that this came, and what to do; string ()."""
    before, after = _UNREADABLE.split("{}")
    return tf.strings.join([before, what, after])


def refuse_unless(condition: tf.Tensor, sentence: str | tf.Tensor) -> tf.Operation:
    """An op that stops the graph with the sentence."""
    return tf.debugging.Assert(condition, [sentence], summarize=1)


def tail_joined(encoded: tf.Tensor) -> tf.Tensor:
    """The bytes with TAIL zeros behind them, string ()."""
    return tf.strings.join([encoded, b"\0" * TAIL])


def tail_padded(encoded: tf.Tensor) -> tf.Tensor:
    """The same as uint8 (N + TAIL,)."""
    return tf.io.decode_raw(tail_joined(encoded), tf.uint8)


def number(data: tf.Tensor, position: tf.Tensor | int, count: int) -> tf.Tensor:
    """The little-endian number of 1 to 4 bytes at `position` of `tail_padded`, int32; beyond the end zeros.

    One of 4 bytes that is 2**31 or more comes out negative.
    """
    at = tf.clip_by_value(position, 0, tf.shape(data)[0] - count)
    values = tf.cast(tf.slice(data, [at], [count]), tf.int32)
    return tf.reduce_sum(tf.bitwise.left_shift(values, tf.constant([0, 8, 16, 24][:count])))
