"""Draws where a network looked, as Grad-CAM.

Grad-CAM (Selvaraju et al. 2017, "Grad-CAM: Visual explanations from deep networks via gradient-based localization")
weighs the channels of the last feature map by the mean gradient of a class's logit. What is left above 0 speaks for the
class. The map is as coarse as the feature map, and it shows what the answer depends on near the end of the network: it
is a hint and no proof.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.core import pixels as pixel_forms
from pipelines.core.text import first_line
from trainer.evaluation import inference, mistakes
from trainer.evaluation.assessment import Assessment
from trainer.models import backbone, view
from trainer.models.outputs import logits_function

MOST = 12  # mistakes of a split, and as many right answers
AT_ONCE = 8  # images of a forward and backward pass
LEAST_SIDE = 192  # pixels of a drawn picture; smaller images are enlarged so that the map is smooth
POOLING = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
STRENGTH = 0.65  # share of the colour where the map is greatest


@dataclasses.dataclass(frozen=True)
class Look:
    """Holds a record with its maps as pictures.

    answer, label: names of the answer and of the true class. probability: that of the answer. for_answer: a data URI of
    the image with the map of the answer. for_label: the same of the true class, "" for a right answer.
    """

    key: str
    answer: str
    label: str
    probability: float
    for_answer: str
    for_label: str


@dataclasses.dataclass(frozen=True)
class Looks:
    """Holds the drawn records of a split.

    layer: the name of the layer whose feature map was taken; size: its height and width. reason: why nothing is drawn,
    "" if something is.
    """

    mistakes: tuple[Look, ...] = ()
    right: tuple[Look, ...] = ()
    layer: str = ""
    size: tuple[int, int] = (0, 0)
    reason: str = ""


class NoMapError(Exception):
    """Says why no map can be drawn for a network."""


def looks(network: keras.Model, found: Assessment, data: str | os.PathLike[str], batch_size: int) -> Looks:
    """Draws the surest mistakes and the surest right answers of a split.

    Args:
      network: that of the answers, which takes normalized images.
    """
    answers = found.predictions.answers()
    wrong, right = found.worst(MOST), _surest_right(found, MOST)
    positions = np.concatenate([wrong, right])
    if not len(positions):
        return Looks(reason="There are no records.")
    pixels = inference.pixels(data, found.split, positions, batch_size)
    contract = contracts.load(data)
    try:
        stored = contracts.normalize(contract, tf.constant(np.stack(pixels)))
        layer = last_feature_map(network, stored[:1])
        size, for_answers = maps(network, layer, stored, answers[positions])
        for_labels = maps(network, layer, stored, found.predictions.labels[positions])[1]
    except NoMapError as e:
        return Looks(reason=str(e))
    # Of a network of the user's own; LookupError: an operation has no gradient.
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError, tf.errors.OpError) as e:
        return Looks(reason=f"The gradient of the network could not be computed ({first_line(e)}).")
    pictures = _seen(network, contract, stored)
    made = []
    for place, at in enumerate(positions.tolist()):
        label, answer = int(found.predictions.labels[at]), int(answers[at])
        made.append(
            Look(
                found.keys[at], found.labels[answer], found.labels[label], float(found.probabilities[at, answer]),
                mistakes.data_uri(overlaid(pictures[place], for_answers[place])),
                mistakes.data_uri(overlaid(pictures[place], for_labels[place])) if label != answer else "",
            )
        )  # fmt: skip
    return Looks(tuple(made[: len(wrong)]), tuple(made[len(wrong) :]), layer.name, size)


def _surest_right(found: Assessment, most: int) -> np.ndarray:
    """Returns the positions of the surest right answers, int64 (n,).

    The classes take turns.
    """
    answers = found.predictions.answers()
    right = np.flatnonzero(answers == found.predictions.labels)
    confidence = found.probabilities[right, answers[right]]
    ordered = right[np.argsort(-confidence, kind="stable")]
    turns: dict[int, int] = {}
    of_turns = []
    for at in ordered.tolist():
        turns[answers[at]] = turns.get(answers[at], -1) + 1
        of_turns.append(turns[answers[at]])
    return ordered[np.argsort(of_turns, kind="stable")][:most] if len(ordered) else ordered


def last_feature_map(network: keras.Model, image: tf.Tensor) -> keras.layers.Layer:
    """Returns the last layer whose output has a height and a width above 1.

    It looks into nested models, and passes over pooling at the end, before which the map is finer.

    Raises:
      NoMapError: there is none, or the network is the mean of several.
    """
    if sum(isinstance(layer, keras.Model) for layer in view.core(network).layers) > 1:
        raise NoMapError("The model is the mean of several networks, of which each looks elsewhere.")
    seen: list[keras.layers.Layer] = []

    def note(layer: keras.layers.Layer, output: Any) -> None:
        if (
            not isinstance(layer, POOLING)
            and isinstance(output, tf.Tensor)
            and output.shape.rank == 4
            and min(output.shape[1:3]) > 1
        ):
            seen.append(layer)

    with _watched(list(backbone.leaves(network)), note):
        network(image, training=False)
    if not seen or isinstance(seen[-1], keras.layers.InputLayer):
        raise NoMapError("The network has no feature map with a height and a width, as those of convolutions are.")
    return seen[-1]


def maps(
    network: keras.Model, layer: keras.layers.Layer, images: tf.Tensor, classes: np.ndarray
) -> tuple[tuple[int, int], np.ndarray]:
    """Computes the maps of images, each for one class.

    Args:
      layer: of the network, whose output is the feature map.
      images: normalized, float32 (B, H, W, C). classes: int (B,), ids.

    Returns:
      Height and width of the feature map, and the maps, float32 (B, h, w), from 0 to 1. A map of zeros says that
      nothing speaks for the class.

    Raises:
      NoMapError: the class does not depend on the feature map.
    """
    logits, found = logits_function(network), []
    for first in range(0, len(images), AT_ONCE):
        features: list[tf.Tensor] = []
        with tf.GradientTape(watch_accessed_variables=False) as tape:

            def note(_: keras.layers.Layer, output: Any, tape: Any = tape, features: Any = features) -> None:
                tape.watch(output)
                features.append(output)

            with _watched([layer], note):
                scores = logits(images[first : first + AT_ONCE])
            own = tf.gather(scores, classes[first : first + AT_ONCE], batch_dims=1)
        gradient = tape.gradient(own, features[-1])
        if gradient is None:
            raise NoMapError(f"The answers do not depend on the feature map of layer {layer.name!r} by a gradient.")
        weights = tf.reduce_mean(tf.cast(gradient, tf.float32), axis=(1, 2), keepdims=True)
        found.append(tf.nn.relu(tf.reduce_sum(weights * tf.cast(features[-1], tf.float32), axis=-1)).numpy())
    stacked = np.concatenate(found)
    greatest = stacked.max(axis=(1, 2), keepdims=True)
    scaled = np.divide(stacked, greatest, out=np.zeros_like(stacked), where=greatest > 0)
    return (int(stacked.shape[1]), int(stacked.shape[2])), scaled


@contextlib.contextmanager
def _watched(layers: Sequence[keras.layers.Layer], note: Callable[[keras.layers.Layer, Any], None]) -> Iterator[None]:
    """Reports every output of layers while the network runs, as a context.

    A nested model has outputs of its own graph only, so a model of the inner outputs cannot be built in general.
    """

    def watching(layer: keras.layers.Layer) -> Callable[..., Any]:
        own = layer.call

        def call(*args: Any, **kwargs: Any) -> Any:
            output = own(*args, **kwargs)
            note(layer, output)
            return output

        return call

    for layer in layers:
        object.__setattr__(layer, "call", watching(layer))  # Keras's own __setattr__ would track it
    try:
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")


def _seen(network: keras.Model, contract: Contract, stored: tf.Tensor) -> np.ndarray:
    """Returns what the network sees of stored images, uint8 (B, h, w, C)."""
    n = contract.normalization
    levels = (view.shown(network, stored).numpy() - np.asarray(n.offset)) / np.asarray(n.scale)
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def overlaid(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lays a map over an image.

    The image is gray below it, and the colour goes from violet to yellow as the map grows.

    Args:
      pixels: uint8 (h, w, C). heat: float (m, n), from 0 to 1.

    Returns:
      uint8 (H, W, 3), enlarged to at least LEAST_SIDE.
    """
    import matplotlib

    picture = Image.fromarray(pixel_forms.shown(pixels)).convert("L")
    factor = max(1, -(-LEAST_SIDE // max(picture.size)))
    size = (picture.width * factor, picture.height * factor)
    gray = np.asarray(picture.resize(size, Image.Resampling.BICUBIC), np.float64)[..., None]
    smooth = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    smooth = np.clip(smooth, 0, 1)
    colour = matplotlib.colormaps["plasma"](smooth)[..., :3] * 255
    share = (STRENGTH * smooth)[..., None]
    return np.asarray(np.rint(gray * (1 - share) + colour * share), np.uint8)
