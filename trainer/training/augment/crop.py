"""Cuts a random part out of each training image and resizes it.

It runs on the device that trains. Of `jpeg` records the loader does the same with the same parts, so that it need not
decode whole images; the draws are here.

The parts are those of Szegedy et al. 2015, "Going deeper with convolutions": their share of the area is drawn evenly
from a range, and the ratio of their sides evenly by its logarithm from 3:4 to 4:3.
"""

from __future__ import annotations

import math

import tensorflow as tf

from pipelines.contract import Contract
from trainer.config import NO_CACHE, TrainConfig, TrainerError
from trainer.data.jpeg_crops import Boxes, Crops
from trainer.models import view
from trainer.training.augment.draws import Draws

RATIOS = (3 / 4, 4 / 3)  # width / height
ATTEMPTS = 10  # parts that are drawn for an image until one lies within it
SHAPE, PLACE = 0, 1  # streams of draws


def random_crop(images: tf.Tensor, scale: tuple[float, float], size: int | tuple[int, int], draws: Draws) -> tf.Tensor:
    """Returns a random part of each image, resized without aliasing.

    Args:
      images: float32 (B, H, W, C).
      scale: the least and the greatest share of the area.
      size: side of the result in pixels, or its height and width.
      draws: of the step.

    Returns:
      float32 (B, size, size, C), or (B, height, width, C).
    """
    height, width = images.shape[1:3]
    tall, wide = (size, size) if isinstance(size, int) else size
    sides = tf.tile(tf.constant([[height, width]], tf.float32), (tf.shape(images)[0], 1))
    top, left, rows, columns = boxes(sides, scale, draws)
    return view.resample(images, view.resampling(top, rows, tall, height), view.resampling(left, columns, wide, width))


def boxes(sides: tf.Tensor, scale: tuple[float, float], draws: Draws) -> Boxes:
    """Draws a part for each image.

    Of several attempts the first that lies within the image is taken. If none does, the part is the largest one in the
    centre whose ratio is in RATIOS.

    Args:
      sides: height and width of the images, float32 (count, 2).
      scale: the least and the greatest share of the area.
      draws: of the step.

    Returns:
      Top, left, height and width of the parts in pixels, float32 (count,) each.
    """
    count = tf.shape(sides)[0]
    height, width = tf.unstack(sides, axis=1)
    drawn = tf.reshape(draws.uniform(SHAPE, count, 2 * ATTEMPTS), (-1, ATTEMPTS, 2))
    area = (height * width)[:, None] * (scale[0] + (scale[1] - scale[0]) * drawn[..., 0])
    least, greatest = map(math.log, RATIOS)
    ratio = tf.exp(least + (greatest - least) * drawn[..., 1])
    rows, columns = tf.sqrt(area / ratio), tf.sqrt(area * ratio)  # (count, ATTEMPTS)
    inside = (rows <= height[:, None]) & (columns <= width[:, None])
    first = tf.argmax(tf.cast(inside, tf.int32), axis=1, output_type=tf.int32)  # 0 if none lies within
    found = tf.reduce_any(inside, axis=1)
    exact_height, exact_width = tf.unstack(tf.cast(sides, tf.float64), axis=1)
    ratio_within = tf.clip_by_value(exact_width / exact_height, *RATIOS)
    most_rows = tf.cast(tf.minimum(exact_height, exact_width / ratio_within), tf.float32)
    most_columns = tf.cast(tf.minimum(exact_width, exact_height * ratio_within), tf.float32)
    rows = tf.where(found, tf.gather(rows, first, batch_dims=1), most_rows)
    columns = tf.where(found, tf.gather(columns, first, batch_dims=1), most_columns)
    place = tf.where(found[:, None], draws.uniform(PLACE, count, 2), 0.5)
    return (height - rows) * place[:, 0], (width - columns) * place[:, 1], rows, columns


def in_loader(config: TrainConfig, contract: Contract) -> bool:
    """Tells whether the loader cuts training images, and not the device.

    The loader does so for `jpeg` records that it decodes anew in every epoch.
    """
    return config.crop_range() is not None and contract.encoding == "jpeg" and config.cache == NO_CACHE


def for_loader(config: TrainConfig, contract: Contract, replicas: range, size: int = 0) -> Crops | None:
    """Returns the parts that the loader cuts out of training images.

    It is None if the loader leaves images whole. Each device would draw parts of its own for its part of a batch, and
    these are what the loader draws.

    Args:
      config: the options.
      contract: of the dataset.
      replicas: the numbers of the devices that the batches of this process are divided among.
      size: side of the results in pixels, if it is not what --train-size ends with.
    """
    scale, shape = config.crop_range(), contract.image_shape[:2]
    if scale is None or not in_loader(config, contract):
        return None

    def drawn(step: tf.Tensor, sides: tf.Tensor) -> Boxes:
        records, found = tf.shape(sides)[0], []
        for number, replica in enumerate(replicas):  # as `distribution.divided` divides a batch
            own = sides[number * records // len(replicas) : (number + 1) * records // len(replicas)]
            found.append(boxes(own, scale, Draws(config.seed, step, replica)))
        top, left, rows, columns = (tf.concat(parts, axis=0) for parts in zip(*found, strict=True))
        return top, left, rows, columns

    side = size or config.view_size
    return Crops((side, side) if side else shape, drawn, RATIOS[1])


def check(config: TrainConfig, contract: Contract) -> list[str]:
    """Checks the options of crops against the dataset; returns warnings.

    Raises:
      TrainerError: --cache keeps only the centres of images that are stored whole.
    """
    if not contract.is_uneven:
        return []
    side = contract.image_shape[0]
    if config.crop_range() is None:
        return [
            f"The images of this dataset are stored whole, and the network is trained on centres of {side}x{side}: "
            "--train-size or --crop-scale trains it on parts of all of them."
        ]
    if config.cache != NO_CACHE:
        raise TrainerError(
            f"--cache {config.cache} keeps images of one size, and those of this dataset have sizes of their own. "
            "Leave it out to train on crops, or give --crop-scale none to train on the centres."
        )
    return []
