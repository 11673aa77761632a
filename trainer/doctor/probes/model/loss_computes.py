"""Checks whether the loss can be computed of what the model gives and the labels."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from pipelines.core.text import first_line
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.copies.model_copy import copy_of
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.sample import choose
from trainer.doctor.subject.subject import Subject

IMAGES = 8
COMPARED = 32  # images whose labels are compared with all outputs, if the loss spreads them
ROUNDING = 1e-3


def loss_computes(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a loss that raises an exception on a batch, or that is not finite."""
    model, x, y, scores = _called(subject, IMAGES)
    clock.check()
    shapes = f"The labels have the shape {_shape(y)} and the model's outputs {_shape(scores)}."
    try:
        model.compile("sgd", subject.model.loss, jit_compile=False)
        loss = float(model.compute_loss(x, keras.tree.map_structure(keras.ops.convert_to_tensor, y), scores, None))
    except Exception as e:  # losses raise many types on shapes and types that do not fit
        return [catalogue.found("loss-fails", f"{shapes} {type(e).__name__}: {first_line(e)}", case="raises")]
    images = np.concatenate([np.ravel(part) for part in keras.tree.flatten(x)]).astype(np.float64)
    labels = np.concatenate([np.ravel(part) for part in keras.tree.flatten(y)]).astype(np.float64)
    if np.isfinite(loss) or not (np.isfinite(images).all() and np.isfinite(labels).all()):
        return []
    return [catalogue.found("loss-fails", f"{shapes} The loss of {len(labels)} labels is {loss}.", case="not-finite")]


def _called(subject: Subject, count: int) -> tuple[Any, Any, Any, Any]:
    """Returns a copy of the model, so many inputs and labels, and the outputs.

    Raises:
      NotApplicable: The model does not take the inputs.
    """
    sample = subject.splits[0].sample
    x, y = choose((sample.inputs, sample.targets), slice(count))
    model = copy_of(subject.model)
    try:
        return model, x, y, model(x, training=False)
    except Exception as e:  # `input-shape` reports it
        raise NotApplicable("the model does not take the images") from e


def broadcast(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a loss that changes with the number of axes of the labels."""
    model, x, y, scores = _called(subject, COMPARED)
    clock.check()
    if not hasattr(y, "shape") or not hasattr(scores, "shape"):
        raise NotApplicable("there are several outputs")
    count = len(y)
    shapes = {tuple(y.shape), tuple(scores.shape)}
    if count < 2 or shapes != {(count,), (count, 1)}:
        return []
    try:
        model.compile("sgd", subject.model.loss, jit_compile=False)
        given, alike = (
            float(model.compute_loss(x, keras.ops.convert_to_tensor(labels), scores, None))
            for labels in (y, np.reshape(y, scores.shape))
        )
    except Exception as e:  # `loss-fails` reports it
        raise NotApplicable("the loss cannot be computed") from e
    if not np.isfinite([given, alike]).all() or abs(given - alike) <= ROUNDING * max(abs(given), abs(alike)):
        return []
    return [
        catalogue.found(
            "loss-broadcast",
            f"The labels have the shape {_shape(y)} and the model's outputs {_shape(scores)}. The loss of {count} "
            f"images is {given:.4g}; with labels in the shape of the outputs it is {alike:.4g}.",
            case="in-compile",
        )
    ]


def _shape(values: Any) -> str:
    shapes = [("batch", *np.shape(part)[1:]) for part in keras.tree.flatten(values)]
    return ", ".join(map(str, shapes))


PROBES = (
    Probe("whether the loss can be computed", loss_computes, ("images", "loss"), 20, matters=True),
    Probe("shapes of labels and outputs in the loss", broadcast, ("images", "loss"), 10),
)
