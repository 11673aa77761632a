"""Checks whether the images suit the model.

It compares the values of the images with what the first layer with weights expects.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import LINES, Chart, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import exceptions
from trainer.doctor.subject.sample import choose
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools import first_weights, keras_applications
from trainer.doctor.tools.first_weights import Front
from trainer.doctor.tools.keras_applications import CAFFE, CENTRED, RANGES, RAW, SYMMETRIC, UNIT, Application
from trainer.models import alignment

IMAGES = 64  # enough images to show a range
# Root mean square at the first weights. 0..255 has about 130, and every usual scaling has less than 2.
LARGE = 20.0
# Span (0.1 to 99.9 %) at the first weights. A dark dataset of 0..1 has 0.3, and one that was scaled twice has 0.004.
SMALL = 0.1
SCALES_DOWN = 1 / 20  # a model that divides by more than this expects 0..255
KNOWS = 0.95  # accuracy of a program's own training on large numbers, from which on they are no matter
SMALL_INPUT = 20.0  # span of the images; with less, they were scaled already before such a model
# Least divergence from the moving averages of batch normalization: photos of another kind have 0.28, other ranges 0.43.
REMEMBERED = 0.35
BETTER = 4.0  # another range must reduce this divergence by at least this factor


def takes_images(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a model that raises an exception when it is called with a batch."""
    del clock
    sample = subject.splits[0].sample
    images = sample.images[:2]
    try:
        subject.model(choose(sample.inputs, slice(2)), training=False)
    except Exception as e:  # layers raise many types on a shape or dtype that they do not take
        wanted = [tuple(tensor.shape) for tensor in getattr(subject.model, "inputs", None) or []]
        known = exceptions.explain(e, "calling the model with a batch")
        if known.id != "program-raises":
            return [known]
        return [
            catalogue.found(
                "input-shape",
                f"The model's input is {', '.join(map(str, wanted)) or 'not declared'}; a batch has the shape "
                f"{('batch', *images.shape[1:])}. {known.evidence}",
                shape=images.shape[1:],
            )
        ]
    return []


def value_range(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds 0..255 where the model expects small values, and values scaled twice."""
    del clock
    split, model = subject.splits[0], subject.part if subject.model is None else subject.model
    weighted = [layer for layer in first_weights.flat_layers(model) if first_weights.has_weights(layer)]
    if weighted and any(isinstance(part, keras.layers.Embedding) for part in first_weights.parts_of(weighted[0])):
        raise NotApplicable("the inputs are numbers of words, which an embedding looks up")
    images = _sound(split.sample.images[:IMAGES])
    seen = first_weights.look(model, images) if weighted or subject.model is not None else _through(model, images)
    if not seen.known and any(isinstance(layer, first_weights.SCALING) for layer in first_weights.flat_layers(model)):
        raise NotApplicable("the model is not a graph of layers, and has a layer that scales")
    given, reached = _span(images), _span(seen.values)
    if given > 0 and (reached < SMALL or (reached < SCALES_DOWN * given and given < SMALL_INPUT)):
        return [_scaled_twice(images, seen)]
    network = keras_applications.of(model)
    rms = float(np.sqrt(np.mean(np.square(seen.values, dtype=np.float64))))
    if rms > LARGE and not seen.normalizes and not _as_wanted(network, seen.values):
        learned, right = _learned(subject)
        if not learned or (subject.training is not None and right < KNOWS):
            return [_large(images, seen, rms, "warning" if learned else "error")]
    return []


def _through(part: Any, images: np.ndarray) -> Front:
    """Returns what a part of a model without weights makes of the images.

    The first layer with weights would get it.
    """
    return Front(np.asarray(part(images, training=False), np.float32), True, False, ())


def _sound(images: np.ndarray) -> np.ndarray:
    """Returns the images as float32, with 0 in the place of NaN and infinity.

    Another probe reports these values.
    """
    return np.nan_to_num(images.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _span(values: np.ndarray) -> float:
    """Returns the span from the 0.1 to the 99.9 % percentile, averaged over channels.

    Each channel has a span of its own, because a difference between the means of channels is no contrast.
    """
    channels = values.shape[-1] if values.ndim == 4 and values.shape[-1] <= 4 else 1
    low, high = np.percentile(values.reshape(-1, channels), [0.1, 99.9], axis=0)
    return float(np.mean(high - low))


def _as_wanted(network: Application | None, values: np.ndarray) -> bool:
    return network is not None and network.wants == keras_applications.range_of(values)


def _learned(subject: Subject) -> tuple[bool, float]:
    """Returns whether the model beats the majority answer, and its accuracy.

    If it is right far more often, it was trained on just these values. The test is one-sided, at three standard errors.
    """
    try:
        split, outputs = subject.scored
    except NotApplicable:
        return False, 0.0
    ids = split.sample.ids[: len(outputs)]
    if outputs.ndim != 2:
        return False, 0.0
    given = (outputs[:, 0] > 0.5).astype(int) if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    majority = np.bincount(np.maximum(ids, 0)).max() / len(ids)
    right = float(np.mean(given == ids))
    return bool(right > majority + 3 * np.sqrt(majority * (1 - majority) / len(ids)) + 0.02), right


def _scaled_twice(images: np.ndarray, seen: Front) -> Finding:
    given, reached = _ends(images), _ends(seen.values)
    by = f"its layer{'s' if len(seen.scaling) > 1 else ''} {', '.join(map(repr, seen.scaling))}" if seen.scaling else ""
    by = by or "what it does before its first weights"
    own = _span(seen.values) < 0.5 * _span(images)
    return catalogue.found(
        "scaled-twice",
        f"The dataset gives {given}; after {by}, {reached} reach the first weights."
        if own
        else f"Values of {reached} reach the first weights: a photograph spans 0..1 or more after one scaling.",
        case="by-dataset-and-model" if own else "by-dataset",
        charts=[_histogram(images, seen.values)],
    )


def _large(images: np.ndarray, seen: Front, rms: float, level: str) -> Finding:
    return catalogue.found(
        "range-large",
        f"The dataset gives {_ends(images)}; {_ends(seen.values)} reach the first weights, with a root mean "
        f"square of {rms:.0f}. Initial weights are made for inputs near 1 (He et al. 2015, section 2.2), and no "
        "normalization follows.",
        rms=rms,
        level=level,
        charts=[_histogram(images, seen.values)],
    )


def _ends(values: np.ndarray) -> str:
    return f"{values.min():.4g}..{values.max():.4g}"


def _histogram(given: np.ndarray, reached: np.ndarray) -> Chart:
    series = {}
    low, high = float(min(given.min(), reached.min())), float(max(given.max(), reached.max()))
    edges = np.linspace(low, high if high > low else low + 1, 51)
    for name, values in (("dataset", given), ("at the first weights", reached)):
        counts = np.histogram(values, edges)[0]
        series[name] = counts / max(1, counts.sum())
    return Chart("share of values", LINES, series, [f"{edge:.3g}" for edge in edges[:-1]])


def network_range(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds images in another range than the network was made for.

    The expected range is that of the network of keras.applications. If the model is trained, it is the range that fits
    the moving averages of the first batch normalization.
    """
    del clock
    images = _sound(subject.splits[0].sample.images[:IMAGES])
    network, norm = keras_applications.of(subject.model), _first_batch_norm(subject.model)
    if norm is not None and _is_trained(norm):
        finding = _remembered(subject.model, norm, images, network)
        return [finding] if finding is not None else []
    if network is None:
        raise NotApplicable("the model is not a network of keras.applications and stores no statistics")
    seen = first_weights.look(subject.model, images)
    if not seen.known:
        raise NotApplicable("the model is not a graph of layers")
    gain = _span(seen.values) / max(_span(images), 1e-12)
    if gain < SCALES_DOWN:  # the network has its own preprocessing, which `value_range` checks
        return []
    found = keras_applications.range_of(seen.values)
    if found in _fitting(network.wants):
        return []
    return [_other_range(network, found, seen.values)]


def _fitting(wants: str) -> tuple[str, ...]:
    """Returns the ranges from which random weights learn as well as from `wants`.

    For a range centred on 0, these are the centred ranges of about the same size.
    """
    return {
        SYMMETRIC: (SYMMETRIC, CENTRED),
        CENTRED: (SYMMETRIC, CENTRED),
        CAFFE: (CAFFE, SYMMETRIC, CENTRED),
        RAW: (RAW,),
    }[wants]


def _other_range(network: Application, found: str, values: np.ndarray) -> Finding:
    return catalogue.found(
        "wrong-range",
        f"{_ends(values)} reach its first weights, which is {RANGES[found]}; "
        f"keras.applications.{network.family} wants {RANGES[network.wants]}.",
        case="untrained",
        network=network.family,
        symmetric=network.wants == SYMMETRIC,
    )


def _first_batch_norm(model: Any) -> Any:
    return next((x for x in first_weights.flat_layers(model) if isinstance(x, keras.layers.BatchNormalization)), None)


def _is_trained(norm: Any) -> bool:
    return bool(np.any(np.abs(np.asarray(norm.moving_variance) - 1) > 1e-3))


def _remembered(model: Any, norm: Any, images: np.ndarray, network: Application | None) -> Finding | None:
    """Compares the images with the moving averages of a batch normalization.

    It tries the images as they are, and as they would be in each other usual range.
    """
    seen = first_weights.look(model, images).values
    first = first_weights.entering(model, norm, images)
    if first is None:
        raise NotApplicable("the model is not a graph of layers")
    given = _divergence(first, norm)
    low, high = np.percentile(images, [0.1, 99.9])
    unit = (images - low) / max(high - low, 1e-12)
    others = {
        UNIT: unit,
        SYMMETRIC: 2 * unit - 1,
        CENTRED: (unit - np.array([0.485, 0.456, 0.406], np.float32)) / np.array([0.229, 0.224, 0.225], np.float32)
        if images.shape[-1] == 3
        else (unit - 0.45) / 0.225,
        RAW: 255 * unit,
    }
    scores: dict[str, float] = {}
    for name, other in others.items():
        entered = first_weights.entering(model, norm, other)
        scores[name] = float("inf") if entered is None else _divergence(entered, norm)
    best = min(scores, key=lambda name: scores[name])
    if given < REMEMBERED or scores[best] * BETTER > given:
        return None
    evidence = (
        f"{_ends(seen)} reach its first weights. By the statistics of its first BatchNormalization "
        f"({norm.name!r}), the activations differ by {given:.2g} nats per channel; as {RANGES[best]} they would by "
        f"{scores[best]:.2g}."
    )
    if network is None:
        return catalogue.found("wrong-range", evidence, case="trained", range=RANGES[best])
    return catalogue.found(
        "wrong-range", evidence, case="trained-application", range=RANGES[best], network=network.family
    )


def _divergence(entering: np.ndarray, norm: Any) -> float:
    """Returns the Kullback-Leibler divergence of the images from the moving averages.

    Both are taken as normal distributions. The result is the mean over channels of log(1 + divergence). The logarithm
    limits the weight of a few channels that are dead in one of the two.
    """
    axes = tuple(range(entering.ndim - 1))
    mean, variance = entering.mean(axis=axes, dtype=np.float64), entering.var(axis=axes, dtype=np.float64) + 1e-3
    m, v = np.asarray(norm.moving_mean, np.float64), np.asarray(norm.moving_variance, np.float64) + 1e-3
    divergence = 0.5 * (variance / v + (mean - m) ** 2 / v - 1 + np.log(v / variance))
    return float(np.mean(np.log1p(divergence)))


def of_run(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a dataset that differs from the one that the model was trained on.

    The model is that of a training run, and the contracts of the two datasets are compared.
    """
    del clock
    if subject.trained is None or subject.contract is None:
        raise NotApplicable("the model is not a training run's")
    try:
        alignment.check_contracts(subject.trained, subject.contract)
    except alignment.AlignmentError as e:
        return [catalogue.found("contract-differs", str(e))]
    return []


PROBES = (
    Probe("whether the model takes the images", takes_images, ("images", "model"), 20),
    Probe("value range at the model's first weights", value_range, ("images", "layers"), 20),
    Probe("value range that the network was made for", network_range, ("images", "model"), 20),
    Probe("contract of the run against the dataset's", of_run, ("contract", "model"), 5),
)
