"""Cuts a part out of each image of a batch of `jpeg` records and resizes it.

It runs on the processor that reads. A JPEG is decoded only in the rows where its part lies, and among images of unequal
size only in the columns, too. The parts are those that the device would cut, and the filter is the same: see
`trainer.models.view.resampling`. That one multiplies by whole matrices, most of whose numbers are 0. Here a pixel of
the result is a sum of few pixels, because a processor has no multiplications to spare.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from pipelines.contract import Contract, ContractError

MARGIN = 2  # pixels around a part that are decoded, too: decoders interpolate colours that are stored at half the size
# Steps in a gray level between the two passes. They fit 16 bits, and half the memory is read sooner.
FINE = 128.0

Boxes = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Crops:
    """Says which part of each image a batch gets.

    size: height and width of the result in pixels.
    boxes: maps the number of the batch, counted over all passes, int64 (), and height and width of its images, float32
      (B, 2), to top, left, height and width of the parts in pixels, float32 (B,) each. It is a part of the graph and
      has no state.
    longest: the greatest length of a side of a part / the shorter side of its image, for images of unequal size.
    """

    size: tuple[int, int]
    boxes: Callable[[tf.Tensor, tf.Tensor], Boxes]
    longest: float


def check(contract: Contract) -> None:
    """Raises ContractError if the images of a dataset are not decoded in parts."""
    if contract.encoding != "jpeg":
        raise ContractError(
            f"crops are for datasets of the encoding jpeg, whose images are decoded in parts. Received: "
            f"{contract.encoding!r}. Leave crops out, and cut the images of the batch."
        )


def reader(contract: Contract, crops: Crops) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function that decodes and resizes parts of images.

    It maps the `image` feature of records, string (B,), and the number of their batch, int64 (), to uint8
    (B, height, width, C) of `crops.size`: gray levels 0..255, rounded half to even.
    """
    canvas, channels = _canvas(contract, crops), contract.image_shape[2]
    height, width = canvas
    tall, wide = crops.size

    def down(images: tf.Tensor, places: list[tf.Tensor], weights: list[tf.Tensor]) -> tf.Tensor:
        flat = tf.reshape(images, (-1, height, width * channels))
        picked = [tf.cast(tf.gather(flat, place, batch_dims=1), tf.float32) for place in places]
        parts = [values * (weight * FINE)[:, :, None] for values, weight in zip(picked, weights, strict=True)]
        return tf.cast(tf.round(tf.add_n(parts)), tf.int16)

    def across(images: tf.Tensor, places: list[tf.Tensor], weights: list[tf.Tensor]) -> tf.Tensor:
        lines = tf.transpose(tf.reshape(images, (-1, tall, width, channels)), (0, 2, 1, 3))
        picked = [tf.cast(tf.gather(lines, place, batch_dims=1), tf.float32) for place in places]
        parts = [values * (weight / FINE)[:, :, None, None] for values, weight in zip(picked, weights, strict=True)]
        return tf.cast(tf.round(tf.transpose(tf.add_n(parts), (0, 2, 1, 3))), tf.uint8)

    # Several functions: compiled together, XLA would compute weights and the first pass again for each pixel.
    rows, columns, first_pass, second_pass = (
        tf.function(f, jit_compile=True, autograph=False)
        for f in (_taps(height, tall), _taps(width, wide), down, across)
    )
    decode = _decoder(canvas, channels, contract.is_uneven)

    def read(encoded: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        sides = _sides(contract, encoded)
        top, left, part_height, part_width = crops.boxes(batch, tf.cast(sides, tf.float32))
        first, end = _window(top, part_height, tall, sides[:, 0])
        if contract.is_uneven:
            begin, stop = _window(left, part_width, wide, sides[:, 1])
        else:  # to put narrower images into a batch costs more than decoding less of them saves
            begin, stop = tf.zeros_like(first), sides[:, 1]
        images = decode(encoded, tf.stack([first, end, begin, stop], axis=1))
        lines = first_pass(images, *rows(first, sides[:, 0], top, part_height))
        found = second_pass(lines, *columns(begin, sides[:, 1], left, part_width))
        return tf.ensure_shape(found, (encoded.shape[0], tall, wide, channels))

    return read


def _canvas(contract: Contract, crops: Crops) -> tuple[int, int]:
    """Returns height and width of what is decoded of an image, at most."""
    if not contract.is_uneven:
        return contract.image_shape[:2]
    longest = crops.longest * contract.image_shape[0]
    height, width = (math.ceil(longest + 2 * max(longest / size, 1.0)) + 2 * MARGIN + 2 for size in crops.size)
    return height, width


def _sides(contract: Contract, encoded: tf.Tensor) -> tf.Tensor:
    """Returns height and width of encoded images, int32 (B, 2).

    A part of an image of another size than the contract's would be decoded without an error.
    """
    shapes = tf.map_fn(tf.io.extract_jpeg_shape, encoded, fn_output_signature=tf.TensorSpec((3,), tf.int32))[:, :2]
    height, width = contract.image_shape[:2]
    if contract.is_uneven:
        fit, size = tf.reduce_min(shapes, axis=1) == height, f"{height} pixels on the shorter side"
    else:
        fit, size = tf.reduce_all(shapes == (height, width), axis=1), f"{height}x{width} pixels"
    check = tf.debugging.Assert(
        tf.reduce_all(fit), [f"An image of a record should have {size}, as the contract says. Received:", shapes[~fit]]
    )
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(shapes)


def _taps(longest: int, size: int) -> Callable[..., tuple[list[tf.Tensor], list[tf.Tensor]]]:
    """Returns a function that says how pixels of a result are made of a side.

    It takes the first pixel of the side that was decoded and the length of the side, int32 (B,), and start and length
    of the part, float32 (B,). It gives places among the decoded pixels, int32 (B, size), and weights, float32
    (B, size), for each of the pixels that a pixel of the result can be made of. The weights sum to 1.

    Args:
      longest: decoded pixels, at most. size: pixels of the result.
    """
    most = math.floor(2 * max(longest / size, 1.0)) + 1  # pixels below the widest filter

    def taps(
        first: tf.Tensor, side: tf.Tensor, start: tf.Tensor, length: tf.Tensor
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        step, end = (length / size)[:, None], tf.cast(side, tf.float32)[:, None]
        reach = tf.maximum(step, 1.0)
        centres = start[:, None] + (tf.range(size, dtype=tf.float32) + 0.5) * step
        lowest = tf.math.ceil(centres - reach - 0.5)
        places, weights = [], []
        for number in range(most):
            place = lowest + number
            weight = tf.maximum(0.0, 1.0 - tf.abs(centres - (place + 0.5)) / reach)
            weights.append(tf.where((place >= 0) & (place < end), weight, 0.0))
            places.append(tf.clip_by_value(tf.cast(place, tf.int32) - first[:, None], 0, longest - 1))
        total = tf.add_n(weights)
        return places, [weight / total for weight in weights]

    return taps


def _window(start: tf.Tensor, length: tf.Tensor, size: int, side: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the first pixel of a side that is decoded for each part, and their end.

    Both are int32 (B,).
    """
    reach = tf.maximum(length / size, 1.0)
    first = tf.maximum(tf.cast(tf.floor(start - reach), tf.int32) - MARGIN, 0)
    end = tf.minimum(tf.cast(tf.math.ceil(start + length + reach), tf.int32) + MARGIN, side)
    return first, end


def _decoder(canvas: tuple[int, int], channels: int, is_uneven: bool) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function that decodes windows of images.

    It maps encoded images, string (B,), and windows, int32 (B, 4), to uint8 (B, H, W, C) of the canvas. A window is the
    first row and the end of the rows, and the same of the columns. It lies at the top left, and zeros are around it.

    Args:
      is_uneven: False if all windows are as wide as the canvas.
    """
    nothing, shape = tf.zeros((*canvas, channels), tf.uint8), (*canvas, channels)

    def decoded(given: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        encoded, window = given
        first, end, begin, stop = tf.unstack(window)
        height, width = end - first, stop - begin
        place = tf.stack([first, begin, height, width])
        pixels = tf.io.decode_and_crop_jpeg(encoded, place, channels=channels, dct_method="INTEGER_ACCURATE")
        if is_uneven:
            pixels = tf.concat([pixels, nothing[:height, width:]], axis=1)
        return tf.ensure_shape(tf.concat([pixels, nothing[height:]], axis=0), shape)

    def decode(encoded: tf.Tensor, windows: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(decoded, (encoded, windows), fn_output_signature=tf.TensorSpec(shape, tf.uint8))

    return decode
