"""Applies the standard changes of training images.

Each is drawn for one record of one step, and the draws have no state (`draws.py`). What `augmentation.py` does comes
after these changes.
"""

from __future__ import annotations

import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer.config import TrainConfig
from trainer.models import view
from trainer.training.augment import augmentation, changes
from trainer.training.augment.crop import in_loader, random_crop
from trainer.training.augment.draws import Draws


class Standard:
    """Changes the images of a batch as the options say.

    size: side of the results in pixels; 0 for that of the stored images. A compiled step keeps the size that it was
    compiled with.
    """

    def __init__(self, config: TrainConfig, contract: Contract, whole: bool = False) -> None:
        """Takes what the options say.

        Args:
          whole: True if images come whole in any case, also where the loader of a training would cut them.
        """
        self._seed = config.seed
        self._stored = contract.image_shape[:2]
        self.size = config.view_size
        self._scale = config.crop_range()
        self._is_cut = in_loader(config, contract) and not whole
        self._contract = contract
        self._jitter, self._rotate, self._erase = config.color_jitter, config.rotate, config.random_erasing
        self._chosen = tf.constant(augmentation.chosen(config, contract)) if config.augment_classes else None

    def change(self, images: tf.Tensor, labels: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns the images that the network is trained on.

        Args:
          images: float32 (B, H, W, C), stored images, normalized; where the loader cuts them, (B, h, w, C).
          labels: int64 (B,), or float32 (B, K) of tasks without classes.
          step: int64 (), counted over all epochs.

        Returns:
          float32 (B, h, w, C), of `size`.
        """
        draws = Draws(self._seed, step)
        size = (self.size, self.size) if self.size else self._stored
        if self._is_cut:
            images = tf.ensure_shape(images, (None, *size, None))
        elif self._scale is not None:
            images = random_crop(images, self._scale, size, draws)
        elif size != self._stored:
            images = view.central(images, self.size)
        changed = self._changed(images, draws)
        if self._chosen is None or changed is images:
            return changed
        return tf.where(tf.gather(self._chosen, labels)[:, None, None, None], changed, images)

    def _changed(self, images: tf.Tensor, draws: Draws) -> tf.Tensor:
        """Turns images, changes their colours and covers parts of them.

        Colours and noise are defined on gray levels 0..255, so the normalization is undone before and repeated after.
        """
        if self._rotate:
            images = changes.rotate(images, self._rotate, draws)
        if not (self._jitter or self._erase):
            return images
        levels = augmentation.gray_levels(self._contract, images)
        if self._jitter:
            levels = changes.jitter(levels, self._jitter, draws)
        if self._erase:
            levels = changes.erase(levels, self._erase, draws)
        return contracts.normalize(self._contract, levels)
