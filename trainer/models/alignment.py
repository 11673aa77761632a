"""Checks that a model agrees with the contract of a dataset.

Each error message names both sides and a remedy. `check_model` compares a network with the contract of the dataset for
its training. `check_contracts` compares the contract that a model was trained under with the contract of a dataset for
its evaluation.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import keras
import numpy as np

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.contract.task import CLASSES, MULTI_LABEL, REGRESSION
from pipelines.core.text import listed
from trainer.config import TrainerError
from trainer.models import pretrained, view

NAMED = 12  # classes that an error names
WORDS = {CLASSES: ("class", "classes"), MULTI_LABEL: ("label", "labels"), REGRESSION: ("number", "numbers")}
MIN_SPAN = 0.5  # a smaller value range was scaled twice: a right scaling has a range of 1 (unit) to about 5


def names(contract: Contract) -> tuple[str, ...]:
    """Returns the names of a network's outputs: classes, labels or numbers."""
    return contract.labels or contract.task.targets


class AlignmentError(TrainerError):
    """Says that the model and the data disagree."""


def check_model(network: keras.Model, contract: Contract) -> None:
    """Checks a network against a contract.

    Raises:
      AlignmentError: input shape, channels, dtype, value range or outputs disagree with the contract.
    """
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise AlignmentError(
            f"Model {network.name!r} has {len(network.inputs)} inputs and {len(network.outputs)} outputs. "
            "The contract gives one image and one label: build a model with one of each."
        )
    _check_input(network, contract)
    answers, shape = names(contract), tuple(network.outputs[0].shape)
    if len(shape) != 2 or shape[1] != len(answers):
        one, many = WORDS[contract.task.kind]
        raise AlignmentError(
            f"Model {network.name!r} gives outputs of shape {shape}; the contract has {len(answers)} {many} "
            f"({listed(answers, NAMED)}): give it a last layer of {len(answers)} units, one per {one}."
        )
    _check_range(network, contract)


def _check_input(network: keras.Model, contract: Contract) -> None:
    wanted, given = tuple(network.inputs[0].shape)[1:], contract.image_shape
    if len(wanted) != 3:
        raise AlignmentError(
            f"Model {network.name!r} takes inputs of shape {wanted}; the contract's images are {given}."
        )
    if wanted[2] not in (None, given[2]):
        hint = " It seems to be channels first." if wanted[0] == given[2] else ""
        other = f", or prepare with --channels {wanted[2]}" if wanted[2] in contracts.CHANNEL_ORDERS else ""
        raise AlignmentError(
            f"Model {network.name!r} takes {wanted[2]} channels ({wanted}); the contract's images have {given[2]} "
            f"({given}, {contract.channel_order}, channels last).{hint} Build the model for {given}{other}."
        )
    if any(w not in (None, g) for w, g in zip(wanted, given, strict=True)):
        raise AlignmentError(
            f"Model {network.name!r} takes images of shape {wanted}; the contract's are {given}: build the model for "
            f"{given}, or prepare with --size {wanted[0]}x{wanted[1]}."
        )
    dtype = str(network.inputs[0].dtype)
    if dtype != contract.dtype:
        raise AlignmentError(
            f"Model {network.name!r} takes {dtype}; the contract's images are {contract.dtype} in "
            f"{_range(contract.value_range)}: give its Input dtype {contract.dtype!r}."
        )


def _check_range(network: keras.Model, contract: Contract) -> None:
    """Compares the value range at the first trained layer with that of the contract."""
    if any(layer.name == pretrained.CONVERSION for layer in view.core(network).layers):
        return  # the layer was made from the contract
    mode, promised = contract.normalization.mode, contract.value_range
    reached = range_at_first_weights(network, contract.image_shape, promised)
    own = not np.allclose(reached, promised, rtol=1e-3, atol=1e-3)
    if mode == "none":
        if not own and not _starts_with_normalization(network):
            warnings.warn(
                f"The dataset holds 0..255 (normalize none) and model {network.name!r} does not scale its input: "
                "expect slow or no learning. Prepare with --normalize zscore.",
                stacklevel=3,
            )
        return
    if own and (mode != "unit" or abs(reached[1] - reached[0]) < MIN_SPAN):
        raise AlignmentError(
            f"Model {network.name!r} scales its input itself (Rescaling, Normalization or arithmetic before its first "
            f"trained layer); the contract's images are normalized already ({mode}, {_range(promised)}), and would "
            f"reach that layer as {_range(reached)}: remove that layer, or prepare with --normalize none."
        )


def range_at_first_weights(
    network: keras.Model, shape: tuple[int, int, int], values: tuple[float, float]
) -> tuple[float, float]:
    """Measures the value range at the input of the first trained layer.

    The function passes two images of the constant values (low, high) through the layers before it. It measures and
    does not read names of layers, so Rescaling, Normalization, `x / 255` and a Lambda all count. It reads the centre
    pixel only, because padding brings zeros to the border. Layers after the first trained one do not count, so a
    Rescaling inside a residual branch has no effect. For a subclassed model, which has no graph, the result is
    `values`.
    """
    images = np.stack([np.full(shape, v, np.float32) for v in values])
    seen = _before_first_weights(network, images)
    if seen.ndim == 4:
        seen = seen[:, seen.shape[1] // 2, seen.shape[2] // 2, :]
    seen = seen.reshape(2, -1)
    return float(seen[0].min()), float(seen[1].max())


def _before_first_weights(network: Any, images: np.ndarray) -> np.ndarray:
    """Returns the activations that enter the first layer with trainable weights.

    It also enters nested models.
    """
    first = next((layer for layer in network.layers if layer.trainable_weights), None)
    if first is None or not hasattr(network, "inputs") or network.inputs is None:
        return images
    try:
        entry = first.input if not isinstance(first, keras.Model) else first._inbound_nodes[-1].input_tensors[0]
        before = keras.Model(network.inputs[0], entry)
        seen = images if entry is network.inputs[0] else np.asarray(before(images, training=False))
    except (ValueError, AttributeError, IndexError):  # no graph (subclassed), or a layer that is used several times
        return images
    return _before_first_weights(first, seen) if isinstance(first, keras.Model) else seen


def _starts_with_normalization(network: Any) -> bool:
    """Tells whether one of the first two trained layers is a normalization layer.

    An example is a convolution with batch normalization after it. The scale of the input then does not matter.
    """
    trained = [layer for layer in network.layers if layer.trainable_weights]
    if trained and isinstance(trained[0], keras.Model):
        return _starts_with_normalization(trained[0])
    kinds = (keras.layers.BatchNormalization, keras.layers.LayerNormalization, keras.layers.GroupNormalization)
    return any(isinstance(layer, kinds) for layer in trained[:2])


def check_weights_range(path: str, contract: Contract) -> None:
    """Checks that weights of an earlier run suit the normalization of a contract.

    The folder of an earlier run has that run's contract next to the weights. Nothing is known about other files, so all
    of them are accepted. Two datasets with z-scores fit although their means and deviations differ: both have values of
    mean 0 and deviation 1.

    Raises:
      AlignmentError: the weights were trained on another range of values.
    """
    if not pretrained.is_of_a_run(path):
        return
    trained = contracts.load(os.path.dirname(path) or ".")
    if not (_normalization(trained) == _normalization(contract) or _are_zscores(trained, contract)):
        raise AlignmentError(
            f"The weights in {path!r} were trained on images normalized {_describe(trained)}; the dataset's are "
            f"{_describe(contract)}: prepare the dataset the same way, or start from random weights."
        )


def check_contracts(trained: Contract, data: Contract) -> None:
    """Checks that a model can be evaluated on the images of another contract.

    Raises:
      AlignmentError: image shape, labels or normalization of the two contracts differ.
    """
    if trained.task.kind != data.task.kind:  # first: what the images are like does not matter then
        raise AlignmentError(
            "The model was trained for another task than the dataset has: it answers "
            f"{WORDS[trained.task.kind][1]} (task {trained.task.kind}), and the dataset has "
            f"{WORDS[data.task.kind][1]} (task {data.task.kind}): train a model on this dataset, or prepare the images "
            "with the task of the model."
        )
    if trained.image_shape != data.image_shape:
        channels = f" --channels {trained.image_shape[2]}" if trained.image_shape[2] != data.image_shape[2] else ""
        raise AlignmentError(
            f"The model was trained on images of shape {trained.image_shape}; the dataset's are {data.image_shape}: "
            f"prepare it with --size {trained.image_shape[0]}x{trained.image_shape[1]}{channels}."
        )
    answers, asked = names(trained), names(data)
    if answers != asked:
        raise AlignmentError(
            f"The model was trained on {len(answers)} {WORDS[trained.task.kind][1]} ({listed(answers, NAMED)}); the "
            f"dataset has {len(asked)} ({listed(asked, NAMED)}): their names and order have to be the same."
        )
    if _normalization(trained) != _normalization(data):
        raise AlignmentError(
            f"The model was trained on images normalized {_describe(trained)}; the dataset's are {_describe(data)}: "
            "evaluate on the dataset it was trained on, prepare with --like that dataset, or prepare both with the "
            "same fixed --normalize."
        )
    for what in ("resize", "decode"):
        if dict(getattr(trained, what)) != dict(getattr(data, what)):
            warnings.warn(
                f"The model's images and the dataset's were made with another {what} policy: "
                f"{dict(getattr(trained, what))} against {dict(getattr(data, what))}.",
                stacklevel=2,
            )


def _normalization(contract: Contract) -> tuple[Any, ...]:
    n = contract.normalization
    # The numbers count and not the mode: two modes with equal numbers are the same normalization.
    return n.scale, n.offset, contract.channel_order


def _are_zscores(one: Contract, other: Contract) -> bool:
    modes = {one.normalization.mode, other.normalization.mode}
    return modes == {"zscore"} and one.channel_order == other.channel_order


def _describe(contract: Contract) -> str:
    scale = ", ".join(f"{s:.4g}" for s in contract.normalization.scale)
    offset = ", ".join(f"{o:.4g}" for o in contract.normalization.offset)
    return f"{contract.normalization.mode!r} ({_range(contract.value_range)}; scale {scale}; offset {offset})"


def _range(values: tuple[float, float]) -> str:
    return f"{values[0]:.4g}..{values[1]:.4g}"
