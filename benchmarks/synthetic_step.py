"""A training step of known cost: matrix products, as many as asked for. It stands for a device of any speed.

Without a GPU a process of its own multiplies, on a core of its own where there are several. The trainer waits for it as
it waits for a GPU, and sleeps nowhere: the step takes nothing from the loader, neither threads nor the interpreter's
lock, and the loader takes nothing from the step.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
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
        raise NotImplementedError

    def close(self) -> None:
        """Ends what the step needs."""

    def _seconds(self, batch: tuple[Any, ...]) -> float:
        times = []
        for _ in range(STEPS):
            began = time.perf_counter()
            self(batch)
            times.append(time.perf_counter() - began)
        return statistics.median(times)


class DeviceStep(MatrixStep):
    """The products as one compiled function on TensorFlow's first GPU."""

    def __init__(self, side: int = GPU_SIDE) -> None:
        super().__init__(side)
        # Orthogonal: any number of products neither grows nor vanishes, and denormal numbers would be slow.
        matrix = tf.linalg.qr(tf.random.stateless_normal((side, side), seed=(0, 0)))[0]

        def run(images: tf.Tensor, rows: tf.Tensor, repeats: tf.Tensor) -> tf.Tensor:
            def product(i: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return i + 1, tf.ensure_shape(tf.matmul(x, matrix), (None, side))

            # Each product needs the one before: they can neither be run side by side nor left out.
            x = tf.ensure_shape(tf.ones((rows, side)), (None, side))
            _, x = tf.while_loop(lambda i, _: i < repeats, product, (0, x), parallel_iterations=1)
            return x[0, 0] + _glance(images)

        self._run = tf.function(run, reduce_retracing=True)

    def __call__(self, batch: tuple[Any, ...]) -> None:
        self._run(batch[0], tf.constant(self.rows), tf.constant(self.repeats)).numpy()


class ProcessStep(MatrixStep):
    """The products in a process of their own, see `matmul_process.py`; on core number `core` if one is given."""

    def __init__(self, core: int | None = None, side: int = CPU_SIDE) -> None:
        super().__init__(side)
        program = str(Path(__file__).with_name("matmul_process.py"))
        arguments = [str(side), *([] if core is None else [str(core)])]
        self._process = subprocess.Popen(
            [sys.executable, program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._glance = tf.function(_glance, reduce_retracing=True)

    def __call__(self, batch: tuple[Any, ...]) -> None:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("The process that multiplies has no pipes.")
        self._process.stdin.write(b"%d %d\n" % (self.rows, self.repeats))
        self._process.stdin.flush()
        self._glance(batch[0])
        if not self._process.stdout.readline():
            raise RuntimeError("The process that multiplies has ended: it was killed or ran out of memory.")

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it may have ended by itself
            self._process.communicate()


@contextlib.contextmanager
def matrix_step() -> Iterator[MatrixStep]:
    """Gives a step on the GPU, or without one in a process of its own, which ends afterwards."""
    if tf.config.list_physical_devices("GPU"):
        yield DeviceStep()
        return
    with core_of_its_own() as core:
        tf.config.list_logical_devices()  # starts TensorFlow's threads, which stay where they are
    with contextlib.closing(ProcessStep(core)) as step:
        yield step


@contextlib.contextmanager
def core_of_its_own() -> Iterator[int | None]:
    """A core that no thread runs on that is started meanwhile; None where there is one only, or no way to say.

    For TensorFlow's computing threads, before they are started. The one that calls, which launches a step and waits for
    it, comes back to all cores, and so do those that it starts later: confined with the loader to a single one they
    would wait for their turn for milliseconds.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        yield None
        return
    os.sched_setaffinity(0, cores[:-1])
    try:
        yield cores[-1]
    finally:
        os.sched_setaffinity(0, cores)


def _glance(images: tf.Tensor) -> tf.Tensor:
    """A number made of some pixels of every image, so that no batch can be left in the loader unread."""
    return tf.reduce_sum(tf.cast(images[:, ::16, ::16], tf.float32))
