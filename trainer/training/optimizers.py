"""Creates the optimizer and its learning rate as a function of the step.

The optimizer is Adam or AdamW, gradient descent with Nesterov's momentum, or LAMB. Layers below the head may have
lower rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
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


def optimizer(
    config: TrainConfig, steps: int, variables: Sequence[keras.Variable], depths: Mapping[int, float]
) -> keras.optimizers.Optimizer:
    """Creates the optimizer for all weights of a network, without building it.

    With --lowest-rate R, a weight of depth d gets the rate R ** (1 - d), so rates rise by an equal factor from layer to
    layer. Weight decay is decoupled from the gradient (Loshchilov and Hutter 2019, "Decoupled Weight Decay
    Regularization") and multiplied by the learning rate. It applies to kernels only. Biases and the scales of
    normalizations, which have one dimension, do not decay.

    Args:
      config: the options.
      steps: number of steps of an epoch.
      variables: the trainable weights of the network, in the order in which the optimizer will be built.
      depths: of `backbone.depths`.
    """
    rate, decay = learning_rate(config, steps), config.weight_decay or None
    if config.lowest_rate < 1:
        made = _plain(config, rate, None)
        factors = [config.lowest_rate ** (1 - depths.get(id(v), 1.0)) for v in variables]
        _grade(made, factors, config.weight_decay)
        return made
    made = _plain(config, rate, decay)
    if decay:
        made.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    return made


def head_optimizer(config: TrainConfig) -> keras.optimizers.Optimizer:
    """Creates the optimizer for the head while all other layers are frozen.

    Its learning rate is --head-learning-rate, constant.
    """
    rate = config.head_learning_rate or config.learning_rate
    common = {"global_clipnorm": config.clip_norm or None}
    return _of_kind(config, rate, common)


def _plain(
    config: TrainConfig, rate: float | schedules.LearningRateSchedule, decay: float | None
) -> keras.optimizers.Optimizer:
    """Creates an optimizer in which all weights have one rate."""
    if config.optimizer == "adam" and decay:
        return keras.optimizers.AdamW(rate, weight_decay=decay, **_common(config))
    return _of_kind(config, rate, _common(config) | ({"weight_decay": decay} if decay else {}))


def _of_kind(
    config: TrainConfig, rate: float | schedules.LearningRateSchedule, common: dict[str, Any]
) -> keras.optimizers.Optimizer:
    """Creates an optimizer of the kind of --optimizer.

    Nesterov's momentum is that of Sutskever et al. 2013, and LAMB that of You et al. 2020, "Large Batch Optimization
    for Deep Learning". Keras leaves the weight decay out of LAMB's ratio.
    """
    if config.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=config.momentum, nesterov=config.momentum > 0, **common)
    return (keras.optimizers.Lamb if config.optimizer == "lamb" else keras.optimizers.Adam)(rate, **common)


def _grade(made: keras.optimizers.Optimizer, factors: Sequence[float], decay: float) -> None:
    """Multiplies the learning rate of each weight by a factor, and that of its decay.

    Scaled gradients would not do: Adam's step does not depend on their size. Keras updates one weight at a time.
    """
    update = made.update_step

    def step(gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        own = tf.cast(learning_rate, variable.dtype) * factors[made._get_variable_index(variable)]
        if decay and len(variable.shape) > 1:
            variable.assign_sub(variable * (decay * own))
        update(gradient, variable, own)

    made.update_step = step


def _common(config: TrainConfig) -> dict[str, Any]:
    return {
        "global_clipnorm": config.clip_norm or None,
        "use_ema": bool(config.ema),
        "ema_momentum": config.ema or 0.99,
    }
