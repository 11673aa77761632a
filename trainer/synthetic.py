"""A training step of known cost: matrix products inside one compiled function, as many as asked for.

It stands for a device of any speed. On a machine without a GPU it keeps one core busy, and sleeps nowhere: the loader
has what the step leaves. The products are few and large on purpose. Hundreds of small ones a step make TensorFlow's
idle threads spin for the next one, which takes the cores that the loader should have.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import tensorflow as tf

CPU_SIDE = 512
GPU_SIDE = 4096  # large enough for a GPU to be busy with, and not with launching
MAX_ROWS = 4096  # of one product: tens of MB at most
ROUNDS = 4  # of calibration, each closer
STEPS = 5  # timed in a round, to take a median


class MatrixStep:
    """`step(batch)` multiplies as long as asked for and looks at every image of the batch; returns when that is done.

    One product is (rows, side) x (side, side), float32; `repeats` of them follow one another.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.rows = self.repeats = 1
        # Orthogonal: any number of products neither grows nor vanishes, and denormal numbers would be slow.
        matrix = tf.linalg.qr(tf.random.stateless_normal((side, side), seed=(0, 0)))[0]

        def run(images: tf.Tensor, rows: tf.Tensor, repeats: tf.Tensor) -> tf.Tensor:
            def product(i: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return i + 1, tf.ensure_shape(tf.matmul(x, matrix), (None, side))

            # Each product needs the one before: they can neither be run side by side nor left out.
            x = tf.ensure_shape(tf.ones((rows, side)), (None, side))
            _, x = tf.while_loop(lambda i, _: i < repeats, product, (0, x), parallel_iterations=1)
            # Some pixels of every image are used, so that no batch can be left in the loader unread.
            return x[0, 0] + tf.reduce_sum(tf.cast(images[:, ::16, ::16], tf.float32))

        self._run = tf.function(run, reduce_retracing=True)

    @property
    def flops(self) -> int:
        """Floating-point operations a step."""
        return self.repeats * self.rows * 2 * self.side**2

    def set_flops(self, flops: float) -> None:
        """To the nearest number of rows, at least one."""
        rows = max(1, round(flops / (2 * self.side**2)))
        self.repeats = -(-rows // MAX_ROWS)
        self.rows = round(rows / self.repeats)

    def set_milliseconds(self, milliseconds: float, batch: tuple[Any, ...]) -> None:
        """Times the step on `batch` and chooses the rows for it to take about this long; at least one row."""
        self.set_flops(256 * 2 * self.side**2)
        self(batch)  # compiles
        for _ in range(ROUNDS):
            self.set_flops(self.flops * milliseconds / 1000 / self._seconds(batch))

    def __call__(self, batch: tuple[Any, ...]) -> None:
        self._run(batch[0], tf.constant(self.rows), tf.constant(self.repeats)).numpy()

    def _seconds(self, batch: tuple[Any, ...]) -> float:
        times = []
        for _ in range(STEPS):
            began = time.perf_counter()
            self(batch)
            times.append(time.perf_counter() - began)
        return statistics.median(times)
