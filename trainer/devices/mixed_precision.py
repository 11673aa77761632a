"""Trains in mixed precision: a copy of the network computes in 16 bits.

The float32 network is the one that is saved. The weights are float32 in both (Micikevicius et al. 2018, "Mixed
Precision Training"), so that they are copied from one to the other without rounding. Evaluation and export never
compute in 16 bits.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from pipelines.contract import Contract
from trainer.config import TrainConfig
from trainer.models import build

GPU_FROM = {"float16": (7, 0), "bfloat16": (8, 0)}  # first compute capability with fast units: Volta, Ampere


def twin(config: TrainConfig, contract: Contract, network: keras.Model) -> keras.Model:
    """Makes a copy of the network that computes in the type of --mixed-precision.

    The copy has the same weights and maps float32 (B, H, W, C) to float32. A layer that was made with its own dtype
    keeps it. The last layer computes in float32, because 16 bits are too few for a softmax over logits.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if config.mixed_precision == "none" else f"mixed_{config.mixed_precision}")
    try:
        made, _ = build.make(config.model, contract, config.init_weights, train_size=config.view_size)
    finally:
        keras.config.set_dtype_policy(before)
    build.output_layer(made).dtype_policy = "float32"
    made.set_weights(network.get_weights())
    return made


def hand_over(trained: keras.Model, network: keras.Model) -> None:
    """Copies the weights of the trained model to the network that is saved.

    The two may be the same object; then there is nothing to copy.
    """
    if trained is not network:
        network.set_weights(trained.get_weights())


def scaled(config: TrainConfig, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Adds loss scaling to the optimizer for float16.

    Gradients may be too small for float16. The type bfloat16 needs no scaling, because it has the exponent range of
    float32.
    """
    return keras.optimizers.LossScaleOptimizer(optimizer) if config.mixed_precision == "float16" else optimizer


def overflows(optimizer: keras.optimizers.Optimizer) -> tf.Tensor | bool:
    """Tells whether the loss scale alone may explain a non-finite gradient.

    The optimizer then skips the step and halves the scale. At a scale of 1, the scale is not the reason. The result is
    bool (), or False for an optimizer without loss scaling.
    """
    scaling = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return tf.greater(tf.convert_to_tensor(optimizer.dynamic_scale), 1.0) if scaling else False


def warnings(config: TrainConfig) -> list[str]:
    """Returns a warning if the type makes training slower on the devices found."""
    if config.mixed_precision == "none":
        return []
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        if config.mixed_precision == "bfloat16":
            return [
                "--mixed-precision bfloat16 without a GPU is faster only on processors that compute with it "
                "(AVX512_BF16, AMX): `python -m trainer bench` measures it."
            ]
        return ["--mixed-precision float16 without a GPU is several times slower than none: use bfloat16, or none."]
    needed = GPU_FROM[config.mixed_precision]
    found = [tf.config.experimental.get_device_details(gpu).get("compute_capability") for gpu in gpus]
    return [
        f"--mixed-precision {config.mixed_precision} is fast on GPUs of compute capability {needed[0]}.{needed[1]} and "
        f"later. Found one of {capability[0]}.{capability[1]}."
        for capability in found
        if capability and capability < needed
    ][:1]
