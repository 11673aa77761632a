"""Gives a network its published weights and the pixels that they want.

The published weights were trained on images of one normalization, and the records of a dataset often have another one.
Both are linear in the pixels, so a layer at the input of the network changes one into the other. Nothing has to be
prepared again, and the saved network still takes the images of the contract. They were trained on three channels: a
layer at the input repeats the one of gray images.
"""

from __future__ import annotations

import inspect
import os
import types
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.core.text import first_line
from trainer.config import IMAGENET, TRAIN_SPLIT, TrainerError
from trainer.models import keras_file, view

FEW_IMAGES = 1000  # for each class or label: below it, published weights are worth a try first
SMALL = 128  # pixels; MobileNets have published weights for 128 pixels, too, and for no side below 96
CONVERSION = "to_pretrained_range"  # name of the layer that changes the normalization
WIDENING = "gray_to_rgb"  # name of the layer that repeats the channel of gray images


class Pixels(NamedTuple):
    """Says which pixels a network wants: 0..255 * scale + offset.

    Both have a number for each channel. `reversed` is true if the channels come as blue, green, red; the numbers then
    have this order, too.
    """

    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    reversed: bool = False


def _same(scale: float, offset: float) -> Pixels:
    return Pixels((scale,) * 3, (offset,) * 3)


_SYMMETRIC = _same(1 / 127.5, -1.0)
# Deng et al.'s ImageNet means and deviations, as `preprocess_input` of Keras has them in the mode "torch".
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TORCH = Pixels(
    (1 / (255 * _STD[0]), 1 / (255 * _STD[1]), 1 / (255 * _STD[2])),
    (-_MEAN[0] / _STD[0], -_MEAN[1] / _STD[1], -_MEAN[2] / _STD[2]),
)
_CAFFE = Pixels((1.0, 1.0, 1.0), (-103.939, -116.779, -123.68), reversed=True)  # its means, in the order BGR

# What the published weights of keras.applications want, by the beginning of the network's name. The first match counts.
# As `preprocess_input` does it, or the layers that `include_preprocessing=True` puts in front (Keras 3.15).
WANTED = {
    "ResNet50V2": _SYMMETRIC,
    "ResNet101V2": _SYMMETRIC,
    "ResNet152V2": _SYMMETRIC,
    "ResNet": _CAFFE,
    "VGG": _CAFFE,
    "DenseNet": _TORCH,
    "EfficientNetV2B": _TORCH,
    "EfficientNetV2": _same(1 / 128.0, -1.0),
    "EfficientNet": _same(1.0, 0.0),
    "ConvNeXt": _TORCH,
    "InceptionV3": _SYMMETRIC,
    "InceptionResNetV2": _SYMMETRIC,
    "Xception": _SYMMETRIC,
    "MobileNet": _SYMMETRIC,
    "NASNet": _SYMMETRIC,
}


def constructor(name: str) -> Any:
    """Returns the function that builds a network of `keras.applications`, or None."""
    found = getattr(keras.applications, name, None)
    return found if callable(found) and not inspect.ismodule(found) else None


def is_published(name: str, weights: str) -> bool:
    """Tells whether a network gets published weights of `keras.applications`.

    They are those of ImageNet, or a file of weights that does not lie in the directory of a run, or the model of an
    earlier run that began with published weights.

    Args:
      name: of the network, as in `--model`.
      weights: as in `--init-weights`.

    Raises:
      TrainerError: `weights` names a model that cannot be loaded.
    """
    if constructor(name) is None or not weights:
        return False
    if weights.endswith(".keras"):
        return any(layer.name in (CONVERSION, WIDENING) for layer in view.core(keras_file.load(weights)).layers)
    return weights == IMAGENET or not is_of_a_run(weights)


def warnings(name: str, weights: str, contract: Contract) -> list[str]:
    """Returns warnings about a published network that cannot show what it can.

    It begins with random weights, or the images are far smaller than those that its weights were trained on.

    Args:
      name, weights: as in `is_published`.
      contract: of the dataset.
    """
    if constructor(name) is None:
        return []
    height, width = contract.image_shape[:2]
    if not weights:
        return [
            f"{name} begins with random weights. On {contract.split(TRAIN_SPLIT).records:,} train records, published "
            "weights are likely to be much better: add --recipe transfer (or --init-weights imagenet)."
        ]
    if min(height, width) < SMALL and not is_of_a_run(weights):
        return [
            f"Published weights were trained on images of about 224x224, and the dataset's are {height}x{width}: on so "
            "small ones they see little. Prepare with --size 224x224."
        ]
    return []


def is_of_a_run(weights: str) -> bool:
    """Tells whether a file of weights lies beside a contract, as those of a run do."""
    return os.path.isfile(os.path.join(os.path.dirname(weights) or ".", contracts.FILE_NAME))


def converted(images: keras.KerasTensor, contract: Contract, wanted: Pixels) -> keras.KerasTensor:
    """Adds the layer that changes the contract's normalization into another one.

    Gray images get three equal channels first, by a layer of their own.

    A network of your own may use it, too:

        def network(contract):
            images = keras.Input(contract.image_shape)
            x = converted(images, contract, Pixels((1 / 127.5,) * 3, (-1.0,) * 3))
            ...

    Args:
      images: float32 (B, H, W, C), normalized as in the contract.
      wanted: the pixels to return.

    Returns:
      float32 (B, H, W, 3); `images` itself if it has three channels of the wanted normalization.
    """
    given = contract.normalization
    scale, offset = (np.broadcast_to(np.asarray(values), (3,)) for values in (given.scale, given.offset))
    if len(given.scale) == 1:
        images = layers.Concatenate(name=WIDENING)([images] * 3)
    if wanted.reversed:
        scale, offset = scale[::-1], offset[::-1]
    ratio = np.asarray(wanted.scale) / scale
    shift = np.asarray(wanted.offset) - offset * ratio
    if not wanted.reversed and np.allclose(ratio, 1, rtol=1e-6) and np.allclose(shift, 0, atol=1e-6):
        return images
    pixels = images[..., ::-1] if wanted.reversed else images
    return layers.Rescaling(ratio.tolist(), shift.tolist(), name=CONVERSION)(pixels)


def wanted_pixels(name: str) -> Pixels:
    """Returns the pixels that the published weights of a network want."""
    return next(pixels for prefix, pixels in WANTED.items() if name.startswith(prefix))


def imagenet_backbone(name: str, options: dict[str, Any]) -> keras.Model:
    """Builds a network of `keras.applications` with its weights of ImageNet.

    Keras downloads them once and keeps them in its cache, which is ~/.keras/models or $KERAS_HOME/models.

    Args:
      name: of the network.
      options: of its constructor.

    Raises:
      TrainerError: the weights cannot be downloaded, or the network does not take images of this shape.
    """
    build = constructor(name)
    try:
        return build(weights=IMAGENET, **options)
    except Exception as e:  # Keras raises a plain Exception if a download fails
        asked = _download(e.__traceback__)
        if asked is None:
            raise
        reason = first_line(e).removeprefix(f"URL fetch failure on {asked['origin']}: ")
        reason = reason.removeprefix("None -- ")  # of the status of an answer, where no server answered
        raise TrainerError(
            f"The ImageNet weights of {name} could not be downloaded ({reason}). With a browser, download "
            f"{asked['origin']} and put the file there as {asked['download_target']}, or name the file with "
            "--init-weights FILE."
        ) from e


def _download(trace: types.TracebackType | None) -> dict[str, str] | None:
    """Returns the address and the target of the download that raised an error.

    Both are local variables of `keras.utils.get_file`. The network's own module knows them, but does not tell them.
    """
    while trace is not None:
        found = trace.tb_frame.f_locals
        if trace.tb_frame.f_code.co_name == "get_file" and "origin" in found and "download_target" in found:
            return {name: str(found[name]) for name in ("origin", "download_target")}
        trace = trace.tb_next
    return None
