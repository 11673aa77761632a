"""Creates the optimizer and its learning rate as a function of the step.

The optimizer is Adam, or AdamW if there is a weight decay.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras.optimizers import schedules

from trainer.config import TrainConfig


def learning_rate(config: TrainConfig, steps: int) -> float | schedules.LearningRateSchedule:
    """Returns the learning rate or its schedule, with --learning-rate as the peak.

    A linear warm-up leads to the peak. After it the rate is constant, or falls to 0 on half a cosine. The cosine is
    that of Loshchilov and Hutter 2017, "SGDR", without restarts; the warm-up is that of Goyal et al. 2017, "Accurate,
    Large Minibatch SGD". The schedule does not count the steps of --freeze-epochs.

    Args:
      config: the options.
      steps: number of steps of an epoch.
    """
    peak, total = config.learning_rate, (config.epochs - config.freeze_epochs) * steps
    warmup = round(config.warmup_epochs * steps)
    if config.schedule == "constant" and not warmup:
        return peak
    return schedules.CosineDecay(
        peak / (warmup + 1) if warmup else peak,  # not 0: a step at rate 0 changes nothing
        decay_steps=max(1, total - warmup),
        alpha=1.0 if config.schedule == "constant" else 0.0,
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )


def optimizer(config: TrainConfig, steps: int, variables: Sequence[keras.Variable]) -> keras.optimizers.Optimizer:
    """Creates the optimizer for all weights of a network, without building it.

    Weight decay is decoupled from the gradient (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization")
    and multiplied by the learning rate. It applies to kernels only. Biases and the scales of normalizations, which have
    one dimension, do not decay.

    Args:
      config: the options.
      steps: number of steps of an epoch.
      variables: the trainable weights of the network.
    """
    rate = learning_rate(config, steps)
    if not config.weight_decay:
        return keras.optimizers.Adam(rate, **_common(config))
    made = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, **_common(config))
    made.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    return made


def head_optimizer(config: TrainConfig) -> keras.optimizers.Optimizer:
    """Creates the optimizer for the head while all other layers are frozen.

    Its learning rate is --head-learning-rate, constant.
    """
    rate = config.head_learning_rate or config.learning_rate
    return keras.optimizers.Adam(rate, global_clipnorm=config.clip_norm or None)


def _common(config: TrainConfig) -> dict[str, object]:
    return {
        "global_clipnorm": config.clip_norm or None,
        "use_ema": bool(config.ema),
        "ema_momentum": config.ema or 0.99,
    }
