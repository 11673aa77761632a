"""Compiles steps into one function that runs several of them, with XLA on request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from pipelines.core.text import first_line
from trainer.config import TrainerError

_log = logging.getLogger(__name__)

MOST_STEPS = 16  # at most so many steps a call: the loop waits for the device this often in any case
CALL_SECONDS = 0.1  # target time of a call: its overhead of about a millisecond is then negligible

Step = Callable[[Any], Any]
Run = Callable[[Any, tf.Tensor], None]


def compiled(step: Step, jit: bool = False) -> Run:
    """Compiles a step into a function that runs many steps without Python in between.

    Returns:
      A function of an iterator over batches and the number of steps, int32 (). It takes the batches from the iterator
      itself.
    """
    # Without AutoGraph, as in Keras's own `fit`: to convert the functions of a step takes a third of its tracing.
    one = tf.function(step, jit_compile=True, reduce_retracing=True, autograph=False) if jit else step

    @tf.function(reduce_retracing=True, autograph=False)
    def run(batches: Any, steps: tf.Tensor) -> None:
        def next_step(done: tf.Tensor) -> tf.Tensor:
            one(batches.get_next())
            return done + 1

        tf.while_loop(lambda done: done < steps, next_step, [tf.constant(0)])

    return run  # type: ignore[no-any-return]


def use_xla(jit: str, model: keras.Model, spec: Any, batch_size: int) -> bool:
    """Decides whether to compile the training step with XLA.

    It compiles the step before the first step runs. That changes no variable. If "auto" does not use XLA on a GPU, it
    logs the reason.

    Args:
      jit: "on", "off", or "auto": XLA is used on a GPU, if it can compile the step. On a CPU, XLA's convolutions are
        slower than TensorFlow's.
      model: the model to train.
      spec: of a batch, as in `tf.data.Dataset.element_spec`.
      batch_size: number of records of a full batch.

    Raises:
      TrainerError: `jit` is "on", and XLA cannot compile the step.
    """
    if jit == "off" or (jit == "auto" and not tf.config.list_physical_devices("GPU")):
        return False
    reason = _obstacle(model, spec, batch_size)
    if reason and jit == "on":
        other = ", or --no-deterministic" if "determinis" in reason else ""
        raise TrainerError(f"--jit on: XLA cannot compile this training step ({reason}). Use --jit off{other}.")
    if reason:
        _log.info("training without XLA, which cannot compile this step (%s)", reason)
    return not reason


def _obstacle(model: keras.Model, spec: Any, batch_size: int) -> str:
    """Returns the reason why XLA cannot compile `model.train_step`, or ""."""
    layers = sorted({type(layer).__name__ for layer in model._flatten_layers() if not layer.supports_jit})
    if layers:
        return f"layers that it does not know: {', '.join(layers)}"
    whole = [tf.TensorSpec([batch_size, *part.shape[1:]], part.dtype) for part in spec]
    step = tf.function(lambda *batch: model.train_step(batch), jit_compile=True, autograph=False)
    try:
        step.experimental_get_compiler_ir(*whole)(stage="hlo")
    except (tf.errors.OpError, ValueError, TypeError, NotImplementedError) as e:
        return first_line(e)
    return ""


class Pace:
    """Chooses how many steps one call runs.

    The number never changes the result. It only changes how often control returns to Python.
    """

    def __init__(self, fixed: int, stops: Sequence[int]) -> None:
        """Sets the size of a call and the steps at which a call has to end.

        Args:
          fixed: number of steps of a call, or 0 to choose it from measured times.
          stops: a call ends at every multiple of each of these numbers; a 0 is ignored.
        """
        self._size, self._fixed = fixed or 1, bool(fixed)
        self._stops = [stop for stop in stops if stop]
        self._steps, self._seconds, self._warm = 0, 0.0, False

    def steps(self, done: int, last: int) -> int:
        """Returns the number of steps of the next call.

        Args:
          done: steps of this epoch that have run.
          last: steps of the epoch.
        """
        return min([self._size, last - done, *(stop - done % stop for stop in self._stops)])

    def took(self, steps: int, seconds: float, waited: bool) -> None:
        """Notes the time of a call.

        Args:
          steps: number of steps of the call.
          seconds: its duration.
          waited: whether the device has finished all steps so far. Only then the measured times are meaningful.
        """
        self._steps, self._seconds = self._steps + steps, self._seconds + seconds
        if not waited:
            return
        if self._warm and not self._fixed:  # the first call includes the time of compiling
            self._size = min(MOST_STEPS, max(1, int(CALL_SECONDS * self._steps / max(self._seconds, 1e-9))))
        self._warm, self._steps, self._seconds = True, 0, 0.0
