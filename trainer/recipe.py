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
from pipelines.contract.task import CLASSES
from pipelines.core.errors import ConfigError
from pipelines.options.config_fields import flag
from trainer.config import IMAGENET, NATURAL

_log = logging.getLogger(__name__)

RECIPES = ("transfer",)
HELP = (
    "options for a purpose, in place of the defaults; transfer: starts from published weights of a network and fits "
    "only its head, or with --epochs N also fine-tunes it at a low learning rate: the best choice for some thousand "
    "images or fewer. Every other flag overrides it; it says what it sets (default: no recipe)"
)
NETWORK = "MobileNetV2"  # of the networks of keras.applications, the one that takes the least time on a processor
FINE_TUNING = {"learning_rate": 1e-4, "schedule": "cosine", "warmup_epochs": 1.0}


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
    model = given.get("model", NETWORK)
    if not given.get("init_weights") and (":" in model or not model[:1].isupper()):
        raise ConfigError(
            f"--recipe transfer needs pretrained weights, and Keras has none for --model {model}: name a file with "
            "--init-weights, or take a network of keras.applications, such as MobileNetV2."
        )
    if contract.task.kind != CLASSES:  # only a head of classes can be fitted in one go
        wanted: dict[str, Any] = {"model": model, "init_weights": IMAGENET, "unfreeze": "none"}
        return {name: value for name, value in wanted.items() if name not in given}
    wanted = {"model": model, "init_weights": IMAGENET, "fit_head": True, "epochs": 0}
    balanced = str(contract.balance.get("mode", "none")) != "none" or given.get("resample", NATURAL) != NATURAL
    if not balanced:
        wanted["loss"] = "logit-adjusted"
    if given.get("epochs"):
        wanted |= FINE_TUNING
        wanted["warmup_epochs"] = min(FINE_TUNING["warmup_epochs"], given["epochs"] - given.get("freeze_epochs", 0))
    return {name: value for name, value in wanted.items() if name not in given}


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
