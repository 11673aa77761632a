"""Checks in the served graph that an image has a format the dataset's graph reads.

The graph that TensorFlow Transform saved reads JPEG, PNG and WebP. A client converts other formats to lossless PNG with
`pipelines.formats.canonical` (Pillow) before it sends them. TensorFlow has no decoder for TIFF and AVIF, decodes many
GIF and BMP files wrongly without an error, and corrupts memory on an animated WebP. The check refuses all of these.
"""

from __future__ import annotations

import tensorflow as tf

HEAD = 24  # number of first bytes that identify the format
_ANIMATION = 2  # the flag in byte 20 of an extended WebP (RFC 9649, 2.7)
_REFUSAL = (
    "The model reads JPEG, PNG and WebP (not animated). Received: {}. "
    "Convert it first: pipelines.formats.canonical(bytes), or use `python -m trainer predict`."
)


def checked(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the bytes of an image, string (), unchanged if their format is served.

    Raises, when the graph runs:
      tf.errors.InvalidArgumentError: the bytes have a format that the served model does not read.
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
