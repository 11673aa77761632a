"""Declares the options of splits, balance and augmentation."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from pipelines.core.errors import ConfigError
from pipelines.options import option_syntax
from pipelines.options.config_fields import Range, Syntax, check_range, option
from pipelines.plan import folds
from pipelines.plan.balance import Balance
from pipelines.plan.folds import Division

BALANCES = ("none", "uniform", "sqrt", "temperature", "counts")
DUPLICATES = ("keep", "drop", "fail")
# Units: degrees, fractions of the side, fractions of the scale, fractions of the gray range, factors around 1.
AUGMENT_DEFAULTS = {
    "flip": 1.0,  # 1: half of the copies are mirrored left to right
    "rotate": 10.0,  # at most this many degrees in either direction
    "shift": 0.08,  # at most this fraction of the side, on each axis
    "scale": 0.1,  # zoom by a factor within 1 +- this
    "brightness": 0.1,  # add up to this fraction of 255
    "contrast": 0.15,  # stretch around mid-gray by a factor within 1 +- this
    "color": 0.15,  # saturation by a factor within 1 +- this
    "erase": 0.0,  # blank a rectangle of at most this fraction of the area; off by default
}
_CLASSES = "splits and balance"


def _parse_balance(text: str) -> dict[str, Any]:
    """Returns the fields that --balance sets."""
    mode, _, value = text.partition("=")
    if mode == "counts" and value:
        counts = option_syntax.pairs(value, ":")
        return {"balance": mode, "counts": {k: option_syntax.number(v, int) for k, v in counts.items()}}
    if mode == "temperature" and value:
        return {"balance": mode, "temperature": option_syntax.number(value, float)}
    if mode == "uniform":
        return {"balance": mode, "per_class": option_syntax.number(value, int) if value else 0}
    if mode in ("none", "sqrt") and not value:
        return {"balance": mode}
    raise ValueError(
        f"should be none, uniform, uniform=N, sqrt, temperature=T or counts=CLASS:N,…. Received: {text!r}."
    )


def _parse_augment(text: str) -> dict[str, float]:
    if text == "default":
        return dict(AUGMENT_DEFAULTS)
    if text == "none":
        return {}
    strengths: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in AUGMENT_DEFAULTS or name in strengths:
            raise ValueError(f"should be of {', '.join(AUGMENT_DEFAULTS)}, each once. Received: {name!r}.")
        strengths[name] = option_syntax.number(value, float) if value else AUGMENT_DEFAULTS[name] or 0.1
    return strengths


def _show_augment(strengths: Mapping[str, float]) -> str:
    if strengths == AUGMENT_DEFAULTS:
        return "default"
    return option_syntax.joined(strengths) if strengths else "none"


_BALANCE = Syntax(_parse_balance, str, "MODE")
_AUGMENT = Syntax(_parse_augment, _show_augment, "LIST")


@dataclasses.dataclass(frozen=True)
class SplitOptions:
    """Holds the options of which images a split gets, and how often."""

    splits: Mapping[str, float] = option(
        lambda: {"train": 0.8, "validation": 0.1, "test": 0.1},
        "the splits and the fraction of each class that they get, 1 in total; equal images and images of one group "
        "stay in one split; splits that the input states are kept",
        syntax=option_syntax.SHARES, group=_CLASSES,
    )  # fmt: skip
    group_similar: int = option(
        0,
        "images whose perceptual hashes differ in at most so many of 128 bits stay in one split, as other sizes, crops "
        "or shots of one photograph do; 0 to 40: 10 suits photographs, 0 compares no images",
        limits=Range(0, 40), group=_CLASSES,
    )  # fmt: skip
    like: str = option(
        "",
        "an earlier dataset that this one continues: images of equal content keep their split, classes keep their id, "
        "and pixels are normalized as there, so that its models can be evaluated; options about pixels, --splits and "
        "--classes are as there if they are not given",
        metavar="DIR", unset="none", group=_CLASSES, decides=False,
    )  # fmt: skip
    validation_from: Mapping[str, float] = option(
        dict,
        "cut a validation split out of a split that the input states: train=0.1 moves a tenth of each class",
        syntax=option_syntax.SHARES, unset="no split is cut", group=_CLASSES,
    )  # fmt: skip
    folds: str = option(
        "",
        "divide train into so many folds, for cross-validation, such as 5, or 5x2 to do it two times; records are "
        "written once, and folds.json says in which fold each is; folds are stratified and keep groups together as "
        "splits are; the share of validation in --splits goes to train",
        metavar="K", unset="no folds", group=_CLASSES,
    )  # fmt: skip
    balance: str = option(
        "none",
        "how the classes of train are balanced by copying and leaving out images: none, uniform (each class gets as "
        "many records as the largest has) or uniform=N, sqrt (in proportion to the square root of the class's count), "
        "temperature=T (to its power 1/T), or counts=CLASS:N,…",
        syntax=_BALANCE, sets=True, group=_CLASSES,
    )  # fmt: skip
    duplicates: str = option(
        "keep",
        "what is done with images of equal content: keep them together in one split, drop all but the first (or all, "
        "where their labels differ), or fail",
        choices=DUPLICATES, group=_CLASSES,
    )  # fmt: skip
    temperature: float = 1.0
    per_class: int = 0  # records per class with balance=uniform; 0: as many as the largest class has
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    max_copies: int = option(
        10, "the most records that --balance makes of one image, including the original",
        limits=Range(1, 999), group=_CLASSES,
    )  # fmt: skip
    augment: Mapping[str, float] = option(
        lambda: dict(AUGMENT_DEFAULTS),
        "how the copies that --balance makes are changed: default, none (copies are plain duplicates, for comparison), "
        "or a list NAME=STRENGTH,… that omits the other changes; rotate is in degrees, all others are fractions, and "
        f"default is {', '.join(f'{name}={value:g}' for name, value in AUGMENT_DEFAULTS.items())}",
        syntax=_AUGMENT, group=_CLASSES,
    )  # fmt: skip

    @property
    def division(self) -> Division | None:
        """Returns into how many folds train is divided; None for no folds."""
        return folds.parsed(self.folds)

    @property
    def shares(self) -> Mapping[str, float]:
        """Returns the share of each split of the images without a stated split."""
        return folds.splits(self.splits) if self.folds else self.splits

    @property
    def class_balance(self) -> Balance:
        """Returns how many records the classes of train should have."""
        return Balance(self.balance, self.temperature, self.per_class, self.counts, self.max_copies)


def check(config: SplitOptions) -> None:
    """Raises ConfigError if a value of these options is not allowed."""
    if "train" not in config.splits or config.splits["train"] <= 0:
        raise ConfigError(f"--splits should give train a share above 0. Received: {dict(config.splits)}")
    for name, share in config.splits.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            raise ConfigError(f"--splits: a name should be letters, digits and _. Received: {name!r}")
        check_range(f"--splits {name}", share, Range(0, 1))
    for name, share in config.validation_from.items():
        check_range(f"--validation-from {name}", share, Range(0.001, 0.999))
    if len(config.validation_from) > 1:
        raise ConfigError(f"--validation-from should name one split. Received: {dict(config.validation_from)}")
    if abs(sum(config.splits.values()) - 1) > 1e-6:
        raise ConfigError(f"--splits should add up to 1. Received: {dict(config.splits)}")
    _check_folds(config)
    if config.balance not in BALANCES:
        raise ConfigError(f"--balance should be one of {', '.join(BALANCES)}. Received: {config.balance!r}.")
    if config.temperature != math.inf:  # infinity makes the classes equal
        check_range("--balance temperature", config.temperature, Range(1e-6))
    check_range("--balance uniform", config.per_class, Range(0, 1 << 40))
    if config.balance == "counts" and not config.counts:
        raise ConfigError("--balance counts should name the classes: counts=cat:500,dog:500.")
    for label, count in config.counts.items():
        check_range(f"--balance counts, {label}", count, Range(0, 1 << 40))
    for name, strength in config.augment.items():
        if name not in AUGMENT_DEFAULTS:
            raise ConfigError(f"--augment should be one of {', '.join(AUGMENT_DEFAULTS)}. Received: {name!r}.")
        # A scale of 1 would allow a zoom factor of 0.
        check_range(f"--augment {name}", strength, Range(0, {"rotate": 180, "scale": 0.9}.get(name, 1)))


def _check_folds(config: SplitOptions) -> None:
    try:
        folds.parsed(config.folds)
    except ValueError as e:
        raise ConfigError(f"--folds {e}") from e
    if config.folds and config.validation_from:
        raise ConfigError(
            "--validation-from cuts a validation split out of train, and with --folds each fold is validated on in "
            "turn. Leave one of them out."
        )
    if config.folds and config.like:
        raise ConfigError(
            "--like keeps the splits of an earlier dataset, but not its folds. Leave out --folds, or prepare all "
            "images together."
        )
