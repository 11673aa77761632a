"""Chooses the options of a training that suit a purpose.

An option that the user gives is left as it is. It imports only the standard library, as `trainer.config` does.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from typing import Any

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.contract.task import CLASSES, REGRESSION
from pipelines.core.errors import ConfigError
from pipelines.options.config_fields import flag
from trainer.config import IMAGENET, NATURAL

_log = logging.getLogger(__name__)

RECIPES = ("transfer", "scratch", "imagenet")
HELP = (
    "options for a purpose, in place of the defaults; transfer: starts from published weights of a network and fits "
    "only its head, or with --epochs N also fine-tunes it at a low learning rate: the best choice for some thousand "
    "images or fewer; scratch: many epochs from random weights on crops and changed colours; imagenet: the usual "
    "training of a large network on hundreds of thousands of images. Every other flag overrides it; it says what it "
    "sets (default: no recipe)"
)
NETWORK = "MobileNetV2"  # of the networks of keras.applications, the one that takes the least time on a processor
# Crops of 7/8 of the shorter side, as 224 of 256 pixels; the networks halve their sides, so it is a multiple of 8.
VIEW, MULTIPLE = 7 / 8, 8
SMALLEST_VIEW = 32  # pixels; smaller images are cropped and enlarged to their own size
SCRATCH: dict[str, Any] = {"epochs": 100, "schedule": "cosine", "weight_decay": 0.01}
# Goyal et al. 2017, "Accurate, Large Minibatch SGD", with half a cosine. Their decay of 0.0001 is a part of the
# gradient, which the momentum of 0.9 multiplies by 10; ours is not.
IMAGENET_TRAINING: dict[str, Any] = {
    "model": "ResNet50", "epochs": 90, "batch_size": 256, "optimizer": "sgd", "schedule": "cosine",
    "weight_decay": 1e-3, "label_smoothing": 0.1,
}  # fmt: skip
RATE_OF_256 = 0.1  # learning rate for a batch of 256 images; it grows with the batch
FINE_TUNING: dict[str, Any] = {"learning_rate": 1e-4, "schedule": "cosine", "warmup_epochs": 1.0}


def add(parser: argparse.ArgumentParser) -> None:
    """Adds --recipe to a command line."""
    parser.add_argument("--recipe", choices=RECIPES, default="", help=HELP)


def options(recipe: str, given: Mapping[str, Any], contract: Contract) -> dict[str, Any]:
    """Returns the options that a recipe sets, by field name of `TrainConfig`.

    Args:
      recipe: one of RECIPES.
      given: the options that the user gave.
      contract: of the dataset.

    Raises:
      ConfigError: the recipe needs an option that is not given.
    """
    if recipe not in RECIPES:
        raise ConfigError(f"--recipe should be one of {', '.join(RECIPES)}. Received: {recipe!r}.")
    made = {"transfer": _transfer, "scratch": _scratch, "imagenet": _imagenet}[recipe](given, contract)
    return {name: value for name, value in made.items() if name not in given}


def _transfer(given: Mapping[str, Any], contract: Contract) -> dict[str, Any]:
    """Returns the options of transfer: published weights, with a new head."""
    model = given.get("model", NETWORK)
    if not given.get("init_weights") and (":" in model or not model[:1].isupper()):
        raise ConfigError(
            f"--recipe transfer needs pretrained weights, and Keras has none for --model {model}: name a file with "
            "--init-weights, or take a network of keras.applications, such as MobileNetV2."
        )
    wanted = {"model": model, "init_weights": IMAGENET, "fit_head": True, "epochs": 0, **_rare_classes(given, contract)}
    if given.get("epochs"):
        wanted |= FINE_TUNING
        wanted["warmup_epochs"] = min(FINE_TUNING["warmup_epochs"], _free_epochs(given, 0) / 2)
    return wanted


def _scratch(given: Mapping[str, Any], contract: Contract) -> dict[str, Any]:
    """Returns the options of scratch: random weights, many epochs, changed images."""
    wanted = {**SCRATCH, **_rare_classes(given, contract), **_changes(given, contract, "0.25-1", 0.2)}
    return wanted | {"warmup_epochs": min(5.0, _free_epochs(given, SCRATCH["epochs"]) / 10)}


def _imagenet(given: Mapping[str, Any], contract: Contract) -> dict[str, Any]:
    """Returns the options of imagenet: a large network on many images."""
    wanted: dict[str, Any] = {**IMAGENET_TRAINING, **_changes(given, contract, "0.08-1", 0.4)}
    if contract.task.kind != CLASSES:
        del wanted["label_smoothing"]
    if given.get("optimizer", "sgd") != "sgd":
        del wanted["weight_decay"]  # it is that of gradient descent, as is the rate
    else:
        wanted["learning_rate"] = RATE_OF_256 * given.get("batch_size", IMAGENET_TRAINING["batch_size"]) / 256
    return wanted | {"warmup_epochs": min(5.0, _free_epochs(given, IMAGENET_TRAINING["epochs"]) / 10)}


def _changes(given: Mapping[str, Any], contract: Contract, scale: str, colours: float) -> dict[str, Any]:
    """Returns the options that change training images, none for numbers.

    A number may depend on sizes, places and colours, and only the user knows.
    """
    if contract.task.kind == REGRESSION:
        return {}
    size = int(min(contract.image_shape[:2]) * VIEW / MULTIPLE) * MULTIPLE
    wanted = {"train_size": size, "crop_scale": scale, "color_jitter": colours}
    if size < SMALLEST_VIEW:
        del wanted["train_size"]  # the crops then have the size of the stored images
    return wanted


def _rare_classes(given: Mapping[str, Any], contract: Contract) -> dict[str, Any]:
    """Returns the loss for classes of unequal size, if nothing else balances them."""
    balanced = str(contract.balance.get("mode", "none")) != "none" or given.get("resample", NATURAL) != NATURAL
    return {} if balanced or contract.task.kind != CLASSES else {"loss": "logit-adjusted"}


def _free_epochs(given: Mapping[str, Any], default: int) -> int:
    """Returns the number of epochs after those that train only the head."""
    return int(given.get("epochs", default)) - int(given.get("freeze_epochs", 0))


def sentence(recipe: str, chosen: Mapping[str, Any]) -> str:
    """Returns what a recipe sets as the flags that a user would type."""
    flags = [flag(name) if value is True else f"{flag(name)} {value}" for name, value in chosen.items()]
    return f"--recipe {recipe} sets {' '.join(flags)}" if flags else f"--recipe {recipe} sets nothing: all is given"


def filled(values: Mapping[str, Any], recipe: str) -> dict[str, Any]:
    """Returns the options of a training, with those that a recipe sets; logs these.

    Args:
      values: the options that the user gave, by field name.
      recipe: one of RECIPES; "" for none.

    Raises:
      ConfigError: as `options`.
      ContractError: there is no dataset at `data`.
    """
    if not recipe or not values.get("data"):  # without data, the caller reports what is missing
        return dict(values)
    chosen = options(recipe, values, contracts.load(values["data"]))
    _log.info("%s", sentence(recipe, chosen))
    return {**values, **chosen}
