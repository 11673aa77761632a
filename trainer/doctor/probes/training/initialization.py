"""Checks the model before the first step: loss, gradients and number of weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pipelines.core.text import plural
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.copies.model_copy import Twin
from trainer.doctor.finding import BARS, Chart, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import Subject

HIGH, LOW = 3.0, 0.3  # limits of the first loss, as multiples of ln(classes)
MORE = 3.0  # nats; columns in centimetres or years begin so far above ln(2), and a few steps mend it
DRAWS = 7  # of the weights, before a first loss is called unusual
NEAR = 2.0  # a first loss within so many times that of a draw may be one of them
EXPLODES = 1e3  # limit of the global norm; the usual norms are 0.1 to 100
VANISHES = 1e-5  # limit of the first kernel's gradient, as a share of the last one's
LARGE = 30_000  # trainable parameters for each train image
FULL_SHARE = 0.8


def first_loss(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a first loss that is far from ln(classes).

    A loss that only this draw of the weights has is none: the next run of the program draws other ones.
    """
    _untrained(subject)
    twin = Twin(subject)
    clock.check()
    if not math.isfinite(twin.chance):
        raise NotApplicable("the loss is not a cross-entropy")
    guess = max(twin.chance, math.log(2))  # of many columns, of which few are right, guessing is less than one bit
    low, high = LOW * twin.chance, max(HIGH * guess, guess + MORE)
    if low <= twin.start <= high:
        return []
    draws = twin.starts(DRAWS, clock)
    if draws and low <= np.median(draws) <= high and min(draws) / NEAR <= twin.start <= max(draws) * NEAR:
        return []
    drawn = f" Weights drawn anew give {min(draws):.3g} to {max(draws):.3g}." if draws else ""
    return [
        catalogue.found(
            "loss-at-start",
            f"It is {twin.start:.3g} on a batch; a model that knows nothing has ln({twin.classes}) = "
            f"{twin.chance:.3g}.{drawn}",
            case="low" if twin.start < twin.chance else "high",
        )
    ]


def gradients(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds exploding or vanishing gradients at the first step."""
    _untrained(subject)
    twin = Twin(subject)
    clock.check()
    found = [(v.path, g) for v, g in twin.gradients() if g is not None]
    total = math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for _, g in found))
    kernels = [(path, float(np.sqrt(np.mean(np.square(g, dtype=np.float64))))) for path, g in found if g.ndim > 1]
    if not math.isfinite(total) or total > EXPLODES:
        return [_explodes(total, kernels)]
    if len(kernels) > 2 and kernels[-1][1] > 0 and kernels[0][1] < VANISHES * kernels[-1][1]:
        return [_vanishes(kernels)]
    return []


def _explodes(total: float, kernels: list[tuple[str, float]]) -> Finding:
    largest = max(kernels, key=lambda k: k[1], default=("", math.nan))
    return catalogue.found(
        "gradients-explode",
        f"Their norm over all weights is {total:.3g}; 0.1 to 100 is usual. Largest: {largest[0]}, "
        f"{largest[1]:.3g} for each weight.",
        charts=[_chart(kernels)],
    )


def _vanishes(kernels: list[tuple[str, float]]) -> Finding:
    return catalogue.found(
        "gradients-vanish",
        f"At {kernels[0][0]} they are {kernels[0][1]:.2g} for each weight, at {kernels[-1][0]} "
        f"{kernels[-1][1]:.2g}: {kernels[-1][1] / max(kernels[0][1], 1e-300):.1g} times as much.",
        charts=[_chart(kernels)],
    )


def _chart(kernels: list[tuple[str, float]]) -> Chart:
    logs = [math.log10(max(size, 1e-30)) for _, size in kernels]
    return Chart("log10 of the gradient, first layer to last", BARS, {"gradient": logs}, [path for path, _ in kernels])


def _untrained(subject: Subject) -> None:
    if state.is_trained(subject):
        raise NotApplicable("the model is trained already")


def capacity(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a model that is far too small or too large for the data.

    It judges by the layers of the model.
    """
    del clock
    narrow = _narrowest(subject)
    if narrow:
        return [narrow]
    if state.is_trained(subject):
        return []
    counts, whole = state.counts(subject, subject.split("train"))
    if not whole:
        raise NotApplicable("the number of train images is not known; --deep looks at more")
    images = sum(counts.values())
    weights = {v.path: math.prod(v.shape) for v in subject.model.trainable_variables}
    total = sum(weights.values())
    if total <= LARGE * images:
        return []
    path, size = max(weights.items(), key=lambda w: w[1])
    return [
        catalogue.found(
            "capacity-large",
            f"{total:,} trainable parameters for {images:,} train images, {total / images:,.0f} to one; "
            f"{size / total:.0%} of them are in {path}.",
            one_layer=size >= FULL_SHARE * total,
        )
    ]


def _narrowest(subject: Subject) -> Finding | None:
    """Finds a layer with too few units to separate the classes.

    The signs of its units have fewer patterns than there are classes.
    """
    classes = state.classes(subject)
    layers = [layer for layer in flat(subject.model) if _width(layer)]
    for layer in layers[:-1]:
        width = _width(layer)
        # A convolution of 1x1 pixels mixes channels, such as gray out of three, and keeps what is beside each other.
        pointwise = math.prod(getattr(layer, "kernel_size", (2,))) == 1
        if 2**width < classes and not pointwise and type(layer).__name__ != "DepthwiseConv2D":
            return catalogue.found(
                "capacity-small",
                f"All information about an image passes through {plural(width, 'output')} of "
                f"{layer.name}; there are {classes} classes.",
                layer=layer.name,
                enough=max(16, 4 * classes),
            )
    return None


def flat(model: Any) -> list[Any]:
    """Returns all layers in order.

    Models inside the model, and layers inside layers, are replaced by their own layers.
    """
    found: list[Any] = []
    for layer in getattr(model, "layers", None) or getattr(model, "_layers", []):
        inner = flat(layer)
        found += inner or [layer]
    return found


def _width(layer: Any) -> int:
    """Returns the units or filters of a Dense or convolution; 0 for other layers.

    It is also 0 for layers with a sigmoid: gates in side branches are no bottleneck.
    """
    if getattr(getattr(layer, "activation", None), "__name__", "") in ("sigmoid", "hard_sigmoid"):
        return 0
    return int(getattr(layer, "units", 0) or getattr(layer, "filters", 0) or 0)


PROBES = (
    Probe("loss before training", first_loss, ("images", "model", "loss"), 15.0),
    Probe("gradients at the first step", gradients, ("images", "model", "loss"), 15.0),
    Probe("capacity", capacity, ("images", "model"), 2.0, of_classes=True),
)
