"""A training loop of one's own in TensorFlow, with the images as they are stored until they are on the device.

python examples/own_tf_loop.py DIR [EPOCHS]
"""

from __future__ import annotations

import math
import sys

import keras
import tensorflow as tf

from pipelines import contract as contracts
from trainer.data import dataset


def main(directory: str, epochs: int = 3) -> list[float]:
    """Trains a linear model of any task; gives the mean loss of each epoch."""
    contract = contracts.load(directory)
    # As stored, a quarter (uint8) or half (float16) of the bytes: normalized inside the compiled step below.
    batches = dataset.batches(directory, "train", 32, shuffle=True, seed=0, dequantize=False)
    outputs = contract.target_width or len(contract.labels)
    model = keras.Sequential([keras.Input(contract.image_shape), keras.layers.Flatten(), keras.layers.Dense(outputs)])
    optimizer = keras.optimizers.SGD(0.3 / math.prod(contract.image_shape))  # larger steps could diverge
    optimizer.build(model.trainable_variables)

    def loss_of(outputs: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        if contract.task.kind == "classes":  # y int64 (B,): ids
            return tf.nn.sparse_softmax_cross_entropy_with_logits(y, outputs)
        if contract.task.kind == "multi-label":  # y float32 (B, K): 1 or 0 for each label
            return tf.nn.sigmoid_cross_entropy_with_logits(y, outputs)
        # y float32 (B, K): numbers in the units of the table. Outputs are in standard deviations of train.
        return tf.square((y - contract.task.mean) / contract.task.std - outputs)

    @tf.function
    def step(images: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        if images.dtype == tf.uint8:
            images = contracts.normalize(contract, images)
        images = tf.cast(images, tf.float32)  # (B, H, W, C)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(loss_of(model(images, training=True), y))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    losses = []
    for epoch in range(epochs):
        of_steps = [float(step(images, y)) for images, y, *_ in batches]  # weighted datasets give weights too
        losses.append(sum(of_steps) / len(of_steps))
        print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}")
    return losses


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        main(sys.argv[1], *map(int, sys.argv[2:]))
    except contracts.ContractError as error:  # one sentence that says what is wrong and what to do
        sys.exit(str(error))
