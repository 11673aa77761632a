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
from trainer.doctor.tools.first_weights import flat_layers

MOST_CALLS = 512  # that are noted
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
    """

    model: Any
    images: int
    key: bytes
    place: Place | None


class TrainingMode:
    """Holds such calls of a program."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._trained: collections.deque[bytes] = collections.deque(maxlen=4)

    def note(self, model: Any, x: Any, place: Place | None) -> None:
        """Notes a call with training=True on known images."""
        if len(self.asked) >= MOST_CALLS:
            return
        first = np.asarray(keras.tree.flatten(x)[0])
        key = hashlib.sha256(np.ascontiguousarray(first).tobytes()).digest()
        if record.could_possibly_record():
            self._trained.append(key)
        elif key not in self._trained:  # what was just trained on may be scored as it was seen
            self.asked.append(Asked(model, len(first), key, place))

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
            if layers and max(collections.Counter(call.key for call in calls).values()) < TIMES:
                least = min(call.images for call in calls)
                images = "1 image" if least == 1 else f"{least} images"
                times = "once" if len(calls) == 1 else f"{len(calls)} times"
                return [_finding(f"It was called {times}, with {images} or more.", layers, place)]
        layers = sorted({layer for model in models for layer in _layers(model)})
        for name, line in _functions(code) if layers else ():
            return [_finding(f"It is called so in {name}.", layers, place_of(line))]
        return []


def _by_place(asked: list[Asked]) -> dict[Place, list[Asked]]:
    found = collections.defaultdict(list)
    for call in asked:
        if call.place is not None:
            found[call.place].append(call)
    return found


def _layers(model: Any) -> list[str]:
    """Returns the kinds of layers that answer otherwise in training mode.

    It returns [] for a model that makes images: it may be meant to use the statistics of its input.
    """
    shape = getattr(model, "output_shape", None)
    if isinstance(shape, tuple) and len(shape) > 3:
        return []
    kinds = [type(layer).__name__ for layer in flat_layers(model)]
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
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
                continue
            given = {keyword.arg: keyword.value for keyword in node.keywords}.get("training")
            if isinstance(given, ast.Constant) and given.value is True:
                yield function.name, node.lineno


def _finding(evidence: str, layers: list[str], place: Place | None) -> Finding:
    told = " and ".join(layers)
    finding = catalogue.found("training-mode-at-inference", f"{evidence} The model has layers of {told}.", layers=told)
    return dataclasses.replace(finding, place=place.quoted if place is not None else "")
