"""Takes one thing out of a model or its optimizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras

from trainer.doctor.tools.first_weights import flat_layers

Change = Callable[[Any], Any]
CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")
HIGH_MOMENTUM = 0.95
FADES_IN, FADED = 40, 0.1  # steps after which a schedule that gives less than this share of its first rate is left out


@dataclasses.dataclass(frozen=True)
class Variant:
    """Describes a model or optimizer without one thing.

    name: a case of the finding `cannot-memorize`.
    told: what was taken out, with its values.
    options: settings of the optimizer that replace the user's.
    change: gives the layer that stands in the place of a layer; None leaves all layers as they are.
    """

    name: str
    told: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    change: Change | None = None


def of(model: Any) -> list[Variant]:
    """Returns the variants that differ from a compiled model."""
    optimizer = inner_of(model.optimizer)
    options = optimizer.get_config()
    found = []
    clips = {name: options[name] for name in CLIPPING if options.get(name)}
    if clips:
        told = ", ".join(f"{name}={value:g}" for name, value in clips.items())
        found.append(Variant("clipping", told, dict.fromkeys(clips)))
    momentum = options.get("momentum") or 0
    if momentum:
        told = f"momentum={momentum:g}"
        found.append(Variant("momentum", told, {"momentum": 0.9 if momentum > HIGH_MOMENTUM else 0.0}))
    schedule = schedule_of(optimizer)
    if schedule is not None:
        first, last = float(schedule(0)), float(schedule(FADES_IN))
        if last < FADED * first:
            told = f"{type(schedule).__name__}, which falls from {first:.3g} to {last:.3g} in {FADES_IN} steps"
            found.append(Variant("schedule", told, {"learning_rate": first}))
    if options.get("weight_decay"):
        found.append(Variant("weight-decay", f"weight_decay={options['weight_decay']:g}", {"weight_decay": 0.0}))
    layers = flat_layers(model)
    dropped = [layer for layer in layers if getattr(layer, "rate", 0) and "Dropout" in type(layer).__name__]
    if dropped:
        rates = ", ".join(sorted({f"{layer.rate:g}" for layer in dropped}))
        found.append(Variant("dropout", f"dropout of {rates}", change=_without_dropout))
    random = [layer for layer in layers if _is_random(layer)]
    if random:
        told = ", ".join(dict.fromkeys(type(layer).__name__ for layer in random))
        found.append(Variant("augmentation", told, change=_without_augmentation))
    if any(_regularizers(layer) for layer in layers):
        names = ", ".join(dict.fromkeys(name for layer in layers for name in _regularizers(layer)))
        found.append(Variant("regularizer", names, change=_without_regularizer))
    if any(str(getattr(layer, "compute_dtype", "")) == "float16" for layer in layers):
        found.append(Variant("float16", "the dtype float16", change=_as_float32))
    return found


def inner_of(optimizer: Any) -> Any:
    """Returns the optimizer that a LossScaleOptimizer holds, or the optimizer itself.

    Keras wraps the optimizers of models of the policy mixed_float16. The wrapper divides all gradients by its scale,
    also those of losses that were not multiplied by it, and has none of the settings.
    """
    return getattr(optimizer, "inner_optimizer", optimizer)


def schedule_of(optimizer: Any) -> Callable[[int], Any] | None:
    """Returns the schedule of an optimizer; None for a rate that is a number."""
    rate = getattr(optimizer, "_learning_rate", None)
    return rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else None


def clone(model: Any, change: Change | None = None) -> Any:
    """Returns a copy of a model that is not compiled and has weights of its own.

    Keras would compile it as well, which it cannot do with a loss that is a function of the user's program.

    Args:
      change: gives the layer that stands in the place of a layer.

    Raises:
      Exception: Keras cannot clone the model, for example because it is a subclass.
    """
    compiled = model.compiled
    model.compiled = False
    try:
        return keras.models.clone_model(model, clone_function=change, recursive=change is not None)
    finally:
        model.compiled = compiled


def _copied(layer: Any, **changes: Any) -> Any:
    return type(layer).from_config(layer.get_config() | changes)


def _without_dropout(layer: Any) -> Any:
    return _copied(layer, rate=0.0) if "Dropout" in type(layer).__name__ else _copied(layer)


def _is_random(layer: Any) -> bool:
    name = type(layer).__name__
    return name.startswith("Random") or name in ("RandAugment", "AugMix", "MixUp", "CutMix")


def _without_augmentation(layer: Any) -> Any:
    return keras.layers.Identity(name=layer.name) if _is_random(layer) else _copied(layer)


def _regularizers(layer: Any) -> list[str]:
    names = [name for name in dir(layer) if name.endswith("_regularizer")]
    return [name for name in names if getattr(layer, name, None) is not None]


def _without_regularizer(layer: Any) -> Any:
    return _copied(layer, **dict.fromkeys(_regularizers(layer)))


def _as_float32(layer: Any) -> Any:
    return _copied(layer, dtype="float32")
