"""Computes normalization and statistics of targets from exact sums.

The transform graph computes them with these functions. So does `kept_graphs.py`, which fills the sums of a run into a
graph of an earlier run.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from pipelines import contract
from pipelines.core.elements import Affine
from pipelines.job.transform.analysis_rows import PIXELS

# Deng et al.'s ImageNet statistics as torchvision and keras.applications ("torch" mode) state them, times 255.
IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
ZSCORE = "zscore"  # the only mode that depends on the data

Total = Callable[[str], tf.Tensor]  # column -> what the analysis finds in it, float64


def of_pixels(mode: str, channels: int, total: Total) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns float32 scale and offset (C,): normalized = pixel * scale + offset."""
    if mode != ZSCORE:
        return constant(fixed_affine(mode, channels))
    count, sums, squares = (total(name) for name in PIXELS)
    mean = sums / tf.maximum(count, 1.0)
    std = tf.sqrt(tf.maximum(squares / tf.maximum(count, 1.0) - mean * mean, 0.0))
    std = tf.where(std > 0.0, std, tf.ones_like(std))  # a constant channel becomes 0, not infinity
    return tf.cast(1.0 / std, tf.float32), tf.cast(-mean / std, tf.float32)


def of_targets(total: Total) -> dict[str, tf.Tensor]:
    """Returns "mean" and "std" of targets, float64 (K,).

    They are computed from the columns of `target_sums`.
    """
    least, greatest = total("target_least"), total("target_greatest")
    step = tf.pow(tf.constant(2.0, tf.float64), total("target_bits"))
    count = tf.maximum(total("target_count"), 1.0)
    mean = total("target_sum") / count
    squares = (total("target_square_high") * step + total("target_square_low")) / count
    unit = (greatest - least) / step
    std = tf.sqrt(tf.maximum(squares - mean * mean, 0.0)) * unit
    std = tf.where(std > 0.0, std, tf.ones_like(std))  # a constant target
    return {"mean": least + mean * unit, "std": std}


def constant(affine: Affine) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns a scale and an offset as float32 tensors (C,)."""
    scale, offset = affine
    return tf.constant(scale, tf.float32), tf.constant(offset, tf.float32)


def fixed_affine(mode: str, channels: int = 3) -> Affine:
    """Returns (scale, offset) of a mode that does not depend on the data."""
    if mode == "unit":
        return (1 / 255,) * channels, (0.0,) * channels
    if mode == "symmetric":
        return (1 / 127.5,) * channels, (-1.0,) * channels
    if mode == "imagenet" and channels == 3:
        pairs = zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)
        return tuple(1 / s for s in IMAGENET_STD), tuple(-m / s for m, s in pairs)
    if mode == "none":
        return (1.0,) * channels, (0.0,) * channels
    raise ValueError(f"normalize should be one of {', '.join(contract.NORMALIZATIONS)}. Received: {mode!r}")
