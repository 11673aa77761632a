"""Computes features of images for simple classifiers: colors, layout and edges."""

from __future__ import annotations

import numpy as np
from PIL import Image

from trainer.doctor.clock import Clock

SIDE = 32
CELLS = 4  # cells along a side of the image, for the directions of edges
DIRECTIONS = 9
LEVELS = 4  # levels of each color channel


def thumbnails(images: np.ndarray, clock: Clock, side: int = SIDE) -> np.ndarray:
    """Scales images (N, H, W, C) of any range to float32 (N, side, side, 3) in 0..1.

    The 0.1 and 99.9 % percentiles of the first 256 images become 0 and 1. Images with channels first are transposed.
    Gray images get three equal channels.
    """
    if images.shape[-1] not in (1, 3, 4) and images.shape[1] in (1, 3, 4):
        images = np.moveaxis(images, 1, -1)
    part = np.nan_to_num(images[:256].astype(np.float32), posinf=0, neginf=0)
    low, high = np.percentile(part, [0.1, 99.9])
    found = np.empty((len(images), side, side, 3), np.float32)
    for i, image in enumerate(images):
        values = (np.nan_to_num(image.astype(np.float32), posinf=0, neginf=0) - low) / max(high - low, 1e-12)
        pixels = np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)
        pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, axis=-1)
        found[i] = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX), np.float32) / 255
        if i % 128 == 0:
            clock.check()
    return found


def describe(small: np.ndarray) -> np.ndarray:
    """Computes float64 (N, features) from thumbnails (N, SIDE, SIDE, 3).

    Each feature has mean 0 and a standard deviation of at most 1. The features are a coarse picture, a histogram of
    colors, and histograms of gradient directions in cells (Dalal and Triggs 2005, "Histograms of oriented gradients").
    """
    n = len(small)
    coarse = small.reshape(n, 8, SIDE // 8, 8, SIDE // 8, 3).mean(axis=(2, 4)).reshape(n, -1)
    parts = [coarse, 2 * np.sqrt(_colors(small)), 2 * _edges(small)]
    found = np.concatenate([part.astype(np.float64) for part in parts], axis=1)
    found -= found.mean(axis=0)
    return found / np.maximum(found.std(axis=0), 1e-6 + 0.05 * found.std())


def _colors(small: np.ndarray) -> np.ndarray:
    """Returns the shares of pixels in LEVELS**3 boxes of color: (N, 64)."""
    boxes = np.minimum((small * LEVELS).astype(np.int64), LEVELS - 1)
    code = (boxes[..., 0] * LEVELS + boxes[..., 1]) * LEVELS + boxes[..., 2]
    return np.stack([np.bincount(c.ravel(), minlength=LEVELS**3) for c in code]) / (SIDE * SIDE)


def _edges(small: np.ndarray) -> np.ndarray:
    """Returns the gradient energy by direction in each cell, normalized by image.

    The shape is (N, CELLS * CELLS * DIRECTIONS).
    """
    gray = small.mean(axis=-1)
    dy, dx = np.gradient(gray, axis=1), np.gradient(gray, axis=2)
    strength = np.hypot(dx, dy)
    direction = np.minimum((np.mod(np.arctan2(dy, dx), np.pi) / np.pi * DIRECTIONS).astype(int), DIRECTIONS - 1)
    cell = SIDE // CELLS
    found = np.zeros((len(small), CELLS, CELLS, DIRECTIONS))
    for k in range(DIRECTIONS):
        energy = np.where(direction == k, strength, 0)
        found[..., k] = energy.reshape(len(small), CELLS, cell, CELLS, cell).sum(axis=(2, 4))
    flat = found.reshape(len(small), -1)
    return np.sqrt(flat / np.maximum(flat.sum(axis=1, keepdims=True), 1e-9))
