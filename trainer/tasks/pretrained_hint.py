"""Says what would suit few images better than random weights."""

from __future__ import annotations

import shlex

from pipelines.contract import Contract
from trainer.config import TrainConfig
from trainer.models import pretrained
from trainer.tasks import kinds


def few(config: TrainConfig, contract: Contract) -> str:
    """Returns how few images a run with random weights had.

    It is such as "32 train images for each class on average", and "" if they were enough or the weights were given.
    """
    each, what = kinds.of(contract).few_images(contract)
    return "" if config.init_weights or each >= pretrained.FEW_IMAGES else f"{each:,.0f} {what}"


def advice(config: TrainConfig, contract: Contract) -> str:
    """Returns what would suit few images better; "" if there is nothing to say."""
    told = few(config, contract)
    if not told:
        return ""
    small = min(contract.image_shape[:2]) < pretrained.SMALL
    # What weights a function of the user gives its network is not known.
    begins = (
        f"{config.model} had {told}. If it began with random weights"
        if ":" in config.model
        else f"This network began with random weights and had {told}. With so few"
    )
    data = config.data.rstrip("/") + "-224" if small else config.data
    output = config.output.rstrip("/") + "-transfer"
    return (
        f"{begins}, weights that were trained on ImageNet are usually much better (docs/training.md has figures). To "
        "try them" + (", prepare with --size 224x224 into a folder of its own first, then" if small else "") + ":\n"
        f"  python -m trainer train --data {shlex.quote(data)} --output {shlex.quote(output)} --recipe transfer"
    )
