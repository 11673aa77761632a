"""Mixed precision: a network that computes in 16 bits beside the one in float32 that is saved.

Weights stay float32 in both (Micikevicius et al. 2018, "Mixed Precision Training"), so they pass from one to the other
without rounding, and what is evaluated and exported never computes in 16 bits.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from pipelines.contract import Contract
from trainer.config import TrainConfig
from trainer.models import build

GPU_FROM = {"float16": (7, 0), "bfloat16": (8, 0)}  # compute capability with fast units for it: Volta, Ampere


def twin(config: TrainConfig, contract: Contract, network: keras.Model) -> keras.Model:
    """The same network with the same weights, computing as --mixed-precision says: float32 (B, H, W, 3) -> float32.

    A layer that was made with a dtype of its own keeps it. The last layer computes in float32: 16 bits are too few for
    a softmax over logits.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if config.mixed_precision == "none" else f"mixed_{config.mixed_precision}")
    try:
        made, _ = build.make(config.model, contract)
    finally:
        keras.config.set_dtype_policy(before)
    build.output_layer(made).dtype_policy = "float32"
    made.set_weights(network.get_weights())
    return made


def hand_over(trained: keras.Model, network: keras.Model) -> None:
    """Gives the network that is saved the weights of its twin, which it may itself be."""
    if trained is not network:
        network.set_weights(trained.get_weights())


def scaled(config: TrainConfig, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """With loss scaling where gradients may be too small for float16; bfloat16 has the exponents of float32."""
    return keras.optimizers.LossScaleOptimizer(optimizer) if config.mixed_precision == "float16" else optimizer


def overflows(optimizer: keras.optimizers.Optimizer) -> tf.Tensor | bool:
    """Whether a gradient that is not finite may come of the loss scale alone: the optimizer then skips the step.

    The scale is halved each time. Down at 1, it is not the reason.
    """
    scaling = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return tf.greater(tf.convert_to_tensor(optimizer.dynamic_scale), 1.0) if scaling else False


def warnings(config: TrainConfig) -> list[str]:
    """A sentence where the type makes training slower on the devices that were found."""
    if config.mixed_precision == "none":
        return []
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        if config.mixed_precision == "bfloat16":
            return [
                "--mixed-precision bfloat16 without a GPU is faster only on processors that compute with it "
                "(AVX512_BF16, AMX): `python -m trainer bench` tells."
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
