"""Builds a Keras model with the right input and head from a name and a contract."""

from __future__ import annotations

import importlib
import inspect
import os
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from pipelines.contract import CHANNEL_ORDERS, Contract
from pipelines.contract.task import CLASSES
from pipelines.core.text import first_line
from trainer.config import IMAGENET, TrainerError
from trainer.models import alignment, hdf5_file, keras_file, networks, pretrained, view

BUILT_IN: dict[str, Callable[[tuple[int, int, int], int], keras.Model]] = {
    "cnn": networks.small_cnn,
    "resnet20": networks.resnet20,
}
# Activation in which a network may end -> (what it should end in, a hint)
_HEADS = {
    "softmax": (
        "softmax, or in logits without activation",
        "Give one output per class, also for two classes.",
    ),
    "sigmoid": ("sigmoid, or in logits without activation", "Give one output per label."),
    "": ("a layer without activation", "Its outputs are numbers of standard deviations from the mean of train."),
}


def build(
    name: str, contract: Contract, weights: str = "", load_weights: bool = True, train_size: int = 0
) -> keras.Model:
    """Builds the network called `name` for a dataset.

    It maps float32 (B, H, W, C), normalized as in the contract, to one output for each of `alignment.names`.

    Args:
      name: "cnn", "resnet20", a network of `keras.applications`, or "module:function" for a function that takes the
        contract.
      weights: "imagenet", or a file with the initial weights; "" for random weights.
      load_weights: False to build the same network with random weights, for a checkpoint to be restored.
      train_size: side of the view that the network sees of stored images; 0 for the images whole. See `view`.

    Raises:
      TrainerError: there is no such network, it disagrees with the contract (the message names both sides), or the
        weights do not fit.
    """
    if len(contract.labels) < 2 and contract.task.kind == CLASSES:
        raise TrainerError(
            f"Training needs at least two classes. Dataset {contract.name!r} has {len(contract.labels)}: "
            f"{', '.join(contract.labels)}. Prepare it with a folder for each class."
        )
    network, target = make(name, contract, weights, load_weights, train_size)
    alignment.check_model(network, contract)
    if weights and load_weights and weights != IMAGENET:
        alignment.check_weights_range(weights, contract)
        _load_weights(view.core(network), target, weights)
    return network


def make(
    name: str, contract: Contract, weights: str = "", downloads: bool = False, train_size: int = 0
) -> tuple[keras.Model, keras.Model]:
    """Builds the network without checks, behind what makes its view.

    Its weights are random, or those of ImageNet.

    Args:
      name, weights: as in `build`. Published weights want images of their own normalization, and the network then
        begins with the layer that makes these of the contract's images.
      downloads: True to give it the weights of ImageNet if `weights` names them.
      train_size: as in `build`.

    Returns:
      The network, and the part of it whose weights are in published files without a head.
    """
    network, target = _make(name, view.contract_of_view(contract, train_size), weights, downloads)
    return (view.viewed(network, contract) if train_size else network), target


def _make(name: str, contract: Contract, weights: str, downloads: bool) -> tuple[keras.Model, keras.Model]:
    if weights == IMAGENET and (name in BUILT_IN or ":" in name):
        raise TrainerError(
            f"--init-weights imagenet is for networks of keras.applications, such as MobileNetV2. For --model {name} "
            "give a file with weights."
        )
    if name in BUILT_IN:
        network = BUILT_IN[name](contract.image_shape, len(alignment.names(contract)))
        return network, network
    if ":" in name:
        network = _from_function(name, contract)
        return network, network
    return _from_applications(name, contract, pretrained.is_published(name, weights), downloads and weights == IMAGENET)


def load(path: str | os.PathLike[str]) -> keras.Model:
    """Loads a saved model.keras, uncompiled.

    The file is checked first, so it cannot run code of its own: see `keras_file`.

    Raises:
      TrainerError: there is no file, it has something that a model does not need, or Keras cannot read it.
    """
    if not os.path.isfile(path):
        raise TrainerError(f"No model at {os.fspath(path)!r}: give the --output directory of a finished training run.")
    return keras_file.load(path)


def gives_logits(network: keras.Model, activation: str = "softmax") -> bool:
    """Tells whether the outputs are logits.

    The output layer decides: otherwise the outputs are probabilities.

    Args:
      activation: "softmax" or "sigmoid", in which the network may end, or "" if it has to end without one.

    Raises:
      TrainerError: the output layer ends in something else.
    """
    layer = output_layer(network)
    if isinstance(layer, keras.layers.Softmax):
        found = "softmax"
    else:
        found = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if found not in ("linear", activation):
        wanted, hint = _HEADS[activation]
        raise TrainerError(f"The model should end in {wanted}. Received: layer {layer.name!r} with {found}. {hint}")
    return bool(found == "linear")


def output_layer(network: keras.Model) -> Any:
    """Returns the last layer; it looks into nested models."""
    layer: Any = network
    while isinstance(layer, keras.Model) and layer.layers:
        layer = layer.layers[-1]
    return layer


def _from_function(name: str, contract: Contract) -> keras.Model:
    module_name, _, function_name = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as e:
        raise TrainerError(
            f"--model {name} should name an importable module and a function in it ({type(e).__name__}: {e}). "
            "Run from the module's folder, or set PYTHONPATH."
        ) from e
    network = function(contract)
    if not isinstance(network, keras.Model):
        raise TrainerError(f"{name} should return a keras.Model. It returned a {type(network).__name__}.")
    if not network.built and isinstance(network, keras.Sequential):
        network.build((None, *contract.image_shape))
    if not hasattr(network, "inputs"):
        raise TrainerError(
            f"{name} should return a network with a graph. {type(network).__name__} is a subclass of keras.Model, and "
            "has none: make `images = keras.Input(contract.image_shape)`, and return keras.Model(images, outputs), "
            "where the outputs come of layers that are called on the images."
        )
    return network


def _from_applications(
    name: str, contract: Contract, is_published: bool, downloads: bool
) -> tuple[keras.Model, keras.Model]:
    """Builds a network of `keras.applications`; returns (network, backbone).

    Published weight files without a head hold the weights of the backbone.
    """
    constructor = pretrained.constructor(name)
    if constructor is None:
        known = [n for n in dir(keras.applications) if n[0].isupper()]
        raise TrainerError(
            f"--model should be {', '.join(BUILT_IN)}, module:function, or a keras.applications network "
            f"({', '.join(known)}). Received: {name!r}."
        )
    if is_published and contract.image_shape[2] not in CHANNEL_ORDERS:
        raise TrainerError(
            f"Published weights are for images of 3 channels, or of 1 that is repeated. The dataset has "
            f"{contract.image_shape[2]} ({', '.join(contract.channel_names)}). Begin with random weights, or prepare "
            "three bands."
        )
    shape = (*contract.image_shape[:2], 3) if is_published else contract.image_shape  # published weights are for RGB
    options: dict[str, Any] = {"include_top": False, "input_shape": shape, "pooling": "avg"}
    if "include_preprocessing" in inspect.signature(constructor).parameters:
        # Its own Rescaling is right for 0..255 only. Other images are normalized already, or are converted.
        options["include_preprocessing"] = contract.normalization.mode == "none" and not is_published
    try:
        backbone = pretrained.imagenet_backbone(name, options) if downloads else constructor(weights=None, **options)
    except TrainerError:
        raise
    except ValueError as e:
        raise TrainerError(f"{name} does not take the contract's {contract.image_shape}: {first_line(e)}") from e
    inputs = keras.Input(contract.image_shape, name="image")
    images = pretrained.converted(inputs, contract, pretrained.wanted_pixels(name)) if is_published else inputs
    x = keras.layers.Dropout(0.2)(backbone(images))
    outputs = keras.layers.Dense(len(alignment.names(contract)), name="logits")(x)
    return keras.Model(inputs, outputs, name=name.lower()), backbone


def _load_weights(network: keras.Model, target: keras.Model, path: str) -> None:
    """Loads weights from a file into a network.

    A .keras file holds a complete model. An .h5 file of keras.applications holds the backbone only, which is `target`.

    Raises:
      TrainerError: the file is missing, does not fit, or its weights are not finite.
    """
    if not os.path.isfile(path):
        raise TrainerError(f"--init-weights should be a .keras, .weights.h5 or .h5 file. There is no file {path!r}.")
    if not path.endswith((".keras", *keras_file.HDF5)):
        raise TrainerError(f"--init-weights should be a .keras, .weights.h5 or .h5 file. Received: {path!r}.")
    try:
        if path.endswith(".keras"):
            network.set_weights(_fitting(network, load(path).get_weights(), path))
        else:
            hdf5_file.check(path, path)
            target.load_weights(path)
    except TrainerError:
        raise
    except OSError as e:  # h5py raises it for a file of another format, or one that is cut off
        raise TrainerError(
            f"--init-weights cannot read {path!r} ({first_line(e)}): it is no HDF5 file, or not a whole one."
        ) from e
    except (ValueError, KeyError, TypeError) as e:
        raise TrainerError(
            f"The weights in {path!r} do not fit {target.name} ({first_line(e)}): "
            "use weights of the same network, for the same image shape and number of classes."
        ) from e
    if not all(np.isfinite(array).all() for array in target.get_weights()):
        raise TrainerError(f"The weights in {path!r} should be finite numbers: take those of a run that did not fail.")


def _fitting(network: keras.Model, given: list[np.ndarray], path: str) -> list[np.ndarray]:
    """Returns the given weights, without their head if its number of classes differs.

    The head is then that of the network. Every other difference is left to Keras, which refuses the weights.
    """
    own = network.get_weights()
    if len(own) != len(given) or not isinstance(network.layers[-1], keras.layers.Dense):
        return given
    head = len(own) - len(network.layers[-1].get_weights())
    same = [a.shape == b.shape for a, b in zip(own, given, strict=True)]
    if all(same) or not all(same[:head]) or given[-1].ndim != 1:
        return given
    warnings.warn(
        f"the head of {path!r} is for {len(given[-1])} classes and this dataset has {len(own[-1])}: the weights of "
        "the head are not loaded.",
        stacklevel=2,
    )
    return [*given[:head], *own[head:]]
