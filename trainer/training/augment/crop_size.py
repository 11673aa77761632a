"""Gives the size of the crops of an epoch, if they grow (`--train-size A:B`).

Small images cost less, and a network learns most of what it learns first from them, too (Howard 2018, "Training
Imagenet in 3 hours"; Tan and Le 2021, "EfficientNetV2"). The size is a function of the number of the epoch alone, so a
run that is resumed needs to know nothing else.
"""

from __future__ import annotations

from trainer.config import TrainConfig

MULTIPLE = 32  # networks halve their sides five times
GROWING = (3, 4)  # share of the epochs in which the size grows: the last quarter has the last size


def ladder(first: int, last: int) -> list[int]:
    """Returns the sizes from the first to the last one, in pixels.

    Those between the two are the multiples of 32. Each size is compiled once, so that a size for each epoch would cost
    more than it saves.

    >>> ladder(100, 160)
    [100, 128, 160]
    """
    between = range((first // MULTIPLE + 1) * MULTIPLE, last, MULTIPLE)
    return sorted({first, *between, last})


def of_epoch(config: TrainConfig, epoch: int) -> int:
    """Returns the side of the crops of an epoch in pixels.

    The first three quarters of the epochs are divided evenly among the sizes below the last one. The last epoch always
    has the last size.

    Args:
      epoch: counted from 0.

    Returns:
      0 if the stored images are not cropped to another size.
    """
    first, last = config.size_range()
    below = ladder(first, last)[:-1]
    growing = config.epochs * GROWING[0] // GROWING[1]
    return below[epoch * len(below) // growing] if below and epoch < growing else last


def sentence(config: TrainConfig) -> str:
    """Returns which epochs have which size, or "" if the size does not change.

    >>> sentence(TrainConfig("data", "run", epochs=8, train_size="64:128"))
    'the crops grow: 64 pixels from epoch 1 on, 96 from 4, 128 from 7'
    """
    sizes = [of_epoch(config, epoch) for epoch in range(config.epochs)]
    begins = {size: sizes.index(size) + 1 for size in sizes}
    if len(begins) < 2:
        return ""
    first, *others = begins.items()
    text = f"the crops grow: {first[0]} pixels from epoch {first[1]} on"
    return ", ".join([text, *(f"{size} from {epoch}" for size, epoch in others)])
