"""Finds operations in which labels (n,) meet outputs (n, 1) of a model.

TensorFlow spreads the two to (n, n): each label is compared with the outputs of all images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import op_callbacks

from trainer.doctor.subject.training import Place

# Operations by which a loss compares labels with outputs. Comparisons such as Equal belong to metrics.
PAIRED = ("Sub", "SquaredDifference", "Mul", "MulNoNan", "Add", "AddV2", "RealDiv", "Div", "DivNoNan", "Xdivy",
          "Xlogy", "Minimum", "Maximum", "Pow")  # fmt: skip
MOST_OPERATIONS = 500  # that are followed after a call of the model; a loss has fewer


@dataclasses.dataclass(frozen=True)
class Spread:
    """Describes an operation that spread labels over outputs.

    outputs, other: the shapes of its two inputs. The first one comes from the model.
    place: the line of the user's code.
    """

    outputs: tuple[int, ...]
    other: tuple[int, ...]
    place: Place | None


class Broadcasts:
    """Follows in eager mode what becomes of a model's outputs.

    Args:
      place: returns the user's line of the operation that runs.

    found: the first operation that spread something over the outputs; None without.
    """

    def __init__(self, place: Callable[[], Place | None]) -> None:
        self.found: Spread | None = None
        self._place = place
        self._of_model: dict[int, Any] = {}  # id -> tensor; a tensor that is kept keeps its id
        self._operations = 0
        self._follows = False

    def begin(self, outputs: Any) -> None:
        """Follows the outputs of a model, if there is one number for each image."""
        if not tf.is_tensor(outputs) or not hasattr(outputs, "numpy") or not _one_each(tuple(outputs.shape)):
            return
        self._of_model[id(outputs)] = outputs
        self._operations = 0
        if not self._follows:
            op_callbacks.add_op_callback(self._look)
            self._follows = True

    def end(self) -> Spread | None:
        """Follows no more, and returns what was found."""
        found = self.found
        self._stop()
        self.found = None
        return found

    def _stop(self) -> None:
        if self._follows:
            op_callbacks.remove_op_callback(self._look)
            self._follows = False
        self._of_model.clear()

    def _look(
        self,
        kind: Any,
        inputs: Sequence[Any],
        attrs: Any,
        outputs: Sequence[Any],
        op_name: Any = None,
        graph: Any = None,
    ) -> None:
        """Is called by TensorFlow after each operation."""
        del attrs, op_name
        if graph is not None:
            return
        self._operations += 1
        if self._operations > MOST_OPERATIONS:
            self._stop()
            return
        from_model = [id(part) in self._of_model for part in inputs]
        if not any(from_model):
            return
        for part in outputs:
            self._of_model[id(part)] = part
        if len(inputs) == 2 and not all(from_model) and _name(kind) in PAIRED:
            shapes = [tuple(part.shape) for part in inputs]
            first, other = shapes if from_model[0] else reversed(shapes)
            if _one_each(first) and _one_each(other) and len(first) != len(other) and first[0] == other[0]:
                self.found = Spread(first, other, self._place())
                self._stop()


def _one_each(shape: tuple[int, ...]) -> bool:
    return len(shape) in (1, 2) and shape[0] > 1 and shape[1:] in ((), (1,))


def _name(kind: Any) -> str:
    return kind.decode() if isinstance(kind, bytes) else str(kind)
