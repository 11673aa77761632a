"""Shows a network a square part of each stored image, at a size of its own.

With --train-size the stored images are larger than the input of the network. In training the network gets random crops.
Everywhere else it gets the view: the image is resized so that its shorter side has a fixed length, and the centre is
cut out. The view is made by operations of Keras in front of the network. So the saved model takes the stored images of
the contract, and evaluation, export and predict need no rule of their own.
"""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf
from keras import layers, ops

from pipelines.contract import Contract
from trainer.config import TrainerError

CENTRE = "view_centre"  # name of the layer in front of the network
MARGIN = 8 / 7  # shorter side of the resized image / side of its centre: 256 to 224, as is usual for ImageNet


def contract_of_view(contract: Contract, size: int) -> Contract:
    """Returns the contract of what the network sees.

    Args:
      contract: of the dataset.
      size: side of the view in pixels; 0 for stored images.

    Raises:
      TrainerError: the stored images are smaller than the view.
    """
    if not size:
        return contract
    height, width, channels = contract.image_shape
    if size > min(height, width):
        raise TrainerError(
            f"--train-size should be at most the shorter side of the stored images, {min(height, width)}. Received: "
            f"{size}. Prepare larger images, such as --size {round(size * MARGIN)}x{round(size * MARGIN)}."
        )
    return dataclasses.replace(contract, image_shape=(size, size, channels))


def resized_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Returns height and width of the resized image that a view is the centre of.

    The shorter side is MARGIN times the view. It is never longer than that of the stored image.
    """
    shorter = min(height, width)
    target = min(shorter, round(size * MARGIN))
    return round(height * target / shorter), round(width * target / shorter)


def viewed(network: keras.Model, contract: Contract) -> keras.Model:
    """Puts the operations that make the view in front of a network.

    Args:
      network: maps float32 (B, size, size, C) to its outputs.
      contract: of the stored images, float32 (B, H, W, C), which the result takes.

    Returns:
      The network itself if it takes the stored images whole.
    """
    size, (height, width, _) = int(network.inputs[0].shape[1]), contract.image_shape
    if (size, size) == (height, width):
        return network
    inputs = keras.Input(contract.image_shape, name="stored_image")
    images, shape = inputs, resized_shape(height, width, size)
    if shape != (height, width):
        # The layers Resizing and CenterCrop would call all layers behind them as in training, where nothing is said.
        images = ops.image.resize(images, shape, antialias=True)
    images = layers.Cropping2D([_margins(side, size) for side in shape], name=CENTRE, dtype="float32")(images)
    return keras.Model(inputs, network(images), name=f"{network.name}_view")


def core(network: keras.Model) -> keras.Model:
    """Returns the network behind a view, or the network itself without one."""
    return network.layers[-1] if any(layer.name == CENTRE for layer in network.layers) else network


def shown(network: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """Returns what `core(network)` sees of stored images, float32 (B, H, W, C).

    It gives the values of those operations by products of matrices, which TFLite and ONNX have, too: neither has a
    resizing with antialiasing.
    """
    inner = core(network)
    if inner is network:
        return images
    return central(images, int(inner.inputs[0].shape[1]))


def central(images: tf.Tensor, size: int) -> tf.Tensor:
    """Returns the view of stored images.

    float32 (B, H, W, C) -> float32 (B, size, size, C).
    """
    height, width = images.shape[1:3]
    tall, wide = resized_shape(height, width, size)
    rows = resampling(*_part(_margins(tall, size)[0], size, height / tall), size, height)
    columns = resampling(*_part(_margins(wide, size)[0], size, width / wide), size, width)
    return resample(images, rows, columns)


def resampling(start: tf.Tensor, length: tf.Tensor, size: int, side: int) -> tf.Tensor:
    """Returns the matrices that resample a part of a side to `size` pixels.

    The filter is linear interpolation, widened by the factor of reduction so that nothing is aliased: the same as
    `tf.image.resize` with `antialias`.

    Args:
      start, length: float32 (B,), of the part, in pixels.
      size: pixels of the result.
      side: pixels of the side.

    Returns:
      float32 (B, size, side); each row sums to 1.
    """
    step = (length / size)[:, None]
    centres = start[:, None] + (tf.range(size, dtype=tf.float32) + 0.5) * step
    distance = tf.abs(centres[:, :, None] - (tf.range(side, dtype=tf.float32) + 0.5))
    weights = tf.maximum(0.0, 1.0 - distance / tf.maximum(step, 1.0)[:, :, None])
    return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)


def resample(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Resamples images along both sides.

    Args:
      images: float32 (B, H, W, C).
      rows: float32 (B, h, H), or (1, h, H) for all images.
      columns: float32 (B, w, W), or (1, w, W) for all images.

    Returns:
      float32 (B, h, w, C).
    """
    height, width, channels = images.shape[1:]
    tall, wide = rows.shape[1], columns.shape[1]
    found = tf.reshape(tf.matmul(rows, tf.reshape(images, (-1, height, width * channels))), (-1, tall, width, channels))
    turned = tf.reshape(tf.transpose(found, (0, 2, 1, 3)), (-1, width, tall * channels))
    found = tf.reshape(tf.matmul(columns, turned), (-1, wide, tall, channels))
    return tf.transpose(found, (0, 2, 1, 3))


def _margins(side: int, size: int) -> tuple[int, int]:
    """Returns how many pixels are cut off before and behind the centre of a side."""
    return (side - size) // 2, side - size - (side - size) // 2


def _part(first: int, size: int, factor: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns start and length of a part of a resized side.

    Both are in pixels of the stored side, float32 (1,).
    """
    return tf.constant([first * factor], tf.float32), tf.constant([size * factor], tf.float32)
