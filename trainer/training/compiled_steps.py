"""How steps are run: several in one call of a compiled function, each compiled by XLA if asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from pipelines.core.text import first_line
from trainer.config import TrainerError

MOST_STEPS = 16  # of one call: the loop waits for the device that often anyway
CALL_SECONDS = 0.1  # what a call should take: its own cost, about a millisecond, is then lost in it

Step = Callable[[Any], Any]
Run = Callable[[Any, tf.Tensor], None]


def compiled(step: Step, jit: bool = False) -> Run:
    """A step as a function of an iterator over batches and a number of steps, int32 (): no batch comes to Python."""
    one = tf.function(step, jit_compile=True, reduce_retracing=True) if jit else step

    @tf.function(reduce_retracing=True)
    def run(batches: Any, steps: tf.Tensor) -> None:
        for _ in tf.range(steps):
            one(next(batches))

    return run  # type: ignore[no-any-return]


def use_xla(jit: str, model: keras.Model, spec: Any, batch_size: int, say: Callable[[str], None]) -> bool:
    """Whether to compile the training step with XLA; tried before the first step, which changes nothing.

    Args:
      jit: "on", "off", or "auto": on a GPU, if XLA can. On a CPU XLA's convolutions are slower than TensorFlow's.
      model: the one to train.
      spec: of a batch, as `tf.data.Dataset.element_spec` has it.
      batch_size: of a whole batch.
      say: is told where "auto" leaves XLA out on a GPU, and why.

    Raises:
      TrainerError: "on", and XLA cannot compile the step.
    """
    if jit == "off" or (jit == "auto" and not tf.config.list_physical_devices("GPU")):
        return False
    reason = _obstacle(model, spec, batch_size)
    if reason and jit == "on":
        other = ", or --no-deterministic" if "determinis" in reason else ""
        raise TrainerError(f"--jit on: XLA cannot compile this training step ({reason}). Use --jit off{other}.")
    if reason:
        say(f"training without XLA, which cannot compile this step ({reason})")
    return not reason


def _obstacle(model: keras.Model, spec: Any, batch_size: int) -> str:
    """Why XLA cannot compile `model.train_step`; "" if it can."""
    layers = sorted({type(layer).__name__ for layer in model._flatten_layers() if not layer.supports_jit})
    if layers:
        return f"layers that it does not know: {', '.join(layers)}"
    whole = [tf.TensorSpec([batch_size, *part.shape[1:]], part.dtype) for part in spec]
    step = tf.function(lambda *batch: model.train_step(batch), jit_compile=True)
    try:
        step.experimental_get_compiler_ir(*whole)(stage="hlo")
    except (tf.errors.OpError, ValueError, TypeError, NotImplementedError) as e:
        return first_line(e)
    return ""


class Pace:
    """How many steps to run at once. It never decides what comes out, only how often Python has a say."""

    def __init__(self, fixed: int, stops: Sequence[int]) -> None:
        """fixed: as asked for, or 0 to find out. stops: a call ends at every multiple of each of these (0: none)."""
        self._size, self._fixed = fixed or 1, bool(fixed)
        self._stops = [stop for stop in stops if stop]
        self._steps, self._seconds, self._warm = 0, 0.0, False

    def steps(self, done: int, last: int) -> int:
        """Steps of the next call, `done` of an epoch of `last` being done."""
        return min([self._size, last - done, *(stop - done % stop for stop in self._stops)])

    def took(self, steps: int, seconds: float, waited: bool) -> None:
        """A call of so many steps took this long. waited: the device has finished all steps: their times are true."""
        self._steps, self._seconds = self._steps + steps, self._seconds + seconds
        if not waited:
            return
        if self._warm and not self._fixed:  # before, the time is that of compiling
            self._size = min(MOST_STEPS, max(1, int(CALL_SECONDS * self._steps / max(self._seconds, 1e-9))))
        self._warm, self._steps, self._seconds = True, 0, 0.0
