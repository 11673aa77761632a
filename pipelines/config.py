"""Defines the configuration of `prepare`: one frozen dataclass that checks itself.

It imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from pipelines import contract
from pipelines.core import errors, hashing
from pipelines.core.errors import ConfigError
from pipelines.storage import remote

BALANCES = ("none", "uniform", "sqrt", "temperature", "counts")
QUALITIES = ("exact", "fast")
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
# The shard bytes do not depend on these. The digest of all other options decides whether a run may be resumed.
NOT_IN_DIGEST = ("input", "output", "workers", "max_reject_rate", "image_timeout", "image_memory", "thumbnails")


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """Configures `python -m pipelines prepare`, in the form that the pipeline uses.

    See `--help` for the meaning of the options.
    """

    input: str
    output: str
    name: str = ""
    layout: str = "auto"
    size: tuple[int, int] = (128, 128)  # height, width in pixels
    resize: str = "stretch"
    filter: str = "area"
    quality: str = "exact"
    background: tuple[int, int, int] = (255, 255, 255)
    normalize: str = "zscore"
    splits: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"train": 0.8, "validation": 0.1, "test": 0.1}
    )
    balance: str = "none"
    duplicates: str = "keep"
    temperature: float = 1.0
    target: int = 0  # records per class with balance=uniform; 0: as many as the largest class has
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    max_copies: int = 10  # most records per image, including the original
    # The strengths of the augmentation of copies; empty: copies are plain duplicates.
    augment: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(AUGMENT_DEFAULTS))
    encoding: str = "float16"
    jpeg_quality: int = 95
    shards: int = 0  # per split; 0: chosen by shard_size
    shard_size: int = 128 << 20  # most bytes per shard, approximately
    seed: int = 0
    max_reject_rate: float = 0.01
    max_pixels: int = 64 << 20
    max_frames: int = 1000  # most frames of an animation or a TIFF; only the first is used
    max_file_bytes: int = 256 << 20
    allow_outside: bool = False
    image_timeout: float = 60.0  # seconds that reading or decoding one image may take
    image_memory: int = 1 << 30  # bytes of memory that one image may take in its worker
    workers: int = 0  # decoding processes; 0: one per core
    thumbnails: int = 2  # sources per class and split that the report shows

    def __post_init__(self) -> None:
        _one_of("--layout", self.layout, ("auto", "class", "split"))
        _one_of("--resize", self.resize, contract.RESIZE_MODES)
        _one_of("--filter", self.filter, contract.FILTERS)
        _one_of("--quality", self.quality, QUALITIES)
        _one_of("--normalize", self.normalize, contract.NORMALIZATIONS)
        _one_of("--balance", self.balance, BALANCES)
        _one_of("--duplicates", self.duplicates, DUPLICATES)
        _one_of("--encoding", self.encoding, contract.ENCODINGS)
        _between("--size", min(self.size), 1, 8192)
        _between("--size", max(self.size), 1, 8192)
        _between("--max-copies", self.max_copies, 1, 999)
        _between("--jpeg-quality", self.jpeg_quality, 1, 100)
        _between("--max-reject-rate", self.max_reject_rate, 0, 1)
        _between("--temperature", self.temperature, 1e-6, float("inf"))
        _between("--shards", self.shards, 0, 99_999)
        _between("--seed", self.seed, -(1 << 63), (1 << 63) - 1)
        _between("--image-timeout", self.image_timeout, 0.001, 86_400)
        _between("--workers", self.workers, 0, 1024)
        for option in ("shard_size", "max_pixels", "max_frames", "max_file_bytes"):
            _between(f"--{option.replace('_', '-')}", getattr(self, option), 1, 1 << 50)
        _between("--image-memory", self.image_memory, 16 << 20, 1 << 50)
        for value in self.background:
            _between("--background", value, 0, 255)
        if not self.input or not self.output:
            raise ConfigError("--input and --output should name a folder, a manifest or a glob, and a folder.")
        for option, path in (("--input", self.input), ("--output", self.output)):
            _can_be(option, path)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", self.dataset_name):
            raise ConfigError(f"--name should be a letter, then letters, digits and _. Received: {self.dataset_name!r}")
        self._check_splits()
        self._check_maps()

    def _check_splits(self) -> None:
        if "train" not in self.splits or self.splits["train"] <= 0:
            raise ConfigError(f"--splits should give train a share above 0. Received: {dict(self.splits)}")
        for name, share in self.splits.items():
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise ConfigError(f"--splits: a name should be letters, digits and _. Received: {name!r}")
            _between(f"--splits {name}", share, 0, 1)
        if abs(sum(self.splits.values()) - 1) > 1e-6:
            raise ConfigError(f"--splits should add up to 1. Received: {dict(self.splits)}")

    def _check_maps(self) -> None:
        for name, strength in self.augment.items():
            _one_of("--augment", name, tuple(AUGMENT_DEFAULTS))
            # A scale of 1 would allow a zoom factor of 0.
            _between(f"--augment {name}", strength, 0, {"rotate": 180, "scale": 0.9}.get(name, 1))
        _between("--balance uniform", self.target, 0, 1 << 40)
        if self.balance == "counts" and not self.counts:
            raise ConfigError("--balance counts should name the classes: counts=cat:500,dog:500.")
        for label, count in self.counts.items():
            _between(f"--balance counts, {label}", count, 0, 1 << 40)

    @property
    def dataset_name(self) -> str:
        """Returns NAME of the shards' names: a letter, then letters, digits and _.

        It is the name that was given, or is made from the name of the output folder.
        """
        if self.name:
            return self.name
        made = re.sub(r"[^A-Za-z0-9]+", "_", os.path.basename(self.output.rstrip("/"))).strip("_")
        return made if made[:1].isalpha() else f"dataset_{made}".rstrip("_")

    def digest(self) -> str:
        """Returns the SHA-256 of the options that the shard bytes depend on."""
        values = {k: v for k, v in dataclasses.asdict(self).items() if k not in NOT_IN_DIGEST}
        if self.duplicates != "drop":  # `keep` and `fail` give the same shards
            del values["duplicates"]
        values |= {"name": self.dataset_name, "splits": list(self.splits.items())}  # the cuts follow the splits' order
        return hashing.text_digest(json.dumps(values, sort_keys=True))

    def settings(self) -> dict[str, Any]:
        """Returns all options as plain JSON values."""
        return {**dataclasses.asdict(self), "name": self.dataset_name}


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{option} should be one of {', '.join(allowed)}. Received: {value!r}")


def _can_be(option: str, path: str) -> None:
    if remote.is_remote(path):
        try:
            remote.check(path)
        except errors.StoreError as e:
            raise ConfigError(f"{option} {e}") from e


def _between(option: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{option} should be between {low:g} and {high:g}. Received: {value!r}")
