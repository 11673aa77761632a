"""Checks whether a train_step sets back the gradients that it sums up.

Such a step adds the gradients of several batches to variables, applies the sums, and has to set them back to 0 then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.core.text import listed
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.sample import choose
from trainer.doctor.subject.subject import Subject

IMAGES = 16
LEAST_STEPS, MOST_STEPS = 12, 96
APPLIED = 2  # steps of the optimizer that have to be seen
# Growth of the later half of the steps, as a share of that of the earlier half. An average grows less and less.
EVEN = 0.9
HALF = 0.5  # share of the weights' shapes that the sums must have
DEEPEST = 3  # lists in lists that are looked through


def not_reset(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds sums of gradients that only grow.

    The weights are set back before each step, so that each adds the same gradients. They are drawn, because a trained
    model that is right on all images has gradients that are rounded to 0.
    """
    model = subject.model
    if type(model).train_step is keras.Model.train_step or model.optimizer is None:
        return []
    sums = _sums(model)
    if not sums:
        return []
    sample = subject.split("train").sample
    x, y = (choose(part, slice(IMAGES)) for part in (sample.inputs, sample.targets))
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    own = [v for _, v in _variables(vars(model))]
    variables = [*own, *model.variables, *model.optimizer.variables]
    kept = [np.array(variable) for variable in variables]
    try:
        grown, applied = _growth(model, x, y, list(sums.values()), clock)
        squares = all(np.array(v).min() >= 0 for v in sums.values())  # as an optimizer of the program's own keeps them
    finally:
        for variable, value in zip(variables, kept, strict=True):
            variable.assign(value)
    if squares or applied < APPLIED or len(grown) < LEAST_STEPS or not _even(grown):
        return []
    names = listed(sorted({name.partition("[")[0] for name in sums}), 3)
    return [
        catalogue.found(
            "gradients-not-reset",
            f"With the same {len(x) if hasattr(x, '__len__') else IMAGES} images and drawn weights in each of "
            f"{len(grown)} steps, {len(sums)} variables of {names} grew by {grown[-1] / len(grown):.3g} a step, to "
            f"{grown[-1]:.3g}, and the optimizer applied gradients {applied} times meanwhile.",
            case="in-train-step",
            names=names,
        )
    ]


def _growth(model: Any, x: Any, y: Any, sums: list[Any], clock: Clock) -> tuple[list[float], int]:
    """Returns how far the sums were from their first values after each step.

    The number is that of the steps that the optimizer took.
    """
    draw = keras.initializers.GlorotUniform(seed=0)
    weights = [(v, np.array(draw(v.shape, v.dtype) if len(v.shape) > 1 else v)) for v in model.trainable_variables]
    first = [np.array(v, np.float64) for v in sums]
    begun, grown = int(np.asarray(model.optimizer.iterations)), list[float]()
    applied = 0
    batch = iter(tf.data.Dataset.from_tensors((x, y)).repeat())
    model.make_train_function()
    while len(grown) < MOST_STEPS and not (applied >= APPLIED and len(grown) >= LEAST_STEPS):
        clock.check()
        for variable, value in weights:
            variable.assign(value)
        try:
            model.train_function(batch)  # as fit calls it; train_on_batch would give a weight as well
        except Exception as e:  # a step of the program's own may expect other data
            raise NotApplicable(f"train_step does not take {IMAGES} images ({type(e).__name__})") from e
        apart = sum(float(np.sum((np.array(v, np.float64) - f) ** 2)) for v, f in zip(sums, first, strict=True))
        grown.append(apart**0.5)
        applied = int(np.asarray(model.optimizer.iterations)) - begun
    return grown, applied


def _even(grown: list[float]) -> bool:
    """Tells whether a value grew in each step, and no less at the end."""
    steps = np.diff([0.0, *grown])
    half = len(steps) // 2
    return bool(np.isfinite(steps).all() and (steps > 0).all() and steps[half:].mean() >= EVEN * steps[:half].mean())


def _sums(model: Any) -> dict[str, Any]:
    """Returns the variables in attributes that have the shapes of the weights.

    It returns {} where they are too few to be those of all weights.
    """
    shapes = [tuple(v.shape) for v in model.trainable_variables]
    known = {id(v) for v in (*model.trainable_variables, *model.optimizer.variables, *model.metrics_variables)}
    found = {
        name: v
        for name, v in _variables(vars(model))
        if id(v) not in known and tuple(v.shape) in shapes and "float" in keras.backend.standardize_dtype(v.dtype)
    }
    return found if len(found) >= HALF * len(shapes) else {}


def _variables(values: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yields (name, variable) of attributes, and of lists and dictionaries in them."""
    if isinstance(values, tf.Variable | keras.Variable):
        yield name, values
    elif depth <= DEEPEST and isinstance(values, Mapping):
        for key, value in values.items():
            if not (depth == 0 and str(key).startswith(("_trainable", "_non_trainable", "_optimizer"))):
                yield from _variables(value, f"{name}[{key!r}]" if name else str(key), depth + 1)
    elif depth <= DEEPEST and isinstance(values, list | tuple):
        for i, value in enumerate(values):
            yield from _variables(value, f"{name}[{i}]", depth + 1)


PROBES = (Probe("gradients that are summed up", not_reset, ("images", "model", "optimizer"), 15.0),)
