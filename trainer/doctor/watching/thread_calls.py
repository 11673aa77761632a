"""Holds what belongs to one thread of a program that is watched."""

from __future__ import annotations

import threading
from typing import Any

from trainer.doctor.tools.broadcasts import Broadcasts
from trainer.doctor.watching.watched_loop import LayerCall


class ThreadCalls(threading.local):
    """Holds the last calls of one thread: a program may train in several at once.

    inside: number of calls of Keras that run, on which others depend; what they call is not the user's.
    inputs, mode: (model, x) of the last call of a model, and whether it had training=True.
    labels: (loss, y) of the last calls of losses, up to the next step.
    spreads: follows the outputs of the models up to the next step of an optimizer.
    functions: the calls of a tf.function that run, of `WatchedTape.function`.
    calls: calls of layers that are in no model, under a tape, up to the next step of an optimizer.
    """

    inside: int = 0
    inputs: tuple[Any, Any] | None = None
    mode: bool = False
    spreads: Broadcasts | None = None
    functions: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self.calls: list[LayerCall] = []
        self.labels: list[tuple[Any, Any]] = []

    def within(self) -> Inside:
        """Returns a context in which calls of Keras are not taken for the user's."""
        return Inside(self)


class Inside:
    """Marks what runs in a context as a part of a call of Keras."""

    def __init__(self, calls: ThreadCalls) -> None:
        self._calls = calls

    def __enter__(self) -> None:
        self._calls.inside += 1

    def __exit__(self, *_: object) -> None:
        self._calls.inside -= 1
