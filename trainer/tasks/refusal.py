"""Refuses a dataset of several labels or of numbers where only classes make sense."""

from __future__ import annotations

from pipelines.contract import Contract
from pipelines.contract.task import CLASSES
from trainer.config import TrainConfig, TrainerError
from trainer.data import class_sampling

WORDS = {"multi-label": "several labels an image", "regression": "numbers for each image"}

# What a change of an image may do to its answer, by kind of task.
CHANGES = {
    "multi-label": {
        "crop": "A crop of --crop-scale may leave out what a label is about; the larger its least share, the rarer.",
        "erase": "--random-erasing may cover what a label is about: the label stays.",
    },
    "regression": {
        "flip": "--flip turns images left to right: use --no-flip if a number depends on the side.",
        "crop": "--crop-scale cuts parts out and enlarges them: use --crop-scale none if a number depends on where "
        "things are or how large they are.",
        "colours": "--color-jitter changes brightness and colours: leave it out if a number depends on them.",
        "rotate": "--rotate turns images: leave it out if a number depends on directions or on where things are.",
        "erase": "--random-erasing covers a part of an image: leave it out if a number counts what is there.",
    },
}


def only_classes(contract: Contract, who: str, instead: str) -> None:
    """Raises TrainerError if the dataset is not of classes.

    Args:
      who: what was asked for, such as "--resample". instead: a sentence that says what can be done.
    """
    kind = contract.task.kind
    if kind != CLASSES:
        raise TrainerError(
            f"{who} is for one class an image, and dataset {contract.name!r} has {WORDS[kind]} ({kind}). {instead}"
        )


def of_changes(config: TrainConfig, contract: Contract) -> list[str]:
    """Returns a sentence for each change of images that may make answers wrong.

    The labels and numbers of a record stay as they are, whatever a change does to its image.
    """
    given = {
        "flip": config.flip,
        "crop": config.crop_range() is not None,
        "colours": config.color_jitter,
        "rotate": config.rotate,
        "erase": config.random_erasing,
    }
    return [sentence for name, sentence in CHANGES.get(contract.task.kind, {}).items() if given[name]]


def check_options(config: TrainConfig, contract: Contract) -> None:
    """Raises TrainerError for options of `train` that are about classes."""
    class_sampling.refuse(contract, config.resample)
    if config.augment_classes:
        only_classes(contract, "--augment-classes", "Leave it out: the changes then apply to all images.")
