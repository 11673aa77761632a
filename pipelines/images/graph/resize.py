"""Resizes 8-bit pixels to one size with TensorFlow ops.

The modes are stretch, crop, pad, none and shorter. A new mode is added here, and in the places that CONTRIBUTING.md
lists below "A resize mode".
"""

from __future__ import annotations

import tensorflow as tf

from pipelines.images.image_spec import ImageSpec


def resize(pixels: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    """Resizes uint8 (h, w, C) to uint8 (spec.height, spec.width, C).

    C is `spec.channels`. With "shorter" the result has the aspect of the image, and `centre` cuts it to that size.

    Resizing is antialiased. Values are rounded half to even and never truncated.
    """
    if spec.resize == "crop":
        pixels = crop_to_aspect(pixels, spec)
    if spec.resize in ("stretch", "crop"):
        resampled = _resample(pixels, (spec.height, spec.width), spec.filter)
        return tf.ensure_shape(resampled, (spec.height, spec.width, spec.channels))
    if spec.resize == "none":
        return _padded(_central(pixels, spec), spec)
    shape = tf.shape(pixels)
    if spec.is_uneven:
        resampled = _resample(pixels, _shortened(shape[0], shape[1], spec), spec.filter)
        return tf.ensure_shape(resampled, (None, None, spec.channels))
    if spec.resize == "pad":
        return _padded(_resample(pixels, _fitted(shape[0], shape[1], spec), spec.filter), spec)
    raise ValueError(f"{spec.resize!r} is no mode of resizing.")


def centre(pixels: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    """Cuts what a model sees out of an image that `resize` made.

    uint8 (h, w, C) -> uint8 (spec.height, spec.width, C). It changes images of one size in nothing.
    """
    return tf.ensure_shape(_central(pixels, spec), (spec.height, spec.width, spec.channels))


def _shortened(height: tf.Tensor, width: tf.Tensor, spec: ImageSpec) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the (height, width) whose shorter side is `spec.height`.

    The longer side keeps the aspect, and is rounded half up. All arithmetic is on integers.
    """
    sides = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    shorter = tf.minimum(*sides)
    tall, wide = (tf.cast((2 * side * spec.height + shorter) // (2 * shorter), tf.int32) for side in sides)
    return tall, wide


def _padded(small: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    """Centres pixels on a background of the target's size.

    Args:
      small: uint8 (h, w, C) of at most the target's size.
    """
    shape = tf.shape(small)
    height, width = shape[0], shape[1]
    top, left = (spec.height - height) // 2, (spec.width - width) // 2
    background = tf.constant(spec.padding, tf.uint8)
    paddings = [[top, spec.height - height - top], [left, spec.width - width - left], [0, 0]]
    inside = tf.pad(tf.ones_like(small[..., :1], tf.bool), paddings)
    padded = tf.where(inside, tf.pad(small, paddings), background)
    return tf.ensure_shape(padded, (spec.height, spec.width, spec.channels))


def rounded(values: tf.Tensor) -> tf.Tensor:
    # Averages of values in 0..255 stay in this range: `saturate_cast` would clip needlessly, at four times the cost.
    return tf.cast(tf.round(values), tf.uint8)


def _resample(pixels: tf.Tensor, size: tuple[int | tf.Tensor, int | tf.Tensor], filter_: str) -> tf.Tensor:
    return rounded(filtered(pixels, size, filter_))


def filtered(pixels: tf.Tensor, size: tuple[int | tf.Tensor, int | tf.Tensor], filter_: str) -> tf.Tensor:
    """Resamples uint8 (h, w, C) to float32 of the given size, not rounded."""
    if filter_ == "area":
        return tf.squeeze(tf.raw_ops.ResizeArea(images=tf.expand_dims(pixels, 0), size=size), 0)
    return tf.image.resize(pixels, size, method="bilinear", antialias=True)


def _fitted(height: tf.Tensor, width: tf.Tensor, spec: ImageSpec) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the largest (height, width) with the source's aspect inside the target.

    Sides are rounded half up, and are at least 1. All arithmetic is on integers.
    """
    h, w = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    tall = h * spec.width >= w * spec.height
    fit_h = tf.where(tall, tf.constant(spec.height, tf.int64), (2 * h * spec.width + w) // (2 * w))
    fit_w = tf.where(tall, (2 * w * spec.height + h) // (2 * h), tf.constant(spec.width, tf.int64))
    return tf.cast(tf.maximum(fit_h, 1), tf.int32), tf.cast(tf.maximum(fit_w, 1), tf.int32)


def _central(pixels: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    """Cuts out the centred window of at most the target's size."""
    h, w = tf.shape(pixels)[0], tf.shape(pixels)[1]
    keep_h, keep_w = tf.minimum(h, spec.height), tf.minimum(w, spec.width)
    top, left = (h - keep_h) // 2, (w - keep_w) // 2
    return pixels[top : top + keep_h, left : left + keep_w]


def crop_to_aspect(pixels: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    """Cuts out the largest centred window with the target's aspect.

    Its sides are integers, in source pixels.
    """
    h, w = tf.cast(tf.shape(pixels)[0], tf.int64), tf.cast(tf.shape(pixels)[1], tf.int64)
    tall = h * spec.width >= w * spec.height
    keep_h = tf.where(tall, (2 * w * spec.height + spec.width) // (2 * spec.width), h)
    keep_w = tf.where(tall, w, (2 * h * spec.width + spec.height) // (2 * spec.height))
    keep_h, keep_w = tf.clip_by_value(keep_h, 1, h), tf.clip_by_value(keep_w, 1, w)
    top, left = (h - keep_h) // 2, (w - keep_w) // 2
    return pixels[top : top + keep_h, left : left + keep_w]
