"""The steps that a tf.data.Dataset is made of, read from the dataset itself: its maps, shuffles, caches and repeats.

TensorFlow keeps them in attributes without a promise; where one is missing, the steps before it are not seen.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Step:
    """One step. kind: such as "Map", "Shuffle", "Cache", "Batch", "Repeat"; dataset: the dataset up to and with it."""

    kind: str
    dataset: Any

    @property
    def source(self) -> Any:
        """The dataset before it."""
        return self.dataset._inputs()[0]

    @property
    def function(self) -> Callable[..., Any] | None:
        """The Python function of a map; None where it cannot be seen."""
        return getattr(getattr(self.dataset, "_map_func", None), "_func", None)

    @property
    def traced(self) -> Callable[..., Any]:
        """The same as it was traced: a function of flat tensors that gives flat tensors."""
        concrete: Callable[..., Any] = self.dataset._map_func.function
        return concrete


def steps(dataset: Any) -> list[Step]:
    """From the last step to the source. Where datasets are joined, the steps of all of them follow."""
    found: list[Step] = []
    waiting = [dataset]
    while waiting:
        node = waiting.pop(0)
        kind = type(node).__name__.strip("_").removesuffix("Dataset").removesuffix("DatasetV1").removeprefix("Parallel")
        found.append(Step(kind, node))
        try:
            waiting += list(node._inputs())
        except (AttributeError, NotImplementedError, TypeError):
            continue
    return found


def maps(dataset: Any) -> Iterator[tuple[Step, list[Step]]]:
    """Each map whose function can be seen, with the steps behind it, on which its results go through."""
    before: list[Step] = []
    for step in steps(dataset):
        if step.kind == "Map" and step.function is not None:
            yield step, list(before)
        before.append(step)


def buffer_size(dataset: Any) -> int | None:
    """Of the last shuffle; None without one."""
    for step in steps(dataset):
        size = getattr(step.dataset, "_buffer_size", None)
        if step.kind.startswith("Shuffle") and size is not None:
            return int(size)
    return None


def run_traced(step: Step, element: Any, times: int) -> list[np.ndarray]:
    """The images that the traced map gives for one element: what the epochs see."""
    flat = tf.nest.flatten(element)
    return [np.asarray(step.traced(*flat)[0]) for _ in range(times)]


def run_anew(step: Step, element: Any, times: int) -> list[np.ndarray]:
    """The images that the Python function gives when it is called: its Python code runs, which for the graph it did
    once.

    The generators of Python and NumPy are put back as they were.
    """
    function = step.function or (lambda *parts: parts)
    state, numpy_state, eagerly = random.getstate(), np.random.get_state(), tf.config.functions_run_eagerly()
    try:
        tf.config.run_functions_eagerly(True)  # a tf.function inside would be a graph, too
        arguments = element if isinstance(element, tuple) else (element,)
        return [np.asarray(tf.nest.flatten(function(*arguments))[0]) for _ in range(times)]
    finally:
        tf.config.run_functions_eagerly(eagerly)
        random.setstate(state)
        np.random.set_state(numpy_state)


def differ(images: Sequence[np.ndarray]) -> bool:
    """Whether these are not all the same."""
    return any(image.shape != images[0].shape or not np.array_equal(image, images[0]) for image in images[1:])
