"""Finds calls of a model in training mode that only want its answers.

With `training=True` dropout is on, and batch normalization goes by the images of the call. A program that averages over
many such calls on the same images wants this, and is left alone.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from tensorflow.python.eager import record

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.subject.training import Place

MOST_CALLS = 512  # that are noted
LEAST_STEPS = 4  # between calls, that tell whether there is one call in each step
TIMES = 3  # so many calls on the same images at one line are an average
# Names of functions that only ask a model, and of those that average over dropout.
ASKING = re.compile(
    r"(^|_)(test|val|valid|validate|validation|eval|evaluate|evaluation|predict|predictions?|infer|inference)(_|$)"
)
AVERAGING = re.compile(r"mc|monte|bayes|uncertain|dropout|ensemble|sampl")


@dataclasses.dataclass(frozen=True)
class Asked:
    """Describes a call of a model with training=True outside of a GradientTape.

    images: number of images. key: tells equal images. place: the line; None if it is not known.
    steps: steps of the program's own loops before the call.
    """

    model: Any
    images: int
    key: bytes
    place: Place | None
    steps: int = 0


class TrainingMode:
    """Holds such calls of a program."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._trained: collections.deque[bytes] = collections.deque(maxlen=4)

    def note(self, model: Any, x: Any, place: Place | None, outputs: Any = None, steps: int = 0) -> None:
        """Notes a call with training=True on known images.

        Outputs that are images are left alone: their model may be meant to use the statistics of its input.

        Args:
          steps: of the program's own loops, before this call.
        """
        if len(self.asked) >= MOST_CALLS or len(getattr(outputs, "shape", ())) > 3:
            return
        first = np.asarray(keras.tree.flatten(x)[0])
        key = hashlib.sha256(np.ascontiguousarray(first).tobytes()).digest()
        if record.could_possibly_record():
            self._trained.append(key)
        elif key not in self._trained:  # what was just trained on may be scored as it was seen
            self.asked.append(Asked(model, len(first), key, place, steps))

    def find(self, code: str, models: Sequence[Any], place_of: Callable[[int], Place]) -> list[Finding]:
        """Finds calls that are not meant to train.

        Args:
          code: the program, whose functions may not have been called before it was ended.
          models: those that the program trains. Others may be parts of one, as the generator of a GAN is.
          place_of: gives the Place of a line of it.
        """
        for place, calls in _by_place(self.asked).items():
            model = calls[0].model
            layers = _layers(model) if any(model is one for one in models) else []
            most = max(collections.Counter(call.key for call in calls).values())  # calls on the same images
            if layers and most < TIMES and not _of_each_step(calls):
                least = min(call.images for call in calls)
                images = "1 image" if least == 1 else f"{least} images"
                times = "once" if len(calls) == 1 else f"{len(calls)} times"
                return [_finding(f"It was called {times}, with {images} or more.", layers, place)]
        layers = sorted({layer for model in models for layer in _layers(model)})
        for name, line in _functions(code) if layers else ():
            return [_finding(f"It is called so in {name}.", layers, place_of(line))]
        return []


def may_ask(code: str) -> bool:
    """Tells whether a program calls something with training=True outside of a tape.

    The calls are found in the code: those in the block of a GradientTape do not count.
    """
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return False
    taped = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and any("GradientTape" in ast.unparse(item) for item in node.items)
        for part in ast.walk(node)
    }
    return any(_in_training_mode(node) for node in ast.walk(tree) if id(node) not in taped)


def _in_training_mode(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
        return False
    given = {keyword.arg: keyword.value for keyword in node.keywords}.get("training")
    return isinstance(given, ast.Constant) and given.value is True


def _by_place(asked: list[Asked]) -> dict[Place, list[Asked]]:
    found = collections.defaultdict(list)
    for call in asked:
        if call.place is not None:
            found[call.place].append(call)
    return found


def _of_each_step(calls: Sequence[Asked]) -> bool:
    """Tells whether there is a call in each step.

    A GAN makes with it what its discriminator learns from.
    """
    between = np.diff([call.steps for call in calls])
    return len(between) >= LEAST_STEPS and 0 < float(np.median(between)) <= 2  # one step of each of two models


def _layers(model: Any) -> list[str]:
    """Returns the kinds of layers that answer otherwise in training mode.

    It returns [] for a model that makes images, see `TrainingMode.note`.
    """
    shape = getattr(model, "output_shape", None)
    if isinstance(shape, tuple) and len(shape) > 3:
        return []
    inner = model._flatten_layers(include_self=False)  # also those of layers of the program's own
    kinds = [type(layer).__name__ for layer in inner]
    return sorted({kind for kind in kinds if kind == "BatchNormalization" or "Dropout" in kind})


def _functions(code: str) -> Iterator[tuple[str, int]]:
    """Yields (function, line) of calls with training=True.

    The functions are those that only ask a model. One with a GradientTape or a loop over a range is left out.
    """
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        name = function.name.lower()
        text = ast.unparse(function)
        if not ASKING.search(name) or AVERAGING.search(name) or "GradientTape" in text or "range(" in text:
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and _in_training_mode(node):
                yield function.name, node.lineno


def _finding(evidence: str, layers: list[str], place: Place | None) -> Finding:
    told = " and ".join(layers)
    finding = catalogue.found("training-mode-at-inference", f"{evidence} The model has layers of {told}.", layers=told)
    return dataclasses.replace(finding, place=place.quoted if place is not None else "")
