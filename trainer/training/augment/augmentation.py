"""Augments the images of each training batch on the device that trains.

The random numbers are drawn anew in every step. They come from Keras's seed generators, and every checkpoint holds the
states of these generators. Therefore two runs with the same seed agree, two epochs differ, and a resumed run draws the
same numbers as a run without an interruption.
"""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers, ops

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.core.text import listed
from trainer.config import TrainConfig, TrainerError

OPERATIONS = 2  # of RandAugment, one after another: its paper found this number good for most data sets


class Augmentation(layers.Layer):
    """Applies flip and RandAugment to each image, then mixup or cutmix to the batch.

    Mixup and cutmix blend images of a batch in pairs. RandAugment works on gray levels 0..255, because its operations
    brightness, solarize, posterize and equalize are defined on them. Therefore the layer undoes the normalization
    before RandAugment and applies it again afterwards. All other operations give the same result on normalized images.
    """

    def __init__(self, config: TrainConfig, contract: Contract) -> None:
        super().__init__(name="augmentation", dtype="float32")
        self._contract = contract
        some = chosen(config, contract) if config.augment_classes else None
        self._chosen = (
            None if some is None else tf.constant(some)
        )  # (C,) the classes that flip and RandAugment apply to
        self.flip = layers.RandomFlip("horizontal", seed=config.seed, dtype="float32") if config.flip else None
        self.rand_augment = self.mixup = self.cutmix = self.coin = None
        if config.rand_augment:
            if contract.image_shape[2] not in contracts.CHANNEL_ORDERS:
                raise TrainerError(
                    f"--rand-augment changes colours, and needs images of 1 or 3 channels. The dataset has "
                    f"{contract.image_shape[2]} ({', '.join(contract.channel_names)}). Use --flip, --mixup or --cutmix."
                )
            self.rand_augment = layers.RandAugment(
                (0, 255), OPERATIONS, config.rand_augment, seed=config.seed + 1, dtype="float32"
            )
        if config.mixup:
            self.mixup = layers.MixUp(config.mixup, seed=config.seed + 2, dtype="float32")
        if config.cutmix:  # both ends of the range: the weight then comes from Beta(cutmix, cutmix), as in the paper
            self.cutmix = layers.CutMix((config.cutmix, config.cutmix), seed=config.seed + 3, dtype="float32")
        if config.mixup and config.cutmix:
            self.coin = keras.random.SeedGenerator(config.seed + 4)

    def call(self, images: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the augmented images and targets, in the shapes of the arguments.

        Args:
          images: float32 (B, H, W, C), normalized.
          labels: int64 (B,), or float32 (B, K) of tasks without classes.
          targets: float32 (B, T).
        """
        changed = images
        if self.rand_augment is not None:
            pixels = self.rand_augment(gray_levels(self._contract, changed), training=True)
            changed = contracts.normalize(self._contract, pixels)
        if self.flip is not None:
            changed = self.flip(changed, training=True)
        if self._chosen is None:
            images = changed
        elif changed is not images:
            images = tf.where(tf.gather(self._chosen, labels)[:, None, None, None], changed, images)
        return self._mixed(images, targets)

    def _mixed(self, images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch = {"images": images, "labels": targets}
        made = [mix(dict(batch), training=True) for mix in (self.mixup, self.cutmix) if mix is not None]
        if not made:
            return images, targets
        if len(made) == 2:  # each step uses one of the two
            heads = keras.random.uniform((), seed=self.coin) < 0.5
            made = [{name: ops.where(heads, made[0][name], made[1][name]) for name in batch}]
        return made[0]["images"], made[0]["labels"]


def gray_levels(contract: Contract, images: tf.Tensor) -> tf.Tensor:
    """Converts normalized images (B, H, W, C) back to their 8-bit pixels.

    Returns:
      float32 (B, H, W, C), integers 0..255.
    """
    affine = contract.normalization
    width = images.shape[2]
    scale, offset = (tf.constant(values * width, tf.float32) for values in (affine.scale, affine.offset))
    # `contracts.normalize` gives the reason for this shape.
    rows = tf.reshape(images, (-1, images.shape[1], len(affine.scale) * width))
    return tf.clip_by_value(tf.round(tf.reshape((rows - offset) / scale, tf.shape(images))), 0.0, 255.0)


def chosen(config: TrainConfig, contract: Contract) -> list[bool]:
    """Tells for each class, by label id, whether changes of images apply to it.

    Crops apply to all classes. Flip, RandAugment, colours, rotation and erasing apply to the classes of
    --augment-classes, or to all classes without that option.

    Raises:
      TrainerError: --augment-classes names a class that the dataset does not have.
    """
    names = config.augmented_classes()
    unknown = [name for name in names if name not in contract.labels]
    if unknown:
        raise TrainerError(
            f"--augment-classes should be classes of the dataset ({listed(contract.labels, 20)}). "
            f"Received: {', '.join(unknown)}."
        )
    return [not names or label in names for label in contract.labels]


def warnings(config: TrainConfig) -> list[str]:
    """Returns a warning for options that work, but perhaps not as the user expects."""
    if config.augment_classes and (config.mixup or config.cutmix):
        return ["--augment-classes is for changes of single images; --mixup and --cutmix blend images of all classes."]
    return []
