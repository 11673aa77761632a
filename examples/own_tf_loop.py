"""A training loop of one's own in TensorFlow, with the images as they are stored until they are on the device.

python examples/own_tf_loop.py DIR [EPOCHS]
"""

from __future__ import annotations

import sys

import keras
import tensorflow as tf

from pipelines import contract as contracts
from trainer.data import dataset


def main(directory: str, epochs: int = 3) -> list[float]:
    """Trains a linear classifier; gives the mean loss of each epoch."""
    contract = contracts.load(directory)
    # As stored, a quarter (uint8) or half (float16) of the bytes: normalized inside the compiled step below.
    batches = dataset.load(directory, "train", 32, shuffle=True, seed=0, dequantize=False)
    model = keras.Sequential(
        [keras.Input(contract.image_shape), keras.layers.Flatten(), keras.layers.Dense(len(contract.labels))]
    )
    optimizer = keras.optimizers.SGD(1e-3)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        if images.dtype == tf.uint8:
            images = contracts.normalize(contract, images)
        images = tf.cast(images, tf.float32)  # (B, H, W, 3)
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    losses = []
    for epoch in range(epochs):
        of_steps = [float(step(images, labels)) for images, labels, *_ in batches]  # weighted datasets give weights too
        losses.append(sum(of_steps) / len(of_steps))
        print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}")
    return losses


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
