"""Changes colours, turns images and covers parts of them.

Each function takes a batch and its draws, and has no state.
"""

from __future__ import annotations

import math

import tensorflow as tf

from trainer.training.augment.draws import Draws

COLOURS, ANGLE, WHETHER, PART, PIXELS = 2, 3, 4, 5, 6  # streams of draws; `crop` has those before
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in `prepare --channels 1`
ERASED_AREA, ERASED_RATIO = (0.02, 0.4), (0.3, 1 / 0.3)  # of Zhong et al. 2020


def jitter(levels: tf.Tensor, strength: float, draws: Draws) -> tf.Tensor:
    """Changes brightness, contrast and saturation by random factors.

    The factors are drawn for each image, from 1 - strength to 1 + strength. Brightness multiplies all levels, contrast
    their distance from the mean gray of the image, and saturation the distance of each pixel from its own gray. Images
    that have not three channels have no saturation, and their gray is the mean over the channels.

    Args:
      levels: float32 (B, H, W, C), 0..255.

    Returns:
      float32 of the same shape, 0..255.
    """
    brightness, contrast, saturation = tf.unstack(
        draws.uniform(COLOURS, tf.shape(levels)[0], 3, 1 - strength, 1 + strength)[:, :, None, None, None], axis=1
    )
    levels = levels * brightness
    mean = tf.reduce_mean(_gray(levels), axis=(1, 2), keepdims=True)
    levels = mean + (levels - mean) * contrast
    if levels.shape[-1] == 3:
        gray = _gray(levels)
        levels = gray + (levels - gray) * saturation
    return tf.clip_by_value(levels, 0.0, 255.0)


def rotate(images: tf.Tensor, degrees: float, draws: Draws) -> tf.Tensor:
    """Turns each image about its centre by an angle between -degrees and degrees.

    Pixels are interpolated linearly between their four neighbours. What comes from outside the image is its mirror
    image at the border.

    Args:
      images: float32 (B, H, W, C).

    Returns:
      float32 of the same shape.
    """
    height, width, channels = images.shape[1:]
    count = tf.shape(images)[0]
    angle = draws.uniform(ANGLE, count, 1, -math.radians(degrees), math.radians(degrees))[:, :, None]  # (B, 1, 1)
    down = (tf.range(height, dtype=tf.float32) - (height - 1) / 2)[None, :, None]
    right = (tf.range(width, dtype=tf.float32) - (width - 1) / 2)[None, None, :]
    rows = tf.cos(angle) * down - tf.sin(angle) * right + (height - 1) / 2
    columns = tf.sin(angle) * down + tf.cos(angle) * right + (width - 1) / 2
    top, left = tf.floor(rows), tf.floor(columns)
    flat = tf.reshape(images, (-1, height * width, channels))
    found = tf.zeros_like(images)
    for row, of_row in ((top, 1 - (rows - top)), (top + 1, rows - top)):
        for column, of_column in ((left, 1 - (columns - left)), (left + 1, columns - left)):
            place = _mirrored(row, height) * width + _mirrored(column, width)
            pixels = tf.gather(flat, tf.reshape(place, (-1, height * width)), batch_dims=1)
            found += tf.reshape(pixels, (-1, height, width, channels)) * (of_row * of_column)[..., None]
    return found


def erase(levels: tf.Tensor, probability: float, draws: Draws) -> tf.Tensor:
    """Covers a rectangle of some images with random levels.

    Its share of the area and its height / width are drawn as in Zhong et al. 2020, "Random Erasing Data Augmentation".
    A rectangle that is longer than a side of the image ends at the border.

    Args:
      levels: float32 (B, H, W, C), 0..255.
      probability: of an image to be covered.

    Returns:
      float32 of the same shape.
    """
    height, width, channels = levels.shape[1:]
    count = tf.shape(levels)[0]
    covered = draws.uniform(WHETHER, count, 1)[:, 0] < probability
    part = draws.uniform(PART, count, 4)
    area = height * width * (ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * part[:, 0])
    least, greatest = map(math.log, ERASED_RATIO)
    ratio = tf.exp(least + (greatest - least) * part[:, 1])
    rows = tf.minimum(tf.round(tf.sqrt(area * ratio)), float(height))
    columns = tf.minimum(tf.round(tf.sqrt(area / ratio)), float(width))
    vertical = _within(part[:, 2], rows, height)[:, :, None]
    horizontal = _within(part[:, 3], columns, width)[:, None, :]
    inside = vertical & horizontal & covered[:, None, None]
    noise = tf.reshape(draws.uniform(PIXELS, count, height * width * channels, 0.0, 255.0), tf.shape(levels))
    return tf.where(inside[..., None], noise, levels)


def _gray(levels: tf.Tensor) -> tf.Tensor:
    """Returns the gray levels of images (B, H, W, C), float32 (B, H, W, 1)."""
    if levels.shape[-1] == 3:
        return tf.reduce_sum(levels * tf.constant(LUMA), axis=-1, keepdims=True)
    return tf.reduce_mean(levels, axis=-1, keepdims=True)


def _mirrored(places: tf.Tensor, side: int) -> tf.Tensor:
    """Returns places on a side, float32 whole numbers, as indices 0..side - 1, int32.

    Outside, the image goes on as its mirror image, which begins with the pixel at the border.
    """
    period = tf.math.floormod(tf.cast(places, tf.int32), 2 * side)
    return tf.minimum(period, 2 * side - 1 - period)


def _within(start: tf.Tensor, length: tf.Tensor, side: int) -> tf.Tensor:
    """Returns which pixels of a side lie in a part of it, bool (B, side).

    Args:
      start: float32 (B,), 0..1, of the places where the part can begin.
      length: float32 (B,), whole pixels.
    """
    first = tf.floor(start * (side - length + 1))[:, None]
    pixels = tf.range(side, dtype=tf.float32)
    return (pixels >= first) & (pixels < first + length[:, None])
