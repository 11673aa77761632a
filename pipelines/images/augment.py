"""Draws the parameters of augmented copies from a hash and applies them to pixels.

Applying is pure arithmetic on the resized pixels. A copy differs from its original, unless all strengths are 0. Its
parameters depend on (seed, key, copy number) alone, so that every runner, number of workers and order of work draws
the same picture.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from pipelines.core import hashing

# Weights of ITU-R BT.601 luma: the gray value that a lower saturation moves a pixel towards.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclasses.dataclass(frozen=True)
class Parameters:
    """Holds one drawn augmentation.

    Lengths are fractions of the image's side, angles are in radians.
    """

    flip: bool
    angle: float
    shift_x: float
    shift_y: float
    zoom: float
    brightness: float  # gray levels to add
    contrast: float  # factor around 127.5
    saturation: float  # factor around luma
    erase: tuple[float, float, float, float] | None  # top, left, height, width


def draw(strengths: Mapping[str, float], seed: int, key: str, copy: int) -> Parameters:
    """Draws the parameters of copy number `copy` (1, 2, ...) of an image.

    `strengths` are those of `config.AUGMENT_DEFAULTS`; a missing name means 0. Python's Mersenne Twister is used
    because `random.random()` is documented to give the same sequence in every version.
    """
    rng = random.Random(hashing.position(seed, "augment", key, copy))

    def within(name: str, unit: float = 1.0) -> float:
        return (2 * rng.random() - 1) * strengths.get(name, 0.0) * unit

    parameters = Parameters(
        flip=rng.random() < 0.5 * strengths.get("flip", 0.0),
        angle=within("rotate", math.pi / 180),
        shift_x=within("shift"),
        shift_y=within("shift"),
        zoom=1 + within("scale"),
        brightness=within("brightness", 255.0),
        contrast=1 + within("contrast"),
        saturation=1 + within("color"),
        erase=None,
    )
    area = rng.random() * strengths.get("erase", 0.0)
    if area <= 0:
        return parameters
    height = min(1.0, math.sqrt(area) * (0.5 + rng.random()))
    width = min(1.0, area / height)
    box = (rng.random() * (1 - height), rng.random() * (1 - width), height, width)
    return dataclasses.replace(parameters, erase=box)


def apply(pixels: np.ndarray, p: Parameters) -> np.ndarray:
    """Applies an augmentation to uint8 (h, w, C) and returns uint8 of the same shape.

    The order is: geometry (bilinear, edges reflected), colour, rounding, erasing. Gray pixels have no saturation.
    """
    image = _move(pixels, p).astype(np.float32)
    if p.saturation != 1 and image.shape[-1] == 3:
        # The sum is written out: a matrix product would leave the order of additions to the BLAS library.
        gray = (image[..., 0] * _LUMA[0] + image[..., 1] * _LUMA[1] + image[..., 2] * _LUMA[2])[..., None]
        image = gray + (image - gray) * np.float32(p.saturation)
    image = (image - np.float32(127.5)) * np.float32(p.contrast) + np.float32(127.5 + p.brightness)
    out = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    if p.erase is not None:
        h, w = out.shape[:2]
        top, left = round(p.erase[0] * h), round(p.erase[1] * w)
        # The sides are rounded down, so that the erased area never exceeds the stated fraction.
        out[top : top + int(p.erase[2] * h), left : left + int(p.erase[3] * w)] = 127
    return out


def matrix(p: Parameters, height: int, width: int) -> list[float]:
    """Returns the eight numbers that map an output pixel to its source pixel.

    They are the argument of `ImageProjectiveTransformV3`. The mapping zooms and rotates around the image's centre,
    mirrors, and shifts.
    """
    cx, cy = (width - 1) / 2, (height - 1) / 2
    cos, sin = math.cos(p.angle) / p.zoom, math.sin(p.angle) / p.zoom
    mirror = -1.0 if p.flip else 1.0
    a, b, c, d = mirror * cos, mirror * -sin, sin, cos
    dx, dy = p.shift_x * width, p.shift_y * height
    return [a, b, cx - a * cx - b * cy + dx, c, d, cy - c * cx - d * cy + dy, 0.0, 0.0]


def _move(pixels: np.ndarray, p: Parameters) -> np.ndarray:
    height, width = pixels.shape[:2]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.constant(pixels[None], tf.float32),
        transforms=tf.constant([matrix(p, height, width)], tf.float32),
        output_shape=tf.constant([height, width]),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    return np.asarray(moved[0])
