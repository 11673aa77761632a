"""Watches the training loops that a program writes itself.

They use a GradientTape or train_on_batch. A step of a loop is what lies before a call of an optimizer: a call of a
model, the call of a loss on its answers, and the gradients that a tape returns.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import record

from trainer.doctor.subject.training import LOOP, Place
from trainer.doctor.tools.broadcasts import Broadcasts
from trainer.doctor.watching.gradient_sums import GradientSums
from trainer.doctor.watching.places import Places
from trainer.doctor.watching.thread_calls import ThreadCalls
from trainer.doctor.watching.watched_loop import LayerCall, Loop, chain

LOSSES = tuple(name for name in dir(keras.losses) if name.endswith(("crossentropy", "_error", "divergence")))
NN_LOSSES = (
    "sparse_softmax_cross_entropy_with_logits", "softmax_cross_entropy_with_logits",
    "sigmoid_cross_entropy_with_logits",
)  # fmt: skip

MOST_LOSSES = 8  # calls of losses until a step of an optimizer
MOST_CALLS = 256  # of layers under a tape, until a step of an optimizer
FOLLOWED_STEPS = 2  # of a loop, in which each operation on the model's outputs is looked at


class WatchedTape:
    """Holds the loops of a program.

    Methods that take an `original` return the function that stands in its place.

    Args:
      places: finds the user's line of a call.
      here: the calls of this thread.
      end_loop: is called after each step of a loop. It raises to end the program.

    loops: the training loops, by model.
    unknown_loop: the first loop whose forward pass is not known; None without.
    taped_at: the line of the first gradient that the program itself asks a tape for.
    """

    def __init__(self, places: Places, here: ThreadCalls, end_loop: Callable[[Loop], None]) -> None:
        self.loops: dict[int, Loop] = {}
        self.unknown_loop: Loop | None = None
        self.taped_at: Place | None = None
        self._places, self._here, self._end_loop = places, here, end_loop
        self._chains: dict[tuple[int, ...], Any] = {}  # by the layers, which the models keep
        self._loose_steps = 0
        self._gradient_sums = GradientSums()
        self._steps: weakref.WeakKeyDictionary[Any, Loop] = weakref.WeakKeyDictionary()  # by tf.function

    @property
    def steps(self) -> int:
        """Returns the number of steps of all loops whose model is known."""
        return sum(loop.steps for loop in self.loops.values())

    # ---- what the program calls

    def call_model(self, original: Any, model: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Calls a model, and notes what goes into it."""
        self._here.inputs = (model, args[0])
        mode = options.get("training", args[1] if len(args) > 1 else None)
        self._here.mode = mode is not None and mode is not False  # True for a tensor, too
        with self._here.within():
            found = original(model, *args, **options)
        self._follow(found, self.loops[id(model)].steps if id(model) in self.loops else 0)
        return found

    def call_loose(self, original: Any, layer: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Calls a layer that the program itself calls.

        Under a tape, such calls may be the forward pass of a loop without a model, as of a tf.Module.
        """
        before = len(self._here.calls)
        found = original(layer, *args, **options)
        if record.could_possibly_record():
            del self._here.calls[before:]  # those of layers inside of it
            if before >= MOST_CALLS:
                self._here.calls.clear()
            self._here.calls.append(LayerCall(layer, args[0], found))
            self._follow(found, self._loose_steps)
        return found

    def _follow(self, outputs: Any, steps: int) -> None:
        if steps < FOLLOWED_STEPS:
            self._here.spreads = self._here.spreads or Broadcasts(self._places.of_caller)
            self._here.spreads.begin(outputs)

    def loss_object(self, original: Any) -> Any:
        def __call__(loss: Any, y_true: Any, *args: Any, **options: Any) -> Any:  # noqa: N807 - stands in for __call__
            if not self._here.inside and has_numbers(y_true):
                self._note_labels(loss, y_true)
            with self._here.within():
                return original(loss, y_true, *args, **options)

        return __call__

    def loss_function(self, original: Any) -> Any:
        def loss(*args: Any, **options: Any) -> Any:
            y_true = args[0] if args else options.get("y_true", options.get("labels"))
            if not self._here.inside and has_numbers(y_true):
                self._note_labels(_loss_of(original, options), y_true)
            with self._here.within():
                return original(*args, **options)

        return loss

    def _note_labels(self, loss: Any, y_true: Any) -> None:
        if len(self._here.labels) >= MOST_LOSSES:
            self._here.labels.pop(0)
        self._here.labels.append((loss, y_true))

    def gradient(self, original: Any) -> Any:
        def gradient(tape: Any, *args: Any, **options: Any) -> Any:
            found = original(tape, *args, **options)
            if not self._here.inside:
                self.taped_at = self.taped_at or self._places.of_caller()
                self._gradient_sums.add(found)
            return found

        return gradient

    def apply(self, original: Any) -> Any:
        def apply(optimizer: Any, *args: Any, **options: Any) -> Any:
            calls, self._here.calls = self._here.calls, []
            unknown = self._here.inputs is None  # as for the second optimizer of a step
            if self._here.inside or (unknown and (self.taped_at is None or (self.loops and not calls))):
                return original(optimizer, *args, **options)
            model, x = self._here.inputs or (self._chained(calls), calls[0].inputs if calls else None)
            self._loose_steps += unknown
            loss, y = self._here.labels[-1] if self._here.labels else (None, None)
            if len(self._here.labels) > 1 and all(_is_constant(labels) for _, labels in self._here.labels):
                y = None  # ones and zeros for a discriminator are no labels of the data
            loop = self.loop(model, LOOP)
            loop.optimizer, loop.loss = optimizer, loss
            if not unknown:
                loop.modes.add(self._here.mode)
            loop.step(x, y, None)
            self._steps.update((function, loop) for function in self._here.functions)
            if self._here.spreads is not None:
                loop.spread = self._here.spreads.end() or loop.spread
            given = args[0] if args else options.get("grads", ())
            loop.summed = max(loop.summed, self._gradient_sums.apply(given))
            self._here.inputs = None
            self._here.labels.clear()
            with self._here.within():
                found = original(optimizer, *args, **options)
            self._end_loop(loop)
            return found

        return apply

    def loop(self, model: Any, kind: str) -> Loop:
        """Returns the loop of a model, which begins here if it is new.

        Args:
          model: None if it is not known.
        """
        if model is None:
            self.unknown_loop = self.unknown_loop or Loop(kind, None, self._places.of_caller(), time.monotonic())
            return self.unknown_loop
        if id(model) not in self.loops:
            self.loops[id(model)] = Loop(kind, model, self._places.of_caller(), time.monotonic())
        return self.loops[id(model)]

    def _chained(self, calls: list[LayerCall]) -> Any:
        """Returns the model of a chain of layers; None where they are no chain."""
        key = tuple(id(call.layer) for call in calls)
        if key not in self._chains:
            with self._here.within():
                self._chains[key] = chain(calls)
        return self._chains[key]

    def function(self, has_enough: Callable[[Loop], bool], original: Any) -> Any:
        """Returns what stands in for a call of a tf.function; `Watcher.hurry` explains it."""

        def __call__(function: Any, *args: Any, **options: Any) -> Any:  # noqa: N807 - stands in for __call__
            loop = None if self._here.inside else self._steps.get(function)
            if loop is not None and has_enough(loop):
                tf.config.run_functions_eagerly(False)
                try:
                    found = original(function, *args, **options)
                finally:
                    tf.config.run_functions_eagerly(True)
                self._end_loop(loop)
                return found
            self._here.functions = (*self._here.functions, function)
            try:
                return original(function, *args, **options)
            finally:
                self._here.functions = self._here.functions[:-1]

        return __call__


def has_numbers(value: Any) -> bool:
    """Tells whether a value has numbers, and is not a symbol of a graph."""
    parts = keras.tree.flatten(value)
    return bool(parts) and all(hasattr(part, "shape") and hasattr(part, "__array__") for part in parts) and not any(
        isinstance(part, keras.KerasTensor) or (tf.is_tensor(part) and not hasattr(part, "numpy")) for part in parts
    )  # fmt: skip


def _loss_of(function: Any, options: Mapping[str, Any]) -> Any:
    """Returns the loss for compile that is the same as a function; None without."""
    logits = bool(options.get("from_logits", False))
    name = getattr(function, "__name__", "")
    sparse, dense = keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy
    found = {
        "sparse_categorical_crossentropy": (sparse, logits),
        "categorical_crossentropy": (dense, logits),
        "binary_crossentropy": (keras.losses.BinaryCrossentropy, logits),
        "sparse_softmax_cross_entropy_with_logits": (sparse, True),
        "softmax_cross_entropy_with_logits": (dense, True),
        "sigmoid_cross_entropy_with_logits": (keras.losses.BinaryCrossentropy, True),
    }.get(name)
    return None if found is None else found[0](from_logits=found[1])


def _is_constant(labels: Any) -> bool:
    """Tells whether all labels of a batch are one number."""
    return all(np.ptp(np.asarray(part)) == 0 for part in keras.tree.flatten(labels) if np.size(part))
