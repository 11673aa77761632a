"""What the ablation compares: how the images are prepared, and how the model is trained on them.

Each variant names the one that it is compared with, from which it differs in one thing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Preparation:
    """A dataset to prepare; `flags` of `python -m pipelines prepare`, besides those that all have in common."""

    name: str
    flags: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row of the table.

    against: name of the variant that it is compared with; "" for the first.
    change: what is done instead, for a sentence.
    training: options of `TrainConfig` that differ from those of the others.
    network: the network to train instead of --model.
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

# Raw: a network needs images of one shape to make a batch at all; cut or padded around the centre, no pixel is changed.
VARIANTS = (
    Variant("raw", "raw pixels 0–255, cut or padded", RAW),
    Variant("resized", "resized, pixels 0–255", RESIZED, "raw", "resizing the whole picture instead of cutting it"),
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
