"""Checks for operations whose gradient is no number, such as a square root at 0.

The loss is fine there, and the first step makes all weights NaN. A loss of the program's own may also come to such a
point only after some steps: these are taken again on a copy if the history became NaN.
"""

from __future__ import annotations

import dataclasses
import itertools
import linecache
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock, OutOfTime
from trainer.doctor.copies.model_copy import Twin
from trainer.doctor.finding import Finding
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.exceptions import LIBRARIES
from trainer.doctor.subject.sample import choose
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools.first_weights import flat_layers

IMAGES = 32
MOST_BATCHES = 16  # that are looked at with the weights as they are
MOST_STEPS = 400  # that are taken again


def _at_or_below(edge: float) -> Callable[[Any], Any]:
    return lambda values: values <= edge


@dataclasses.dataclass(frozen=True)
class Edge:
    """Describes where an operation has no gradient.

    name: of the operation, in words. at: the value in words.
    case: of the finding. operand: which input of the operation is looked at.
    bad: tells of each value whether it is such a one.
    """

    name: str
    at: str
    case: str
    bad: Callable[[Any], Any]
    operand: int = 0


EDGES: Mapping[str, Edge] = {
    "Sqrt": Edge("the square root", "0", "root", _at_or_below(0)),
    "Rsqrt": Edge("the inverse square root", "0", "root", _at_or_below(0)),
    "Log": Edge("the logarithm", "0", "log", _at_or_below(0)),
    "Log1p": Edge("the logarithm of 1 + x", "-1", "log", _at_or_below(-1)),
    "RealDiv": Edge("the division", "a divisor of 0", "division", lambda values: values == 0, 1),
    "Reciprocal": Edge("the division", "a divisor of 0", "division", lambda values: values == 0),
    "Acos": Edge("the arc cosine", "1 or -1", "arc", lambda values: tf.abs(values) >= 1),
    "Asin": Edge("the arc sine", "1 or -1", "arc", lambda values: tf.abs(values) >= 1),
}


@dataclasses.dataclass(frozen=True)
class Seen:
    """Holds what one batch gives.

    loss: its loss. finite: whether all gradients are finite.
    counts: how often each operation gets a value without a gradient; -1 where it gets NaN or infinity.
    """

    loss: float
    finite: bool
    counts: list[int]


class Watched:
    """Computes loss and gradients of a copy of the model.

    It looks at the operations of EDGES on the way.

    edges, places: of each operation, in order; a place is "" where it is not in the user's code.
    """

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        self.edges: list[Edge] = []
        self.places: list[str] = []
        self._function = tf.function(self._look, reduce_retracing=True)

    def look(self, x: Any, y: Any, step: bool) -> Seen:
        """Returns what a batch gives.

        Args:
          step: whether the optimizer takes a step as well.
        """
        loss, finite, counts = self._function(x, y, step)
        return Seen(float(loss), bool(finite), [int(count) for count in counts])

    def _look(self, x: Any, y: Any, step: bool) -> Any:
        model = self.twin.model
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True), None, training=True)
        operations = [op for op in loss.graph.get_operations() if op.type in EDGES]
        self.edges = [EDGES[op.type] for op in operations]
        self.places = [_place(op) for op in operations]
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [v.value for v in variables])
        pairs = [(tf.convert_to_tensor(g), v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g, _ in pairs])
        if step and pairs:
            self.twin.optimizer.apply_gradients(pairs)
        return loss, finite, [_count(op, edge) for op, edge in zip(operations, self.edges, strict=True)]


def not_finite(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a gradient that is NaN or infinite, and the operation that makes it so."""
    training = subject.training
    past = training.history if training is not None else subject.history
    became = any(not math.isfinite(value) for value in (past or {}).get("loss", ()))
    if not became and not _own_operations(subject.model):
        return []
    watched, harmless = Watched(Twin(subject)), set[int]()
    batches = list(_batches(subject))
    taken = itertools.islice(itertools.cycle(batches), MOST_STEPS) if became else ()
    for number, (batch, step) in enumerate(
        [*((batch, False) for batch in batches[:MOST_BATCHES]), *((batch, True) for batch in taken)]
    ):
        if clock.over:
            if became:
                raise OutOfTime(f"not done within {clock.seconds:.0f} s; --deep allows more time")
            break
        seen = watched.look(*batch, step)
        if not seen.finite:
            return _named(watched, seen, harmless, max(0, number - min(len(batches), MOST_BATCHES)) if step else 0)
        harmless |= {i for i, count in enumerate(seen.counts) if count > 0}
        if not watched.edges:
            break
    return []


def _named(watched: Watched, seen: Seen, harmless: set[int], steps: int) -> list[Finding]:
    """Returns the finding on the operation, the user's own first.

    It is [] if no operation of EDGES is the reason.

    Args:
      harmless: operations that got such values while the gradients were finite.
    """
    found = [i for i, count in enumerate(seen.counts) if count > 0 and i not in harmless]
    found.sort(key=lambda i: not watched.places[i])
    if not found or any(count < 0 for count in seen.counts[: found[0]]):
        return []
    edge, place, count = watched.edges[found[0]], watched.places[found[0]], seen.counts[found[0]]
    when = f"After {steps:,} steps on a copy" if steps else "Before the first step"
    evidence = (
        f"{when}, the loss of a batch is {seen.loss:.3g}, and its gradients are NaN or infinite: "
        f"{edge.name} gets {count:,} {'value' if count == 1 else 'values'} at {edge.at}."
    )
    return [dataclasses.replace(MADE[edge.case](evidence, name=edge.name, at=edge.at), place=place)]


# case -> the finding
MADE: Mapping[str, Callable[..., Finding]] = {
    "root": lambda e, name, at: catalogue.found("gradient-not-finite", e, case="root", name=name, at=at),
    "log": lambda e, name, at: catalogue.found("gradient-not-finite", e, case="log", name=name, at=at),
    "division": lambda e, name, at: catalogue.found("gradient-not-finite", e, case="division", name=name, at=at),
    "arc": lambda e, name, at: catalogue.found("gradient-not-finite", e, case="arc", name=name, at=at),
}


def _count(operation: Any, edge: Edge) -> Any:
    values = operation.inputs[edge.operand]
    counted = tf.reduce_sum(tf.cast(edge.bad(values), tf.int32))
    return tf.where(tf.reduce_all(tf.math.is_finite(values)), counted, -1)


def _place(operation: Any) -> str:
    """Returns the line of the user's code that made an operation.

    It is "" if a library made it. The lines that lead to the doctor do not count.
    """
    frames = list(operation.traceback or ())
    start = max((i for i, frame in enumerate(frames) if frame.filename == __file__), default=-1)
    own = [f for f in frames[start + 1 :] if not f.filename.startswith("<") and not _of_library(f.filename)]
    if not own:
        return ""
    code = linecache.getline(own[-1].filename, own[-1].lineno).strip()
    return f"{own[-1].filename.rpartition('/')[2]}:{own[-1].lineno}: {code}"


def _of_library(file: str) -> bool:
    return any(part in file for part in LIBRARIES)


def _own_operations(model: Any) -> bool:
    """Tells whether the program wrote operations of a model or its loss itself."""
    layers = flat_layers(model)
    losses = [getattr(loss, "fn", loss) for loss in keras.tree.flatten(model.loss)]
    kinds = [type(model), *map(type, layers), *(loss if hasattr(loss, "__code__") else type(loss) for loss in losses)]
    return (
        any(_module(kind) not in ("keras", "builtins") for kind in kinds)
        or any(isinstance(layer, keras.layers.Lambda) for layer in layers)
        or any(not isinstance(op, keras.layers.Layer) for op in getattr(model, "operations", ()))
    )


def _module(kind: Any) -> str:
    return str(getattr(kind, "__module__", None)).partition(".")[0]


def _batches(subject: Subject) -> Iterator[tuple[Any, Any]]:
    """Yields batches of one size of all training images.

    The last may hold some of the one before.
    """
    sample = subject.split("train").sample
    count = len(sample.images)
    size = min(IMAGES, count)
    for start in (min(start, count - size) for start in range(0, count, size)):
        parts = choose((sample.inputs, sample.targets), slice(start, start + size))
        yield keras.tree.map_structure(tf.convert_to_tensor, parts)


PROBES = (Probe("gradients that are numbers", not_finite, ("images", "model", "loss"), 12.0),)
