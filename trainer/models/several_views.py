"""Averages the answers of a network over several views of each image.

It is for evaluation only ("test-time augmentation"). The views are the image and its mirror image, or the ten crops of
Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks": the centre, the four corners,
and the mirror images of these.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from trainer.config import TTA_CROPS, TTA_NONE, TrainerError
from trainer.models import build, view

SMALLEST = 1e-37  # as in `outputs`: just above float32's subnormal numbers


def averaged(network: keras.Model, views: str, activation: str) -> keras.Model:
    """Returns a network that answers the mean over several views.

    Probabilities are averaged, and numbers. Then the result has logits that give these probabilities.

    Args:
      network: maps float32 (B, H, W, C) to its outputs.
      views: one of `config.TTA`.
      activation: "softmax" or "sigmoid", in which the network may end, or "" for numbers.

    Raises:
      TrainerError: crops are asked for, and the network sees its images whole.
    """
    if views == TTA_NONE:
        return network
    inputs = keras.Input(network.input_shape[1:])
    seen, inner = _crops(inputs, network) if views == TTA_CROPS else ([inputs], network)
    logits = build.gives_logits(network, activation)
    answers = [inner(images) for whole in seen for images in (whole, whole[:, :, ::-1])]
    if activation and logits:
        make = ops.softmax if activation == "softmax" else ops.sigmoid
        answers = [make(answer) for answer in answers]
    mean = ops.mean(ops.stack(answers), axis=0)
    if activation:
        mean = ops.log(ops.maximum(mean, SMALLEST)) - (
            ops.log(ops.maximum(1 - mean, SMALLEST)) if activation == "sigmoid" else 0.0
        )
    return keras.Model(inputs, layers.Activation("linear", dtype="float32")(mean), name=f"{network.name}_views")


def _crops(inputs: keras.KerasTensor, network: keras.Model) -> tuple[list[keras.KerasTensor], keras.Model]:
    """Returns the five crops of resized images, and the network that takes them."""
    inner = view.core(network)
    if inner is network:
        raise TrainerError(
            f"--tta crops is for models that see a part of each image (--train-size). {network.name!r} sees the whole "
            "images: use --tta flip."
        )
    size, (height, width) = int(inner.inputs[0].shape[1]), map(int, network.inputs[0].shape[1:3])
    tall, wide = view.resized_shape(height, width, size)
    resized = inputs if (tall, wide) == (height, width) else ops.image.resize(inputs, (tall, wide), antialias=True)
    places = [((tall - size) // 2, (wide - size) // 2)]
    places += [(top, left) for top in (0, tall - size) for left in (0, wide - size)]
    return [resized[:, top : top + size, left : left + size] for top, left in places], inner
