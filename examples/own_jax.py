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
    """One pass: images float32 (B, H, W, C), normalized, and y.

    y: ids int64 (B,) of classes. Of labels 1 and 0, and of a regression numbers, float32 (B, K). The last batch, which
    may be smaller, is left out: jax.jit would compile the step again for it.
    """
    for images, y, *_ in dataset.batches(directory, split, batch_size, shuffle=True, drop_remainder=True, numpy=True):
        yield images, y


def main(directory: str, epochs: int = 3) -> list[float]:
    """Trains a linear model of any task by gradient descent; gives the mean loss of each epoch."""
    contract = contracts.load(directory)
    import jax
    import jax.numpy as jnp

    size = min(32, contract.split("train").records)
    mean, std = jnp.array(contract.task.mean), jnp.array(contract.task.std)  # of a regression

    def loss_of(parameters, images, y):  # type: ignore[no-untyped-def]
        outputs = images.reshape(len(images), -1) @ parameters["kernel"] + parameters["bias"]
        if contract.task.kind == "classes":
            return -jnp.mean(jax.nn.log_softmax(outputs)[jnp.arange(len(y)), y])
        if contract.task.kind == "multi-label":  # the cross-entropy of sigmoid(outputs)
            return jnp.mean(jax.nn.softplus(outputs) - y * outputs)
        return jnp.mean(jnp.square(outputs - (y - mean) / std))

    inputs, outputs = int(np.prod(contract.image_shape)), contract.target_width or len(contract.labels)

    @jax.jit
    def step(parameters, images, y):  # type: ignore[no-untyped-def]
        loss, gradients = jax.value_and_grad(loss_of)(parameters, images, y)
        return jax.tree.map(lambda p, g: p - 0.3 / inputs * g, parameters, gradients), loss  # larger could diverge

    parameters = {"kernel": jnp.zeros((inputs, outputs)), "bias": jnp.zeros(outputs)}
    losses = []
    for epoch in range(epochs):
        of_steps = []
        for images, y in numpy_batches(directory, "train", size):
            parameters, loss = step(parameters, images, y)
            of_steps.append(float(loss))
        losses.append(float(np.mean(of_steps)))
        print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}")
    return losses


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        main(sys.argv[1], *map(int, sys.argv[2:]))
    except (contracts.ContractError, ModuleNotFoundError) as error:  # one sentence that says what is wrong
        sys.exit(str(error))
