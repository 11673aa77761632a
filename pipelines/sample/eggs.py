"""Paints photographs of hens' eggs, sound or cracked, for the sample data.

No global property reveals the class: shell colour, ground, light, contrast, blur, position, size and rotation are drawn
alike for both classes, and hairs and bits of straw (smooth lines as dark and as thin as a crack) lie on the eggs of
both. The classes differ in the shape of the line: a crack is jagged and branches, and ends at the shell's rim.

Pixels come from NumPy's frozen RandomState stream by + - * / and sqrt, which every processor rounds alike.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Plane = NDArray[np.float32]  # (H, W), or (H, W, 3) RGB, about 0..1
Points = list[tuple[float, float]]

SHELLS = np.array(
    ((0.95, 0.93, 0.88), (0.90, 0.78, 0.62), (0.72, 0.48, 0.33), (0.58, 0.36, 0.25), (0.72, 0.80, 0.76)), np.float32
)
STRAW = np.array(((0.80, 0.68, 0.40), (0.55, 0.42, 0.22), (0.30, 0.22, 0.14)), np.float32)
WOOD, PULP, STEEL, DIRT = np.array(
    ((0.62, 0.42, 0.26), (0.62, 0.60, 0.55), (0.80, 0.84, 0.88), (0.35, 0.27, 0.18)), np.float32
)


@dataclasses.dataclass(frozen=True)
class Egg:
    """Describes the position and the shape of an egg, in pixels and radians.

    `taper` makes one end blunter than the other.
    """

    x: float
    y: float
    long: float
    short: float
    turn: float
    taper: float

    def place(self, u: float, v: float) -> tuple[float, float]:
        """Converts (u, v) in the egg's own frame to (x, y) in the image.

        In the egg's frame, the rim is the unit circle.
        """
        c, s = math.cos(self.turn), math.sin(self.turn)
        a, b = u * self.long, v * self.short * (1 + self.taper * u)
        return self.x + a * c - b * s, self.y + a * s + b * c


def photograph(rng: np.random.RandomState, height: int, width: int, cracked: bool) -> tuple[Plane, Plane]:
    """Paints one photograph and the mask of its egg.

    Returns:
      The photograph, float32 (H, W, 3) in 0..1, and the mask, float32 (H, W) in 0..1.
    """
    egg = _lay(rng, height, width)
    image = GROUNDS[rng.randint(len(GROUNDS))](rng, height, width)
    light = rng.uniform(-0.6, 0.6, 2)
    mask, normal_z, lit = _shade(egg, height, width, light)
    shadow, _, _ = _shade(
        dataclasses.replace(egg, x=egg.x - light[0] * egg.short * 0.35, y=egg.y - light[1] * egg.short * 0.35),
        height,
        width,
        light,
    )
    image *= (1 - shadow * rng.uniform(0.2, 0.6))[..., None]
    skin = _skin(rng, egg, height, width) * (0.45 + 0.25 * normal_z + rng.uniform(0.25, 0.45) * lit)[..., None]
    if cracked:
        skin *= (1 - _lines(_crack(rng, egg), height, width) * rng.uniform(0.4, 0.65))[..., None]
    image += (skin - image) * mask[..., None]
    for _ in range(rng.randint(0, 2)):  # hairs and straw on eggs of both classes
        line = _lines(_hair(rng, egg), height, width) * rng.uniform(0.5, 0.9)
        image += (STRAW[rng.randint(3)] * rng.uniform(0.3, 1.1) - image) * line[..., None]
    return _expose(rng, image), mask


def _lay(rng: np.random.RandomState, height: int, width: int) -> Egg:
    side = min(height, width)
    long = side * rng.uniform(0.44, 0.56)
    x, y = (rng.uniform(min(long * 0.9, n / 2), max(n - long * 0.9, n / 2)) for n in (width, height))
    return Egg(x, y, long, long * rng.uniform(0.68, 0.82), rng.uniform(0, 2 * math.pi), rng.uniform(0.08, 0.2))


def _shade(egg: Egg, height: int, width: int, light: NDArray[np.float64]) -> tuple[Plane, Plane, Plane]:
    """Computes the egg's mask with a soft edge, its surface height and its light.

    Each result is (H, W) in 0..1.
    """
    x = np.arange(width, dtype=np.float32)[None, :] - np.float32(egg.x)
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(egg.y)
    c, s = np.float32(math.cos(egg.turn)), np.float32(math.sin(egg.turn))
    u = (x * c + y * s) / np.float32(egg.long)
    v = (y * c - x * s) / (np.float32(egg.short) * np.maximum(1 + np.float32(egg.taper) * u, np.float32(0.3)))
    square = u * u + v * v
    mask: Plane = np.clip((1 - square) * np.float32(egg.short / 2), 0, 1)  # about one pixel wide
    z: Plane = np.sqrt(np.maximum(1 - square, 0))
    a, b = light[0] * c + light[1] * s, light[1] * c - light[0] * s
    lit: Plane = np.clip(u * np.float32(a) + v * np.float32(b) + z * np.float32(0.7), 0, 1)
    return mask, z, lit


def _noise(rng: np.random.RandomState, height: int, width: int, rows: float, columns: float) -> Plane:
    """Makes smooth noise in about 0..1, of shape (H, W).

    `rows` x `columns` random cells are stretched over the image.
    """
    cells = rng.random_sample((max(2, int(rows)), max(2, int(columns)))).astype(np.float32)
    return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC))


def _skin(rng: np.random.RandomState, egg: Egg, height: int, width: int) -> Plane:
    skin: Plane = SHELLS[rng.randint(len(SHELLS))] * (0.9 + 0.2 * _noise(rng, height, width, 4, 4))[..., None]
    if rng.random_sample() < 0.5:  # speckles
        grain = _noise(rng, height, width, height / egg.short * 24, width / egg.short * 24)
        spots = np.clip((grain - np.float32(rng.uniform(0.75, 0.9))) * 8, 0, 1) * np.float32(rng.uniform(0.2, 0.6))
        skin *= (1 - spots)[..., None]
    if rng.random_sample() < 0.4:  # a smudge of dirt
        dirt = np.clip((_noise(rng, height, width, 5, 5) - np.float32(0.7)) * 3, 0, 0.7)
        skin += (DIRT - skin) * dirt[..., None]
    return skin


def _crack(rng: np.random.RandomState, egg: Egg) -> tuple[list[Points], float]:
    """Makes jagged lines with branches, from near the middle of the shell outwards.

    Returns:
      The lines and their width in pixels.
    """
    heading = rng.uniform(0, 2 * math.pi)
    start = (rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3))
    trunks = [_walk(rng, start, heading + turn, 0.13, 9) for turn in (0.0, math.pi + rng.uniform(-0.6, 0.6))]
    branches = [
        _walk(rng, trunk[rng.randint(1, 6)], heading + rng.choice((-1, 1)) * rng.uniform(0.7, 1.4) + side, 0.12, 6)
        for side, trunk in ((0.0, trunks[0]), (math.pi, trunks[1]))
    ]
    lines = [[egg.place(u, v) for u, v in line] for line in trunks + branches]
    return lines, egg.short * rng.uniform(0.08, 0.12)


def _walk(rng: np.random.RandomState, start: tuple[float, float], heading: float, step: float, steps: int) -> Points:
    points = [start]
    for i in range(steps):
        turn = heading + (1 if i % 2 else -1) * rng.uniform(0.3, 0.9)
        length = step * rng.uniform(0.6, 1.3)
        u, v = points[-1]
        points.append((u + length * math.cos(turn), v + length * math.sin(turn)))
    return points


def _hair(rng: np.random.RandomState, egg: Egg) -> tuple[list[Points], float]:
    """Makes one smooth arc across the egg and over its rim.

    Returns:
      The line and its width in pixels.
    """
    (au, av), (bu, bv), (cu, cv) = rng.uniform(-1.3, 1.3, (3, 2))
    arc = []
    for i in range(25):
        t = i / 24
        p, q, r = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
        arc.append(egg.place(p * au + q * bu + r * cu, p * av + q * bv + r * cv))
    return [arc], egg.short * rng.uniform(0.03, 0.07)


def _lines(drawing: tuple[list[Points], float], height: int, width: int) -> Plane:
    """Draws antialiased lines as a mask, float32 (H, W) in 0..1.

    They are drawn at twice the size and halved.
    """
    lines, thickness = drawing
    canvas = Image.new("L", (width * 2, height * 2))
    pen = ImageDraw.Draw(canvas)
    for line in lines:
        pen.line([(round(x * 2), round(y * 2)) for x, y in line], fill=255, width=max(2, round(thickness * 2)))
    return np.asarray(canvas.reduce(2), dtype=np.float32) * np.float32(1 / 255)


def _wood(rng: np.random.RandomState, height: int, width: int) -> Plane:
    grain = 0.65 + 0.35 * _noise(rng, height, width, 3, width / 4) * _noise(rng, height, width, 2, 8)
    image: Plane = WOOD * (grain * np.float32(rng.uniform(0.7, 1.2)))[..., None]
    return image


def _felt(rng: np.random.RandomState, height: int, width: int) -> Plane:
    color = rng.uniform(0.15, 0.7, 3).astype(np.float32)
    return color * (0.8 + 0.4 * _noise(rng, height, width, height / 3, width / 3))[..., None]


def _carton(rng: np.random.RandomState, height: int, width: int) -> Plane:
    pulp = 0.6 + 0.4 * _noise(rng, height, width, 3, 3) + 0.12 * _noise(rng, height, width, height / 2, width / 2)
    image: Plane = PULP * pulp[..., None]
    return image


def _rollers(rng: np.random.RandomState, height: int, width: int) -> Plane:
    along = np.arange(width, dtype=np.float32) * np.float32(rng.uniform(3, 7) / width) + np.float32(rng.random_sample())
    profile = 2 * (along - np.floor(along)) - 1
    steel = np.repeat((0.2 + 0.6 * (1 - profile * profile))[None, :], height, axis=0)
    image: Plane = STEEL * (steel + 0.1 * _noise(rng, height, width, height / 4, 3))[..., None]
    return image


def _straw(rng: np.random.RandomState, height: int, width: int) -> Plane:
    canvas = Image.new("RGB", (width, height), (70, 52, 30))
    pen = ImageDraw.Draw(canvas)
    side = min(height, width)
    for _ in range(70):
        x, y, dx, dy = rng.random_sample(4) * (width, height, side, side) - (0, 0, side / 2, side / 2)
        shade = 255 * STRAW[rng.randint(2)] * rng.uniform(0.6, 1.1)
        ends = [(round(x - dx), round(y - dy)), (round(x + dx), round(y + dy))]
        pen.line(ends, fill=(int(shade[0]), int(shade[1]), int(shade[2])), width=max(1, side // 40))
    return np.asarray(canvas, dtype=np.float32) * np.float32(1 / 255)


GROUNDS: tuple[Callable[[np.random.RandomState, int, int], Plane], ...] = (_wood, _felt, _carton, _rollers, _straw)


def _expose(rng: np.random.RandomState, image: Plane) -> Plane:
    """Applies light, contrast, colour cast and sensor noise to an image.

    They are drawn alike for both classes.
    """
    gain = np.float32(rng.uniform(0.45, 1.15)) * rng.uniform(0.9, 1.1, 3).astype(np.float32)
    fog = np.float32(rng.uniform(0, 0.2))
    height, width = image.shape[:2]
    falloff = np.float32(1) - np.float32(rng.uniform(0, 0.5)) * _noise(rng, height, width, 2, 2)
    noise = rng.random_sample((height, width)).astype(np.float32) - np.float32(0.5)
    image = image * (gain * (1 - fog)) * falloff[..., None] + fog
    return np.clip(image + noise[..., None] * np.float32(rng.uniform(0.01, 0.06)), 0, 1)
