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
    """One pass: images float32 (B, 3, H, W), normalized and writable as torch wants them, and labels int64 (B,)."""
    for images, labels, *_ in dataset.load(directory, split, batch_size, shuffle=True).as_numpy_iterator():
        yield np.array(images.transpose(0, 3, 1, 2), order="C"), np.array(labels)


def main(directory: str, epochs: int = 3) -> list[float]:
    """Trains a linear classifier; gives the mean loss of each epoch."""
    import torch

    contract = contracts.load(directory)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(int(np.prod(contract.image_shape)), len(contract.labels))
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = []
    for epoch in range(epochs):
        of_steps = []
        for images, labels in numpy_batches(directory, "train", 32):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
            loss.backward()
            optimizer.step()
            of_steps.append(loss.item())
        losses.append(float(np.mean(of_steps)))
        print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}")
    return losses


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
