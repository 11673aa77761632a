"""Defines the variants of an ablation: how each prepares images and trains.
Each variant names its reference variant, from which it differs in one thing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Preparation:
    """Describes a dataset to prepare.

    flags: flags of `python -m pipelines prepare`, in addition to those that all datasets have in common.
    """

    name: str
    flags: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Variant:
    """Describes a variant, which is one row of the table.

    against: name of the reference variant; "" for the first variant.
    change: how it differs from the reference, as a part of a sentence.
    training: options of `TrainConfig` that differ from the other variants'.
    network: network to train instead of --model; "" for --model.
    """

    name: str
    title: str
    preparation: Preparation
    against: str = ""
    change: str = ""
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    network: str = ""


RAW = Preparation("raw", ("--resize", "none", "--normalize", "none", "--balance", "none"))
RESIZED = Preparation("resized", ("--resize", "stretch", "--normalize", "none", "--balance", "none"))
UNIT = Preparation("unit", ("--resize", "stretch", "--normalize", "unit", "--balance", "none"))
ZSCORE = Preparation("zscore", ("--resize", "stretch", "--normalize", "zscore", "--balance", "none"))
COPIED = Preparation(
    "copied", ("--resize", "stretch", "--normalize", "zscore", "--balance", "uniform", "--augment", "none")
)
AUGMENTED = Preparation(
    "augmented", ("--resize", "stretch", "--normalize", "zscore", "--balance", "uniform", "--augment", "default")
)

# A batch needs images of one shape. "raw" therefore crops or pads around the centre, which changes no pixel value.
VARIANTS = (
    Variant("raw", "raw pixels 0–255, cut or padded", RAW),
    Variant("resized", "resized, pixels 0–255", RESIZED, "raw", "resizing the complete picture instead of cutting it"),
    Variant("unit", "resized, scaled to 0–1", UNIT, "resized", "dividing by 255"),
    Variant("zscore", "resized, z-score", ZSCORE, "resized", "normalizing by mean and deviation"),
    Variant("copied", "z-score, balanced, plain copies", COPIED, "zscore", "balancing by plain copies"),
    Variant("augmented", "z-score, balanced, augmented copies", AUGMENTED, "copied", "augmenting these copies"),
    Variant("weighted", "z-score, class weights", ZSCORE, "zscore", "class weights", training={"loss": "weighted"}),
    Variant(
        "adjusted",
        "z-score, logit adjustment",
        ZSCORE,
        "zscore",
        "logit adjustment",
        training={"loss": "logit-adjusted"},
    ),
    Variant(
        "half",
        "augmented, half the filters",
        AUGMENTED,
        "augmented",
        "halving the filters",
        network="trainer.ablation.capacity:half",
    ),
    Variant(
        "double",
        "augmented, twice the filters",
        AUGMENTED,
        "augmented",
        "doubling the filters",
        network="trainer.ablation.capacity:double",
    ),
)


def _share(parts: int) -> Variant:
    """Returns the variant that learns from one of so many parts of the train images."""
    whole = "all train images" if parts == 1 else f"1/{parts} of the train images"
    fewest = parts == SHARES[0]
    return Variant(
        f"images-1-of-{parts}",
        whole,
        ZSCORE,
        "" if fewest else f"images-1-of-{2 * parts}",
        "" if fewest else f"doubling 1/{2 * parts} of the images",
        {"train_share": 1 / parts} if parts > 1 else {},
    )


SHARES = (8, 4, 2, 1)  # each is twice the one before, and holds it
CURVE = tuple(_share(parts) for parts in SHARES)
