"""The optimizer: Adam, or AdamW with a weight decay, and its learning rate as a function of the step."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras.optimizers import schedules

from trainer.config import TrainConfig


def learning_rate(config: TrainConfig, steps: int) -> float | schedules.LearningRateSchedule:
    """Of each step of --learning-rate: a linear warm-up to it, then constant, or down to 0 on half a cosine.

    The cosine is that of Loshchilov and Hutter 2017, "SGDR", without restarts; the warm-up that of Goyal et al. 2017,
    "Accurate, Large Minibatch SGD". The steps of --freeze-epochs are not among these.

    Args:
      steps: of an epoch.
    """
    peak, total = config.learning_rate, (config.epochs - config.freeze_epochs) * steps
    warmup = round(config.warmup_epochs * steps)
    if config.schedule == "constant" and not warmup:
        return peak
    return schedules.CosineDecay(
        peak / (warmup + 1) if warmup else peak,  # never 0: a step that changes nothing is lost
        decay_steps=max(1, total - warmup),
        alpha=1.0 if config.schedule == "constant" else 0.0,
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )


def optimizer(config: TrainConfig, steps: int, variables: Sequence[keras.Variable]) -> keras.optimizers.Optimizer:
    """For all weights of a network; not yet built.

    Weight decay is decoupled from the gradient (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization"),
    multiplied by the learning rate, and only for kernels: biases and the scales of normalizations, which have one
    dimension, are left alone.
    """
    rate = learning_rate(config, steps)
    if not config.weight_decay:
        return keras.optimizers.Adam(rate, **_common(config))
    made = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, **_common(config))
    made.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    return made


def head_optimizer(config: TrainConfig) -> keras.optimizers.Optimizer:
    """For the head alone, while the rest is frozen: --head-learning-rate, constant."""
    rate = config.head_learning_rate or config.learning_rate
    return keras.optimizers.Adam(rate, global_clipnorm=config.clip_norm or None)


def _common(config: TrainConfig) -> dict[str, object]:
    return {
        "global_clipnorm": config.clip_norm or None,
        "use_ema": bool(config.ema),
        "ema_momentum": config.ema or 0.99,
    }
