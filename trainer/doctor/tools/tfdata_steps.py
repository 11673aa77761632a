"""Reads the steps of a tf.data.Dataset: its maps, shuffles, caches and repeats.

TensorFlow keeps the steps in private attributes, which may change. Where one is missing, the steps before it are not
found.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_SEEDS = itertools.count()


@dataclasses.dataclass(frozen=True)
class Step:
    """Describes one step of a dataset.

    kind: such as "Map", "Shuffle", "Cache", "Batch", "Repeat".
    dataset: the dataset up to and including this step.
    """

    kind: str
    dataset: Any

    @property
    def source(self) -> Any:
        """Returns the dataset before this step."""
        return self.dataset._inputs()[0]

    @property
    def function(self) -> Callable[..., Any] | None:
        """Returns the Python function of a map; None where it cannot be read."""
        return getattr(getattr(self.dataset, "_map_func", None), "_func", None)

    @property
    def traced(self) -> Callable[..., Any]:
        """Returns the traced function of a map.

        It takes flat tensors and returns flat tensors.
        """
        concrete: Callable[..., Any] = self.dataset._map_func.function
        return concrete


def steps(dataset: Any) -> list[Step]:
    """Returns the steps from the last one to the source.

    Where datasets are joined, the steps of all of them follow.
    """
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
    """Yields each map whose function can be read, with the steps that come after it.

    The results of the map pass through these steps.
    """
    before: list[Step] = []
    for step in steps(dataset):
        if step.kind == "Map" and step.function is not None:
            yield step, list(before)
        before.append(step)


def buffer_size(dataset: Any) -> int | None:
    """Returns the buffer size of the last shuffle; None without one."""
    for step in steps(dataset):
        size = getattr(step.dataset, "_buffer_size", None)
        if step.kind.startswith("Shuffle") and size is not None:
            return int(size)
    return None


def draws_anew(dataset: Any) -> bool:
    """Tells whether each pass over a dataset has another order.

    A cache after the shuffle keeps the order of the first pass.
    """
    for step in steps(dataset):
        if step.kind == "Cache":
            return False
        if step.kind.startswith("Shuffle") and getattr(step.dataset, "_reshuffle_each_iteration", True) is not False:
            return True
    return False


def run_traced(step: Step, element: Any, times: int) -> list[np.ndarray]:
    """Returns the images that the traced map gives in `times` calls.

    All calls get the same element. The result is what the epochs see.
    """
    flat = tf.nest.flatten(element)
    return [np.asarray(step.traced(*flat)[0]) for _ in range(times)]


def run_whole(step: Step, element: Any, times: int) -> list[list[np.ndarray]]:
    """Returns all that the traced map gives in `times` calls.

    These are images, labels and so on. All calls get the same element.
    """
    flat = tf.nest.flatten(element)
    return [[np.asarray(part) for part in tf.nest.flatten(step.traced(*flat))] for _ in range(times)]


def run_anew(step: Step, element: Any, times: int) -> list[np.ndarray]:
    """Returns the images that the Python function gives in `times` calls.

    All calls get the same element. Each call runs the Python code again, which ran only once for the graph. The random
    generators of Python and NumPy are seeded anew, else each element would get the draws of the one before it. They are
    restored afterwards.
    """
    function = step.function or (lambda *parts: parts)
    state, numpy_state, eagerly = random.getstate(), np.random.get_state(), tf.config.functions_run_eagerly()
    try:
        seed = next(_SEEDS)
        random.seed(seed)
        np.random.seed(seed)
        tf.config.run_functions_eagerly(True)  # otherwise a tf.function inside would be traced once, too
        arguments = element if isinstance(element, tuple) else (element,)
        return [np.asarray(tf.nest.flatten(function(*arguments))[0]) for _ in range(times)]
    finally:
        tf.config.run_functions_eagerly(eagerly)
        random.setstate(state)
        np.random.set_state(numpy_state)


def traces_differ(step: Step, times: int) -> bool:
    """Returns whether tracing the function of a map again gives other graphs.

    This is so where its Python code tosses a coin or draws a number, which happens once, when the graph is traced. The
    random generators of Python and NumPy are restored afterwards.
    """
    spec = step.source.element_spec
    arguments = spec if isinstance(spec, tuple) else (spec,)
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        traces = (_operations(tf.function(step.function).get_concrete_function(*arguments)) for _ in range(times))
        first = next(traces)
        return any(other != first for other in traces)  # stops at the first that differs
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)


def _operations(function: Any) -> tuple[str, ...]:
    return tuple(operation.type for operation in function.graph.get_operations())


def differ(images: Sequence[np.ndarray]) -> bool:
    """Returns whether the images are not all equal."""
    return any(image.shape != images[0].shape or not np.array_equal(image, images[0]) for image in images[1:])
