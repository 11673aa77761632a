"""Checks the layers of a model: activations, dropout, weights, augmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.core.text import listed, plural
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.sample import choose
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools import tfdata_steps
from trainer.doctor.tools.first_weights import flat_layers

LINEAR_LAYERS = (
    "InputLayer", "Dense", "Conv1D", "Conv2D", "Conv3D", "Flatten", "Reshape", "Permute", "Dropout", "SpatialDropout2D",
    "BatchNormalization", "Rescaling", "Normalization", "AveragePooling1D", "AveragePooling2D",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "ZeroPadding2D", "Cropping2D", "Concatenate", "Add",
    "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomCrop", "Resizing",
)  # fmt: skip
PASSING = ("Dropout", "Flatten", "BatchNormalization", "Reshape", "Activation", "MaxPooling1D", "MaxPooling2D")
MOST_BETWEEN = 4  # layers without weights between two with
MUCH_DROPOUT = 0.8  # 0.2 to 0.5 is usual; Srivastava et al. 2014 found units of a hidden layer to need 0.5 or less
SATURATED, SATURATED_SHARE = 0.98, 0.9  # of the range of the activation; share of its values
IMAGES = 32
FROZEN_SHARE = 0.8  # of the kernels' numbers; a few frozen random layers at the front leave most to train
LEAST_STEPS = 8  # of a sequence
PADDED_STEPS, PADDED = 20, 0.4  # steps, and share of the row, of zeros at the end; an LSTM remembers some tens of steps
FEWEST_NUMBERS = 200  # of a kernel, to tell a uniform distribution


def activations(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a network of several layers that is linear as a whole."""
    del clock
    layers = flat_layers(subject.model)
    weighted = [layer for layer in layers if _kernel(layer) is not None]
    if len(weighted) < 2 or not layers:
        return []
    known = all(type(layer).__name__ in LINEAR_LAYERS for layer in layers)
    if not known or not getattr(subject.model, "inputs", None) or _has_operations(subject.model):
        return []
    if any(_activation(layer) not in ("", "linear") for layer in weighted[:-1]):
        return []
    names = listed((layer.name for layer in weighted), 6)
    return [catalogue.found("no-activation", f"Its {len(weighted)} layers with weights are {names}.")]


def softmax_inside(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a softmax whose outputs go into another layer with weights.

    A softmax that weighs something, as in attention, is multiplied with it and left alone.
    """
    del clock
    found = [
        layer
        for layer in flat_layers(subject.model)
        if (_activation(layer) == "softmax" or type(layer).__name__ == "Softmax") and _feeds_weights(layer)
    ]
    if not found:
        return []
    return [catalogue.found("softmax-hidden", f"Layers: {listed((layer.name for layer in found), 5)}.")]


def _feeds_weights(layer: Any) -> bool:
    """Returns whether a layer feeds one layer with a kernel, and no other.

    Layers without weights may stand between them.
    """
    for _ in range(MOST_BETWEEN):
        nodes = getattr(layer, "_outbound_nodes", [])
        operations = {id(node.operation): node.operation for node in nodes}
        if len(operations) != 1:
            return False
        layer = next(iter(operations.values()))
        if _kernel(layer) is not None or hasattr(layer, "cell"):
            return True
        if type(layer).__name__ not in PASSING:
            return False
    return False


def _has_operations(model: Any) -> bool:
    """Returns whether a graph has operations that are not layers."""
    return any(not isinstance(op, keras.layers.Layer) for op in getattr(model, "operations", []))


def _activation(layer: Any) -> str:
    return str(getattr(getattr(layer, "activation", None), "__name__", ""))


def _kernel(layer: Any) -> Any:
    try:
        return getattr(layer, "kernel", None)
    except (AttributeError, ValueError):  # a layer that is not built
        return None


def dropout(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds layers that drop nearly all of their inputs."""
    del clock
    layers = [x for x in flat_layers(subject.model) if "Dropout" in type(x).__name__ and _rate(x) >= MUCH_DROPOUT]
    if not layers:
        return []
    kept = math.prod(1 - _rate(layer) for layer in layers)
    return [
        catalogue.found(
            "dropout-high",
            f"Dropped: {listed((f'{_rate(layer):.0%} by {layer.name}' for layer in layers), 6)}. Through all of them "
            f"{kept:.2g} of the paths remain in a step.",
            rate=max(map(_rate, layers)),
            kept=1 - max(map(_rate, layers)),
        )
    ]


def _rate(layer: Any) -> float:
    return float(getattr(layer, "rate", 0) or 0)


def initial_weights(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds kernels whose numbers are all equal before training."""
    del clock
    if state.is_trained(subject):
        raise NotApplicable("the model is trained already")
    kernels = [
        (layer, np.asarray(_kernel(layer))) for layer in flat_layers(subject.model) if _kernel(layer) is not None
    ]
    hidden = [(layer, kernel) for layer, kernel in kernels[:-1] if kernel.shape[-1] > 1 and layer.trainable]
    alike = [(layer, kernel) for layer, kernel in hidden if kernel.size > 1 and np.ptp(kernel) == 0]
    if not alike:
        return []
    return [
        catalogue.found(
            "weights-constant",
            f"{listed((f'{layer.name}: all {kernel.ravel()[0]:g}' for layer, kernel in alike), 5)}; "
            f"{len(alike)} of {len(hidden)} hidden kernels.",
        )
    ]


def saturated(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds layers of sigmoid or tanh whose outputs all lie at the ends."""
    layers = [x for x in getattr(subject.model, "layers", [])[:-1] if _activation(x) in ("sigmoid", "tanh")]
    if not layers or not getattr(subject.model, "inputs", None):
        return []
    images = choose(subject.splits[0].sample.inputs, slice(IMAGES))
    try:
        outputs = keras.Model(subject.model.inputs, [layer.output for layer in layers])(images, training=False)
    except Exception as e:  # a layer that is used several times has no single output
        raise NotApplicable("the outputs of the layers cannot be separated") from e
    clock.check()
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    found = []
    for layer, values in zip(layers, outputs, strict=True):
        numbers = np.asarray(values, np.float32)
        ends = np.abs(2 * numbers - 1) if _activation(layer) == "sigmoid" else np.abs(numbers)
        if np.mean(ends > SATURATED) >= SATURATED_SHARE:
            found.append(f"{layer.name} {np.mean(ends > SATURATED):.0%}")
    if not found:
        return []
    return [catalogue.found("units-saturated", f"Outputs at the ends for {len(numbers)} images: {listed(found, 5)}.")]


def augmentation_range(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds augmentation layers that are told another range than that of the images."""
    del clock
    images = subject.splits[0].sample.images[:IMAGES].astype(np.float32)
    layers = [(layer, "the model", images) for layer in _before_weights(flat_layers(subject.model))]
    layers += [(layer, "a map of the dataset", before) for layer, before in _of_map(subject)]
    for layer, where, given in layers:
        high = float(np.nanmax(given))
        told = getattr(layer, "value_range", None)
        if told is None or len(told) != 2 or _unused(layer):
            continue
        if (told[1] > 100 and high <= 2.0) or (told[1] <= 2.0 and high > 20.0):
            return [
                catalogue.found(
                    "augmentation-value-range",
                    f"Layer {layer.name!r} in {where} has value_range={tuple(told)}; the images are "
                    f"{np.nanmin(given):.3g} to {high:.3g}.",
                    layer=type(layer).__name__,
                    high=1.0 if high <= 2.0 else 255.0,
                )
            ]
    return []


def _unused(layer: Any) -> bool:
    """Returns whether a layer changes nothing whose size depends on the range."""
    return type(layer).__name__ not in (
        "RandomBrightness", "RandomColorJitter", "RandomPosterization", "RandAugment", "AugMix", "Solarization",
        "RandomContrast", "RandomSaturation", "RandomHue", "RandomColorDegeneration", "AutoContrast", "Equalization",
    )  # fmt: skip


def _before_weights(layers: Sequence[Any]) -> list[Any]:
    """Returns the layers before the first that scales or has weights."""
    found: list[Any] = []
    for layer in layers:
        if layer.weights or isinstance(layer, keras.layers.Rescaling):
            break
        found.append(layer)
    return found


def _of_map(subject: Subject) -> list[tuple[Any, np.ndarray]]:
    """Returns the layers of the last map, each with a batch before the map."""
    dataset = subject.train.dataset if subject.train is not None else None
    if dataset is None:
        return []
    found: list[Any] = []
    for step, _ in tfdata_steps.maps(dataset):
        function = step.function
        code, names = getattr(function, "__code__", None), getattr(function, "__globals__", {})
        cells = [c.cell_contents for c in getattr(function, "__closure__", None) or () if c.cell_contents is not None]
        used = [*cells, *(names[n] for n in getattr(code, "co_names", ()) if n in names)]
        for thing in used:
            found += flat_layers(thing) if isinstance(thing, keras.Model) else []
            found += [thing] if isinstance(thing, keras.layers.Layer) and not isinstance(thing, keras.Model) else []
        if any(isinstance(layer, keras.layers.Rescaling) for layer in found):
            return []  # the images have another range behind it
        element = next(iter(step.source.take(1)), None)
        if element is not None and found:
            before = np.asarray(keras.tree.flatten(element)[0])
            return [(layer, before.astype(np.float32)) for layer in found] if before.dtype.kind in "fiu" else []
        break
    return []


def frozen_random(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a model of which nearly all kernels are frozen and as they were drawn.

    A training changes no frozen kernel, so this shows after it as well.
    """
    del clock
    kernels = [
        (layer, np.asarray(_kernel(layer))) for layer in flat_layers(subject.model) if _kernel(layer) is not None
    ]
    total = sum(kernel.size for _, kernel in kernels)
    drawn = [(layer, kernel) for layer, kernel in kernels if not layer.trainable and _as_drawn(kernel)]
    part = sum(kernel.size for _, kernel in drawn)
    if not total or part < FROZEN_SHARE * total or len(drawn) == len(kernels):
        return []
    return [
        catalogue.found(
            "frozen-random",
            f"{len(drawn)} frozen kernels hold {part / total:.0%} of the numbers of all kernels, and each is spread "
            f"evenly up to Glorot's limit, as Keras draws it: {listed((layer.name for layer, _ in drawn), 4)}.",
        )
    ]


def _as_drawn(kernel: np.ndarray) -> bool:
    """Returns whether a kernel is uniform within Glorot's limit, the default of Keras."""
    if kernel.ndim < 2 or kernel.size < FEWEST_NUMBERS:
        return False
    field = math.prod(kernel.shape[:-2])
    limit = math.sqrt(6 / (field * (kernel.shape[-2] + kernel.shape[-1])))
    greatest = float(np.abs(kernel).max())
    return 0.95 * limit < greatest <= 1.001 * limit and abs(float(kernel.std()) * math.sqrt(3) / limit - 1) < 0.1


def half_precision(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds weights of float16, whose steps are lost in rounding."""
    del clock
    variables = subject.model.trainable_variables
    half = [v for v in variables if str(v.dtype) == "float16"]
    if not half:
        return []
    epsilon = getattr(getattr(subject.model, "optimizer", None), "epsilon", None)
    told = "" if epsilon is None else f" The optimizer's epsilon is {float(epsilon):g}; float16 has nothing below 6e-8."
    return [catalogue.found("float16-weights", f"{len(half)} of {len(variables)} trainable variables.{told}")]


def padding(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a recurrent layer whose last steps are padding that nothing masks.

    Its answer is its last state, after all the padding.
    """
    del clock
    rows = subject.split("train").sample.images
    if rows.ndim != 2 or rows.dtype.kind not in "iuf" or rows.shape[1] < LEAST_STEPS:
        raise NotApplicable("the inputs are no sequences of numbers of words")
    layers = flat_layers(subject.model)
    embedding = next((layer for layer in layers if isinstance(layer, keras.layers.Embedding)), None)
    after = _reached(embedding)
    last = next((layer for layer in layers if layer.name in after and _answers_at_its_end(layer)), None)
    if embedding is None or last is None:
        raise NotApplicable("no recurrent layer answers with its last state")
    if embedding.mask_zero or any(isinstance(layer, keras.layers.Masking) for layer in layers):
        return []
    filled = np.where(rows != 0, np.arange(1, rows.shape[1] + 1), 0).max(axis=1)
    behind = rows.shape[1] - filled  # zeros at the end of each row
    if np.median(behind) < max(PADDED_STEPS, PADDED * rows.shape[1]):
        return []
    return [
        catalogue.found(
            "padding-unmasked",
            f"The rows have {rows.shape[1]} numbers, of which the last {np.median(behind):.0f} are 0 in the middle "
            f"row: {last.name} goes through them after the last word, and its answer is its state at the end.",
            layer=last.name,
            embedding=embedding.name,
        )
    ]


def untracked(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds variables of a layer that Keras does not know and not train."""
    del clock
    found: dict[str, Any] = {}
    for layer in [subject.model, *flat_layers(subject.model)]:
        if type(layer).__module__.partition(".")[0] in ("keras", "tf_keras"):
            continue
        known = {id(getattr(weight, "value", weight)) for weight in layer.weights}
        for name, value in vars(layer).items():
            for variable in value if isinstance(value, list | tuple) else [value]:
                own = isinstance(variable, tf.Variable) and variable.trainable and id(variable) not in known
                if own and variable.dtype.is_floating:
                    found[f"{layer.name}.{name}"] = layer
    if not found:
        return []
    return [
        catalogue.found(
            "variables-untracked",
            f"{plural(len(found), 'tf.Variable is', 'tf.Variables are')} not among the weights of its layer: "
            f"{listed(found, 6)}.",
            name=next(iter(found)).rpartition(".")[2],
        )
    ]


def _answers_at_its_end(layer: Any) -> bool:
    recurrent = isinstance(layer, keras.layers.LSTM | keras.layers.GRU | keras.layers.SimpleRNN)
    return recurrent and not layer.return_sequences and not layer.go_backwards


def _reached(layer: Any) -> set[str]:
    """Returns the names of the layers that what a layer gives goes into."""
    found: set[str] = set()
    waiting = [layer]
    while waiting and layer is not None:
        for node in getattr(waiting.pop(), "_outbound_nodes", ()):
            operation = node.operation
            if operation.name not in found:
                found.add(operation.name)
                waiting.append(operation)
    return found


PROBES = (
    Probe("activations between the layers", activations, ("model",), 2),
    Probe("softmax between the layers", softmax_inside, ("model",), 2),
    Probe("rates of dropout", dropout, ("model",), 2),
    Probe("weights before training", initial_weights, ("model",), 5),
    Probe("saturated units", saturated, ("images", "model"), 10),
    Probe("value range of augmentation layers", augmentation_range, ("images", "model"), 5),
    Probe("frozen random weights", frozen_random, ("model",), 5),
    Probe("variables that Keras knows", untracked, ("model",), 2),
    Probe("padding at the end of sequences", padding, ("images", "model"), 3),
    Probe("precision of the weights", half_precision, ("model",), 2),
)
