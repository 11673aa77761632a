"""A prepared dataset in PyTorch: batches come as NumPy arrays, channels first. Needs `pip install torch`.

python examples/own_torch.py DIR [EPOCHS]

No DataLoader and no worker processes are needed: batches are read ahead in threads of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from pipelines import contract as contracts
from trainer.data import dataset


def numpy_batches(directory: str, split: str, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One pass: images float32 (B, C, H, W), normalized, and y; both are writable, as torch wants them.

    y: ids int64 (B,) of classes. Of labels 1 and 0, and of a regression numbers, float32 (B, K).
    """
    for images, y, *_ in dataset.batches(directory, split, batch_size, shuffle=True, numpy=True):
        yield np.array(images.transpose(0, 3, 1, 2), order="C"), np.array(y)


def main(directory: str, epochs: int = 3) -> list[float]:
    """Trains a linear model of any task; gives the mean loss of each epoch."""
    contract = contracts.load(directory)
    import torch

    mean, std = torch.tensor(contract.task.mean), torch.tensor(contract.task.std)  # of a regression

    def loss_of(outputs, y):  # type: ignore[no-untyped-def]
        if contract.task.kind == "classes":
            return torch.nn.functional.cross_entropy(outputs, y)
        if contract.task.kind == "multi-label":
            return torch.nn.functional.binary_cross_entropy_with_logits(outputs, y)
        return torch.nn.functional.mse_loss(outputs, (y - mean) / std)

    inputs, outputs = int(np.prod(contract.image_shape)), contract.target_width or len(contract.labels)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(inputs, outputs))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3 / inputs)  # larger steps could diverge
    losses = []
    for epoch in range(epochs):
        of_steps = []
        for images, y in numpy_batches(directory, "train", 32):
            optimizer.zero_grad()
            loss = loss_of(model(torch.from_numpy(images)), torch.from_numpy(y))
            loss.backward()
            optimizer.step()
            of_steps.append(loss.item())
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
