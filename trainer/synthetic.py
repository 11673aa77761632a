"""A training step of known cost: products of one fixed matrix, as many as asked for, inside one compiled function.

It stands for a device of any speed. On a machine without a GPU it keeps one core busy, and sleeps nowhere: what the
loader then has is what the step leaves.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import tensorflow as tf

CPU_SIDE = 128  # a product in tens of microseconds: fine steps of cost
GPU_SIDE = 2048  # large enough for a GPU to be busy with, and not with launching
CALIBRATION_SECONDS = 0.03  # a step this long is timed well on any machine
STEPS = 7  # timed to take a median


class MatrixStep:
    """`step(batch)` multiplies `repeats` times and looks at every image of the batch; returns when that is done."""

    def __init__(self, side: int) -> None:
        """`side`: of the square float32 matrix."""
        self.side = side
        self.repeats = 0
        # Orthogonal: thousands of products neither grow nor vanish, and denormal numbers would be slow.
        matrix = tf.linalg.qr(tf.random.stateless_normal((side, side), seed=(0, 0)))[0]

        def run(images: tf.Tensor, repeats: tf.Tensor) -> tf.Tensor:
            def product(i: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return i + 1, tf.matmul(matrix, x)

            # Each product needs the one before: they can neither be run side by side nor left out.
            _, x = tf.while_loop(lambda i, _: i < repeats, product, (0, tf.eye(side)), parallel_iterations=1)
            # Some pixels of every image are used, so that no batch can be left in the loader unread.
            return x[0, 0] + tf.reduce_sum(tf.cast(images[:, ::16, ::16], tf.float32))

        self._run = tf.function(run, reduce_retracing=True)

    @property
    def flops(self) -> int:
        """Floating-point operations a step."""
        return self.repeats * 2 * self.side**3

    def set_flops(self, flops: float) -> None:
        """The next whole number of products, at least one."""
        self.repeats = max(1, round(flops / (2 * self.side**3)))

    def set_milliseconds(self, milliseconds: float, batch: tuple[Any, ...]) -> None:
        """Times the step on `batch` and chooses the number of products that takes about this long, at least one."""
        self.repeats = 1
        self(batch)  # compiles
        while (long := self._seconds(batch)) < CALIBRATION_SECONDS:
            self.repeats *= 2
        repeats, self.repeats = self.repeats, 1
        short = self._seconds(batch)
        product = (long - short) / max(1, repeats - 1)
        self.repeats = max(1, 1 + round((milliseconds / 1000 - short) / max(product, 1e-9)))

    def __call__(self, batch: tuple[Any, ...]) -> None:
        self._run(batch[0], tf.constant(self.repeats)).numpy()

    def _seconds(self, batch: tuple[Any, ...]) -> float:
        times = []
        for _ in range(STEPS):
            began = time.perf_counter()
            self(batch)
            times.append(time.perf_counter() - began)
        return statistics.median(times)
