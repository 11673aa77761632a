"""Makes the data of the programs in programs.toml: drawn or random, always the same.

from load_data import digits
"""

import numpy as np

SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
STROKES = {
    "a": (0, 0, 0, 1),
    "b": (0, 1, 1, 1),
    "c": (1, 1, 2, 1),
    "d": (2, 0, 2, 1),
    "e": (1, 0, 2, 0),
    "f": (0, 0, 1, 0),
    "g": (1, 0, 1, 1),
}


def digits(count=3000, seed=0):
    """Draws digits: uint8 (count, 28, 28) of 0 to 255, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    rows, columns = np.mgrid[0:28, 0:28]
    images = np.zeros((count, 28, 28))
    for image, label in zip(images, labels, strict=True):
        top, left = rng.uniform(3, 7, 2)
        height, width, slant = rng.uniform(7, 9), rng.uniform(8, 12), rng.uniform(-0.25, 0.25)
        thickness = rng.uniform(0.8, 1.6)
        for name in SEGMENTS[label]:
            r0, c0, r1, c1 = STROKES[name]
            start = np.array([top + r0 * height, left + c0 * width - slant * (r0 - 1) * height])
            end = np.array([top + r1 * height, left + c1 * width - slant * (r1 - 1) * height])
            start, end = start + rng.normal(0, 0.6, 2), end + rng.normal(0, 0.6, 2)
            along = end - start
            place = np.clip(
                ((rows - start[0]) * along[0] + (columns - start[1]) * along[1]) / max(along @ along, 1e-6), 0, 1
            )
            distance = np.hypot(rows - start[0] - place * along[0], columns - start[1] - place * along[1])
            image[:] = np.maximum(image, np.clip(1.5 + thickness - distance, 0, 1))
    images = 255 * images * rng.uniform(0.7, 1, (count, 1, 1)) + rng.normal(0, 6, images.shape)
    return np.clip(images, 0, 255).astype("uint8"), labels


def photos(count=600, size=48, seed=0):
    """Draws discs (0) and squares (1) before a shaded ground: uint8 (count, size, size, 3), and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    rows, columns = np.mgrid[0:size, 0:size] / size
    images = np.zeros((count, size, size, 3))
    for image, label in zip(images, labels, strict=True):
        a, b = rng.uniform(-60, 60, 2)
        image[:] = (rng.uniform(60, 160, 3) + (a * rows + b * columns)[..., None]).clip(0, 255)
        y, x, radius = rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.65), rng.uniform(0.18, 0.3)
        if label:
            inside = np.maximum(np.abs(rows - y), np.abs(columns - x)) < radius
        else:
            inside = np.hypot(rows - y, columns - x) < radius * 1.1
        image[inside] = rng.uniform(120, 255, 3) if label else rng.uniform(20, 150, 3)
    images += rng.normal(0, 8, images.shape)
    return np.clip(images, 0, 255).astype("uint8"), labels


def flowers(count=150, seed=0):
    """Makes rows of four lengths in cm, of three kinds of flowers: float32 (count, 4), and their labels."""
    rng = np.random.default_rng(seed)
    means = np.array([[5.0, 3.4, 1.5, 0.25], [5.9, 2.8, 4.3, 1.3], [6.6, 3.0, 5.6, 2.0]])
    spread = np.array([[0.35, 0.38, 0.17, 0.1], [0.5, 0.3, 0.45, 0.2], [0.6, 0.32, 0.5, 0.27]])
    labels = rng.permutation(np.arange(count) % 3)
    return (means[labels] + rng.normal(0, 1, (count, 4)) * spread[labels]).astype("float32"), labels


def patients(count=768, seed=0):
    """Makes rows of eight measurements in their own units, and whether a patient is ill."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (count, 8))
    chance = 1 / (1 + np.exp(-3 * (values[:, 1] + 0.7 * values[:, 5] * values[:, 7] + 0.5 * values[:, 6]) + 1))
    means, spread = [3.8, 121, 69, 20, 80, 32, 0.47, 33], [2.0, 31, 19, 9, 40, 7.9, 0.2, 9]
    return (values * spread + means).astype("float32"), (rng.random(count) < chance).astype("int64")


def houses(count=506, seed=0):
    """Makes rows of thirteen facts on houses in their own units, and their prices in dollars."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (count, 13))
    price = 225 + 60 * values[:, 5] - 40 * values[:, 12] + 25 * values[:, 5] * values[:, 0] + rng.normal(0, 12, count)
    spread = np.array([8, 23, 6, 0.25, 0.1, 0.7, 28, 2, 8, 168, 2, 91, 7.0])
    means = np.array([3.6, 11, 11, 0.07, 0.55, 6.3, 68, 3.8, 9.5, 408, 18, 356, 12.6])
    return (values * spread + means).astype("float32"), (1000 * np.maximum(price, 20)).astype("float32")


def waves(count=1200, length=40, seed=0):
    """Makes noisy waves of three speeds: float32 (count, length, 1), and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    phase, time = rng.uniform(0, 6.28, (count, 1)), np.arange(length)
    speed = np.array([0.25, 0.6, 1.1])[labels][:, None] * rng.uniform(0.9, 1.1, (count, 1))
    return (np.sin(speed * time + phase) + rng.normal(0, 0.3, (count, length)))[..., None].astype("float32"), labels


def tags(count=2000, words=300, topics=8, seed=0):
    """Makes texts as counts of words, and the topics of each: several may be right. float32, both."""
    rng = np.random.default_rng(seed)
    right = (rng.random((count, topics)) < 0.3).astype("float32")
    rates = 0.05 + right @ (3.0 * (rng.random((topics, words)) < 0.03))
    return rng.poisson(rates).astype("float32"), right


def boards(count=4000, size=6, seed=0):
    """Makes boards of Conway's game of life, and each after one step: float32 (count, size * size), both."""
    rng = np.random.default_rng(seed)
    board = (rng.random((count, size, size)) < 0.4).astype("int64")
    padded = np.pad(board, ((0, 0), (1, 1), (1, 1)))
    around = sum(padded[:, r : r + size, c : c + size] for r in range(3) for c in range(3) if (r, c) != (1, 1))
    after = (around == 3) | ((board == 1) & (around == 2))
    return board.reshape(count, -1).astype("float32"), after.reshape(count, -1).astype("float32")
