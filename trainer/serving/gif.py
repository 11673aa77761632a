"""GIF bytes to the pixels of the first frame, in TensorFlow ops only: as `pipelines.formats.canonical` reads them.

`tf.io.decode_gif` alone does not do: it decodes every frame (a small file may take gigabytes), paints what is
transparent black, gives frames at their own size, and serves a frame whose data end early with whatever was in memory.
Here it is the LZW decoder only: it is shown the first frame, alone, with a palette that maps each index to itself.
GIF89a specification, sections 17 to 27.
"""

from __future__ import annotations

import tensorflow as tf

from trainer.serving.image_bytes import MAX_PIXELS, number, refuse_unless, tail_padded

_HEADER = b"GIF89a"
_IDENTITY = bytes(v for i in range(256) for v in (i, i, i))
_LOCAL_PALETTE = 0x87  # of 256 colours
# Behind the frame comes another, of one pixel: it is decoded only where all of the first was.
_SENTINEL = b",\0\0\0\0\1\0\1\0" + bytes([_LOCAL_PALETTE]) + _IDENTITY + b"\x08\x04\x00\x01\x04\x04\x00;"


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """A GIF, string () -> uint8 (h, w, 4): RGB and alpha (0 or 255) of the first frame on its canvas.

    Around a frame that is smaller than the canvas lies the transparent colour, or colour 0, as Pillow has it.

    Raises, when run:
      tf.errors.InvalidArgumentError: no frame, more than MAX_PIXELS, or data that end early.
    """
    data = tail_padded(encoded)
    frame, transparent = _find_frame(data)
    found = tf.equal(number(data, frame, 1), ord(","))
    left, top, width, height = (number(data, frame + 1 + 2 * i, 2) for i in range(4))
    canvas_width = tf.maximum(number(data, 6, 2), left + width)
    canvas_height = tf.maximum(number(data, 8, 2), top + height)
    fits = (
        (width > 0) & (height > 0) & (tf.cast(canvas_width, tf.int64) * tf.cast(canvas_height, tf.int64) <= MAX_PIXELS)
    )
    with tf.control_dependencies([refuse_unless(found & fits, "The GIF has no first frame of a usable size.")]):
        local = _palette_bytes(number(data, frame + 9, 1))
        start = frame + 10 + local
    colors = _palette(data, frame + 10, local)
    indices = _indices(encoded, data, frame, start, width, height)
    right, bottom = canvas_width - left - width, canvas_height - top - height
    indices = tf.pad(
        indices, [[top, bottom], [left, right]], constant_values=tf.cast(tf.maximum(transparent, 0), tf.uint8)
    )
    indices = tf.cast(indices, tf.int32)  # (h, w)
    alpha = tf.where(indices == transparent, tf.constant(0, tf.uint8), tf.constant(255, tf.uint8))
    return tf.concat([tf.gather(colors, indices), alpha[..., None]], -1)


def _indices(
    encoded: tf.Tensor, data: tf.Tensor, frame: tf.Tensor, start: tf.Tensor, width: tf.Tensor, height: tf.Tensor
) -> tf.Tensor:
    """The color indices of the frame whose descriptor is at `frame` and whose data begin at `start`, uint8 (h, w)."""
    interlaced = tf.cast(tf.bitwise.bitwise_and(number(data, frame + 9, 1), 0x40), tf.uint8)
    sides = tf.strings.substr(encoded, frame + 5, 4)
    flags = tf.gather(
        tf.constant([bytes([_LOCAL_PALETTE]), bytes([_LOCAL_PALETTE | 0x40])]), tf.cast(interlaced > 0, tf.int32)
    )
    blocks = tf.strings.substr(encoded, start, _behind_blocks(data, start + 1) - start)
    alone = tf.strings.join([_HEADER, sides, b"\0\0\0", b",\0\0\0\0", sides, flags, _IDENTITY, blocks, _SENTINEL])
    frames = tf.io.decode_gif(alone)  # (2, h, w, 3)
    whole = tf.equal(tf.shape(frames)[0], 2)
    with tf.control_dependencies([refuse_unless(whole, "The data of the GIF's first frame end early.")]):
        return tf.ensure_shape(tf.reshape(frames[0, :, :, 0], (height, width)), (None, None))


def _find_frame(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(where the first image descriptor is, the transparent index or -1); without one, where the search ended."""
    end = tf.shape(data)[0] - 1

    def step(p: tf.Tensor, transparent: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        extension = tf.equal(number(data, p, 1), ord("!"))
        control = extension & tf.equal(number(data, p + 1, 1), 0xF9) & (number(data, p + 2, 1) >= 4)
        marked = control & tf.equal(tf.bitwise.bitwise_and(number(data, p + 3, 1), 1), 1)
        following = tf.cond(extension, lambda: _behind_blocks(data, p + 2), lambda: p + 1)  # as Pillow skips others
        return following, tf.where(marked, number(data, p + 6, 1), transparent)

    return tf.while_loop(
        lambda p, _: (
            (p < end) & tf.not_equal(number(data, p, 1), ord(",")) & tf.not_equal(number(data, p, 1), ord(";"))
        ),
        step,
        (13 + _palette_bytes(number(data, 10, 1)), tf.constant(-1)),
        parallel_iterations=1,
    )


def _behind_blocks(data: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Where the chain of data blocks that starts at `position` has ended, or the end of the data."""
    end = tf.shape(data)[0] - 1
    (last,) = tf.while_loop(
        lambda p: (p < end) & (number(data, p, 1) > 0),
        lambda p: (p + 1 + number(data, p, 1),),
        (position,),
        parallel_iterations=1,
    )
    return tf.minimum(last + 1, end)


def _palette_bytes(flags: tf.Tensor) -> tf.Tensor:
    size = tf.bitwise.left_shift(3, tf.bitwise.bitwise_and(flags, 7) + 1)
    return tf.where(tf.bitwise.bitwise_and(flags, 0x80) > 0, size, 0)


def _palette(data: tf.Tensor, local_at: tf.Tensor, local: tf.Tensor) -> tf.Tensor:
    """The colors of the frame, uint8 (256, 3): its own, else the file's, else gray. Missing ones are black."""
    common = _palette_bytes(number(data, 10, 1))
    at, size = tf.where(local > 0, local_at, 13), tf.where(local > 0, local, common)
    at = tf.minimum(at, tf.shape(data)[0])
    given = data[at : at + size]
    table = tf.pad(given, [[0, 768 - tf.shape(given)[0]]])
    gray = tf.constant(list(_IDENTITY), tf.uint8)
    return tf.reshape(tf.where(size > 0, table, gray), (256, 3))
