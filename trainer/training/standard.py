"""Applies the standard changes of training images.

Each is drawn for one record of one step, and the draws have no state (`draws.py`). What `augmentation.py` does comes
after these changes.
"""

from __future__ import annotations

import tensorflow as tf

from pipelines.contract import Contract
from trainer.config import TrainConfig
from trainer.models import view
from trainer.training.crop import random_crop
from trainer.training.draws import Draws


class Standard:
    """Changes the images of a batch as the options say."""

    def __init__(self, config: TrainConfig, contract: Contract) -> None:
        self._seed = config.seed
        self._stored = contract.image_shape[:2]
        self._size = (config.train_size, config.train_size) if config.train_size else self._stored
        self._scale = config.crop_range()

    def change(self, images: tf.Tensor, labels: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns the images that the network is trained on.

        Args:
          images: float32 (B, H, W, C), stored images, normalized.
          labels: int64 (B,), or float32 (B, K) of tasks without classes.
          step: int64 (), counted over all epochs.

        Returns:
          float32 (B, h, w, C), in the size of the network's input.
        """
        draws = Draws(self._seed, step)
        if self._scale is not None:
            return random_crop(images, self._scale, self._size, draws)
        return view.central(images, self._size[0]) if self._size != self._stored else images
