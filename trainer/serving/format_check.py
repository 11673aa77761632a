"""Checks in the served graph that an image has a format which the dataset's own graph reads.

The graph that TensorFlow Transform saved reads JPEG, PNG and WebP. A client makes lossless PNG of the other formats
with `pipelines.formats.canonical` (Pillow), before it sends them. TensorFlow has no decoder for TIFF and AVIF, reads
much GIF and BMP wrongly without an error, and damages memory on an animated WebP: all of these are refused.
"""

from __future__ import annotations

import tensorflow as tf

HEAD = 24  # bytes that tell the format
_ANIMATION = 2  # the flag in byte 20 of an extended WebP (RFC 9649, 2.7)
_REFUSAL = (
    "The model reads JPEG, PNG and WebP (not animated). Received: {}. "
    "Convert it first: pipelines.formats.canonical(bytes), or use `python -m trainer predict`."
)


def checked(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the bytes of an image, string (), unchanged.

    Raises, when run:
      tf.errors.InvalidArgumentError: bytes of a format that the served model does not read.
    """
    head = tf.strings.substr(tf.strings.join([encoded, b"\0" * HEAD]), 0, HEAD)

    def starts(position: int, expected: bytes) -> tf.Tensor:
        return tf.equal(tf.strings.substr(head, position, len(expected)), expected)

    flags = tf.io.decode_raw(tf.strings.substr(head, 20, 1), tf.uint8)[0]
    animated = starts(12, b"VP8X") & tf.equal(tf.bitwise.bitwise_and(flags, _ANIMATION), _ANIMATION)
    webp = starts(0, b"RIFF") & starts(8, b"WEBP")
    known = starts(0, b"\xff\xd8") | starts(0, b"\x89PNG") | (webp & tf.logical_not(animated))
    received = tf.constant("bytes of no image that is known")
    for name, is_it in (
        ("no bytes", tf.equal(tf.strings.length(encoded), 0)),
        ("an animated WebP", webp),
        ("a GIF", starts(0, b"GIF8")),
        ("a BMP", starts(0, b"BM")),
        ("a TIFF", starts(0, b"II*\0") | starts(0, b"MM\0*")),
        ("an AVIF or HEIC", starts(4, b"ftyp")),
    ):
        received = tf.where(is_it, name, received)
    before, after = _REFUSAL.split("{}")
    refusal = tf.strings.join([before, received, after])
    with tf.control_dependencies([tf.debugging.Assert(known, [refusal], summarize=1)]):
        return tf.identity(encoded)
