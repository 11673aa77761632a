"""Cuts a part out of each image of a batch of `jpeg` records and resizes it.

It runs on the processor that reads. Of a JPEG only those rows are decoded where its part lies. The parts are those that
the device would cut, and the filter is the same: see `trainer.models.view.resampling`. That one multiplies by whole
matrices, most of whose numbers are 0. Here a pixel of the result is a sum of few pixels, because a processor has no
multiplications to spare.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from pipelines.contract import Contract, ContractError

MARGIN = 2  # rows around a part that are decoded, too: decoders interpolate colours that are stored at half the size

Boxes = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Crops:
    """Says which part of each image a batch gets.

    size: height and width of the result in pixels.
    boxes: maps the number of the batch, counted over all passes, int64 (), and its number of records, int32 (), to top,
      left, height and width of the parts in pixels, float32 (B,) each. It is a part of the graph and has no state.
    """

    size: tuple[int, int]
    boxes: Callable[[tf.Tensor, tf.Tensor], Boxes]


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
    height, width, channels = contract.image_shape
    tall, wide = crops.size
    rows, columns = (_taps(side, size) for side, size in zip((height, width), crops.size, strict=True))

    def down(images: tf.Tensor, first: tf.Tensor, start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(images, (-1, height, width * channels))
        places, weights = rows(start, length)
        places = [tf.maximum(place - first[:, None], 0) for place in places]
        picked = [tf.cast(tf.gather(flat, place, batch_dims=1), tf.float32) for place in places]
        return tf.add_n([values * weight[:, :, None] for values, weight in zip(picked, weights, strict=True)])

    def across(images: tf.Tensor, start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        lines = tf.transpose(tf.reshape(images, (-1, tall, width, channels)), (0, 2, 1, 3))
        places, weights = columns(start, length)
        picked = [tf.gather(lines, place, batch_dims=1) for place in places]
        total = tf.add_n([values * weight[:, :, None, None] for values, weight in zip(picked, weights, strict=True)])
        return tf.cast(tf.round(tf.transpose(total, (0, 2, 1, 3))), tf.uint8)

    # Two functions, because XLA would compute the first pass again for each pixel of the second.
    first_pass, second_pass = (tf.function(f, jit_compile=True, autograph=False) for f in (down, across))
    decode = _decoder(contract)

    def read(encoded: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        top, left, part_height, part_width = crops.boxes(batch, tf.shape(encoded)[0])
        first, end = _window(top, part_height, tall, height)
        lines = first_pass(decode(encoded, first, end), first, top, part_height)
        return tf.ensure_shape(second_pass(lines, left, part_width), (encoded.shape[0], tall, wide, channels))

    return read


def _taps(side: int, size: int) -> Callable[[tf.Tensor, tf.Tensor], tuple[list[tf.Tensor], list[tf.Tensor]]]:
    """Returns a function that says how pixels of a result are made of a side.

    It takes start and length of the parts, float32 (B,). It gives places, int32 (B, size), and weights, float32
    (B, size), for each of the pixels that a pixel of the result can be made of. The weights sum to 1.
    """
    most = math.floor(2 * max(side / size, 1.0)) + 1  # pixels below the widest filter

    def taps(start: tf.Tensor, length: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        step = (length / size)[:, None]
        reach = tf.maximum(step, 1.0)
        centres = start[:, None] + (tf.range(size, dtype=tf.float32) + 0.5) * step
        lowest = tf.math.ceil(centres - reach - 0.5)
        places, weights = [], []
        for number in range(most):
            place = lowest + number
            weight = tf.maximum(0.0, 1.0 - tf.abs(centres - (place + 0.5)) / reach)
            weights.append(tf.where((place >= 0) & (place < side), weight, 0.0))
            places.append(tf.cast(tf.clip_by_value(place, 0, side - 1), tf.int32))
        total = tf.add_n(weights)
        return places, [weight / total for weight in weights]

    return taps


def _window(start: tf.Tensor, length: tf.Tensor, size: int, side: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the first row that is decoded for each part, and the end of them.

    Both are int32 (B,).
    """
    reach = tf.maximum(length / size, 1.0)
    first = tf.maximum(tf.floor(start - reach) - MARGIN, 0.0)
    end = tf.minimum(tf.math.ceil(start + length + reach) + MARGIN, float(side))
    return tf.cast(first, tf.int32), tf.cast(end, tf.int32)


def _decoder(contract: Contract) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function that decodes some rows of images.

    It maps encoded images, string (B,), the first row of each, and the row behind the last, int32 (B,), to uint8
    (B, H, W, C). These rows come first, and zeros follow. They are decoded over their whole width: to put narrower ones
    into a batch costs more than is saved.
    """
    height, width, channels = shape = contract.image_shape
    nothing = tf.zeros(shape, tf.uint8)

    def decoded(given: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        encoded, first, end = given
        size = tf.io.extract_jpeg_shape(encoded)[:2]
        # Rows of a higher image would be decoded without an error.
        check = tf.debugging.Assert(
            tf.reduce_all(size == (height, width)),
            [f"An image of a record should have {height}x{width} pixels, as the contract says. Received:", size],
        )
        with tf.control_dependencies([check] if check is not None else []):
            window = tf.stack([first, 0, end - first, width])
        pixels = tf.io.decode_and_crop_jpeg(encoded, window, channels=channels, dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(tf.concat([pixels, nothing[end - first :]], axis=0), shape)

    def decode(encoded: tf.Tensor, first: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(decoded, (encoded, first, end), fn_output_signature=tf.TensorSpec(shape, tf.uint8))

    return decode
