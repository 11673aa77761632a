"""Defines the two networks of Shardmill. Both end in logits, one per class."""

from __future__ import annotations

import keras
from keras import layers


def small_cnn(image_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> keras.Model:
    """Builds a plain network of about 98,000 parameters.

    float32 (B, H, W, C) normalized -> logits (B, classes). Training takes minutes on two CPU cores. The network has no
    batch normalization on purpose: it would normalize every input again and so hide the effect of data preparation.

    Args:
      width: multiplies the filters of each layer; parameters and time grow nearly with its square.
    """
    inputs = keras.Input(image_shape, name="image")
    x = inputs
    for filters in (16, 32, 64, 128):
        filters = round(filters * width)
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
        if all(side is None or side >= 4 for side in x.shape[1:3]):  # a tiny image is not pooled further
            x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="cnn")


def resnet20(image_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Builds a ResNet-20 for small images.

    He et al. 2015, "Deep Residual Learning", section 4.2, with option B shortcuts. float32 (B, H, W, C) normalized ->
    logits (B, classes); 0.27 million parameters. The paper's images are 32x32. For images of 96 pixels and more the
    stem has stride 2 and one pooling layer, so that the feature maps have about the size of those in the paper.
    """
    inputs = keras.Input(image_shape, name="image")
    large = min(image_shape[:2]) >= 96
    x = _conv_bn(inputs, 16, stride=2 if large else 1)
    x = layers.ReLU()(x)
    if large:
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            x = _residual(x, filters, stride=2 if stage and not block else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="resnet20")


def _residual(x: keras.KerasTensor, filters: int, stride: int) -> keras.KerasTensor:
    shortcut = x if stride == 1 and x.shape[-1] == filters else _conv_bn(x, filters, stride, kernel=1)
    y = layers.ReLU()(_conv_bn(x, filters, stride))
    y = _conv_bn(y, filters)
    return layers.ReLU()(layers.Add()([y, shortcut]))


def _conv_bn(x: keras.KerasTensor, filters: int, stride: int = 1, kernel: int = 3) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal")(
        x
    )
    # With momentum 0.99 the averages follow the weights too slowly in runs of a few hundred steps.
    return layers.BatchNormalization(momentum=0.9)(x)
