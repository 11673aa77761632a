"""A prepared dataset in JAX: batches come as NumPy arrays. Needs `pip install jax`.

python examples/own_jax.py DIR [EPOCHS]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from pipelines import contract as contracts
from trainer.data import dataset


def numpy_batches(directory: str, split: str, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One pass: images float32 (B, H, W, 3), normalized, and labels int64 (B,).

    The last batch, which may be smaller, is left out: jax.jit would compile the step again for it.
    """
    batches = dataset.load(directory, split, batch_size, shuffle=True, drop_remainder=True)
    for images, labels, *_ in batches.as_numpy_iterator():
        yield images, labels


def main(directory: str, epochs: int = 3) -> list[float]:
    """Trains a linear classifier by gradient descent; gives the mean loss of each epoch."""
    import jax
    import jax.numpy as jnp

    contract = contracts.load(directory)
    size = min(32, contract.split("train").records)

    def loss_of(parameters, images, labels):  # type: ignore[no-untyped-def]
        logits = images.reshape(len(images), -1) @ parameters["kernel"] + parameters["bias"]
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels])

    @jax.jit
    def step(parameters, images, labels):  # type: ignore[no-untyped-def]
        loss, gradients = jax.value_and_grad(loss_of)(parameters, images, labels)
        return jax.tree.map(lambda p, g: p - 1e-3 * g, parameters, gradients), loss

    inputs, classes = int(np.prod(contract.image_shape)), len(contract.labels)
    parameters = {"kernel": jnp.zeros((inputs, classes)), "bias": jnp.zeros(classes)}
    losses = []
    for epoch in range(epochs):
        of_steps = []
        for images, labels in numpy_batches(directory, "train", size):
            parameters, loss = step(parameters, images, labels)
            of_steps.append(float(loss))
        losses.append(float(np.mean(of_steps)))
        print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}")
    return losses


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
