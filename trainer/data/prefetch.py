"""Makes batches ahead in threads of Python, without tf.data.

A pass of tf.data begins with the optimization of its graphs, and one thread hands all batches over. Here threads call
the compiled function that reads a batch, so that a pass begins with its first batch.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.epoch_order import Order

MOST_THREADS = 4  # more have not been tried: two keep two cores busy
READY = 2  # batches that each thread makes ahead
PATIENCE_SECONDS = 5.0  # at the end of the program, for the batches that are being made
CPU = "/device:CPU:0"  # otherwise TensorFlow would place the functions on a GPU


def passes(order: Order, read: Callable[..., Any]) -> Callable[[], Iterator[Any]]:
    """Returns a function that begins a pass and yields its batches as tensors.

    Args:
      order: of records that are read by position; its `begin` is not None.
      read: maps an element of the order to a batch, in TensorFlow's operations.
    """
    signature = order.elements.element_spec
    with tf.device(CPU):
        compiled = tf.function(read, input_signature=signature, autograph=False).get_concrete_function()

    def one_pass() -> Iterator[Any]:
        with tf.device(CPU):
            numbers, element = order.begin()  # type: ignore[misc]

        def make(number: int) -> Any:
            with tf.device(CPU):
                return compiled(*element(number))

        return _in_turn(numbers, make)

    return one_pass


def arrays(batch: Any) -> Any:
    """Returns a batch as NumPy arrays, which share the memory of its tensors."""
    return tf.nest.map_structure(_array, batch)


def _array(tensor: tf.Tensor) -> np.ndarray:
    if tensor.dtype == tf.string:
        return tensor.numpy()  # type: ignore[no-any-return]
    return np.asarray(memoryview(tensor))  # `numpy()` would copy


def _in_turn(numbers: range, make: Callable[[int], Any]) -> Iterator[Any]:
    """Yields `make(number)` for each number; threads make several ahead."""
    count = min(MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    lanes = [_Lane(numbers[first::count], make) for first in range(min(count, len(numbers)))]
    try:
        for i in range(len(numbers)):
            yield lanes[i % len(lanes)].take()
    finally:  # also when the loop is left early, or the iterator is deleted
        for lane in lanes:
            lane.stop()


class _Lane:
    """Makes every n-th batch of a pass in a thread of its own."""

    def __init__(self, numbers: range, make: Callable[[int], Any]) -> None:
        self._numbers, self._make, self._stopped = numbers, make, False
        self._made: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[bool] = queue.SimpleQueue()  # an item for each batch that may be made
        for _ in range(READY):
            self._room.put(True)
        self.thread = threading.Thread(target=self._work, daemon=True)
        _lanes.add(self)
        self.thread.start()

    def take(self) -> Any:
        """Returns the next batch, or raises what was raised while it was made."""
        batch = self._made.get()
        if isinstance(batch, BaseException):
            raise batch
        self._room.put(True)
        return batch

    def stop(self) -> None:
        """Ends the thread after the batch that it is making."""
        self._stopped = True
        self._room.put(False)

    def _work(self) -> None:
        try:
            for number in self._numbers:
                if not self._room.get() or self._stopped:
                    return
                self._made.put(self._make(number))
        except BaseException as error:  # for the thread that takes the batches
            self._made.put(error)


_lanes: weakref.WeakSet[_Lane] = weakref.WeakSet()


def _finish() -> None:
    """Ends all threads at the end of the program.

    Otherwise TensorFlow would return from a batch into an interpreter that no longer runs.
    """
    lanes = list(_lanes)
    for lane in lanes:
        lane.stop()
    for lane in lanes:
        lane.thread.join(PATIENCE_SECONDS)


atexit.register(_finish)
