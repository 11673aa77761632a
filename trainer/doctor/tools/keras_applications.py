"""Recognizes networks of keras.applications by their names.

It also knows the range of values that each network was made for.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np

from trainer.doctor.tools.first_weights import flat_layers

RAW, UNIT, SYMMETRIC, CENTRED, CAFFE, OTHER = "raw", "unit", "symmetric", "centred", "caffe", "other"
RANGES = {
    RAW: "0..255",
    UNIT: "0..1",
    SYMMETRIC: "-1..1",
    CENTRED: "centred on 0 with a deviation near 1 (ImageNet's mean and deviation)",
    CAFFE: "BGR minus ImageNet's means, about -124..151",
    OTHER: "something else",
}

# Each row: family, range, pattern of the model's name, pattern of a layer name that only this family has. The layer
# name is for models built on base.input and base.output. The ranges are those of each module's preprocess_input in
# Keras 3.15. The order matters: an earlier family may also contain the layer name of a later one.
FAMILIES = (
    ("MobileNetV2", SYMMETRIC, r"mobilenetv2", r"bn_Conv1"),
    ("MobileNetV3", SYMMETRIC, r"mobilenetv3", r"expanded_conv_(\d+_)?squeeze_excite_avg_pool"),
    ("MobileNet", SYMMETRIC, r"mobilenet_", r"conv_dw_1_bn"),
    ("EfficientNet", RAW, r"efficientnetb", r"block1a_se_squeeze"),
    ("EfficientNetV2", SYMMETRIC, r"efficientnetv2", r"block1a_project_(conv|bn)"),
    ("ResNetV2", SYMMETRIC, r"resnet\d+v2", r"conv2_block1_preact_bn"),
    ("DenseNet", CENTRED, r"densenet", r"conv2_block1_concat"),
    ("ResNet", CAFFE, r"resnet(50|101|152)$", r"conv2_block1_0_bn"),
    ("InceptionResNetV2", SYMMETRIC, r"inception_resnet_v2", r"mixed_5b"),
    ("InceptionV3", SYMMETRIC, r"inception_v3", r"mixed0"),
    ("Xception", SYMMETRIC, r"xception", r"block2_sepconv1"),
    ("NASNet", SYMMETRIC, r"nasnet", r"stem_bn1"),
    ("VGG", CAFFE, r"vgg1[69]", r"block1_conv2"),
    ("ConvNeXt", CENTRED, r"convnext", r"convnext_\w+_stem.*"),
)


@dataclasses.dataclass(frozen=True)
class Application:
    """Describes a network of keras.applications.

    family: the name as keras.applications spells it.
    wants: the range at its first weights, one of RANGES.
    """

    family: str
    wants: str


def of(model: Any) -> Application | None:
    """Returns the network of keras.applications that a model is or contains."""
    names = [str(getattr(model, "name", "")), *(str(layer.name) for layer in getattr(model, "layers", []))]
    for family, wants, pattern, _ in FAMILIES:
        if any(re.match(pattern, name.lower()) for name in names):
            return Application(family, wants)
    inner = [str(layer.name) for layer in flat_layers(model)]
    for family, wants, _, marker in FAMILIES:
        if any(re.fullmatch(marker, name) for name in inner):
            return Application(family, wants)
    return None


def range_of(values: np.ndarray) -> str:
    """Returns the one of RANGES that the values are in.

    It judges by their 0.1 and 99.9 % percentiles, because photographs reach the ends of their range.
    """
    low, high = np.percentile(values, [0.1, 99.9])
    if high > 20:
        return RAW if low >= -1 else CAFFE if low < -20 else OTHER
    if low >= -0.02:
        return UNIT if 0.1 < high <= 1.02 else OTHER
    if low < -0.3:
        return SYMMETRIC if low >= -1.02 and high <= 1.02 else CENTRED
    return OTHER
