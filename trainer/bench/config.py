"""The options of `python -m trainer bench`, and whether a dataset can be measured with them. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import math
import os

from pipelines.contract import Contract
from trainer.config import CACHES, JIT, NO_CACHE, PRECISIONS, TrainerError, check_type, flag, option


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """What to measure.

    Raises:
      TrainerError: a value is out of its range; the message names the option.
    """

    data: str = option(dataclasses.MISSING, "directory of a prepared dataset", metavar="DIR")
    split: str = option("train", "split to read, shuffled, as training does")
    batch_size: int = option(32, "images a step")
    model: str = option("cnn", "network to train, as for the train command")
    mixed_precision: str = option("none", "as for the train command", choices=PRECISIONS)
    jit: str = option("auto", "as for the train command", choices=JIT)
    cache: str = option(
        NO_CACHE,
        "as for the train command; the loader is then measured with all images decoded, as from the second epoch on",
        choices=CACHES,
    )
    seconds: float = option(3.0, "how long to measure each of the three: loader, model, both")
    windows: int = option(5, "parts of that time; medians are taken over them")
    profile: str = option(
        "",
        "also write a trace of some steps here, for TensorBoard's profile plugin: "
        "`pip install tensorboard tensorboard-plugin-profile`, then `tensorboard --logdir DIR`",
        metavar="DIR",
    )
    json: str = option("", "also write all figures to this JSON file", metavar="FILE")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_type(field.name, getattr(self, field.name), str(field.type))
        for name in ("data", "split", "model"):
            if not getattr(self, name):
                raise TrainerError(f"{flag(name)} should not be empty.")
        for name, low, high in (
            ("batch_size", 1, 1 << 20),
            ("seconds", 0.01, 3600),
            ("windows", 1, 1000),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise TrainerError(f"{flag(name)} should be from {low:g} to {high:g}. Received: {value}.")
        for name, choices in (("mixed_precision", PRECISIONS), ("jit", JIT), ("cache", CACHES)):
            if getattr(self, name) not in choices:
                raise TrainerError(
                    f"{flag(name)} should be one of {', '.join(choices)}. Received: {getattr(self, name)!r}."
                )
        if self.json and (os.path.isdir(self.json) or not os.path.isdir(os.path.dirname(os.path.abspath(self.json)))):
            raise TrainerError(f"--json should be a file in a folder that is there. Received: {self.json!r}.")
        if "://" in self.profile or os.path.isfile(self.profile):
            raise TrainerError(f"--profile should be a local folder to write to. Received: {self.profile!r}.")


def check_split(config: BenchConfig, contract: Contract) -> None:
    """Raises ContractError or TrainerError unless a pass over the split gives two whole batches.

    Two, because the first batch of a pass is measured apart from the others: it waits for the files to be opened and
    the shuffle buffer to be filled.
    """
    records = contract.split(config.split).records
    if not records:
        raise TrainerError(f"Split {config.split!r} of {config.data} holds no records: choose another with --split.")
    if records < 2 * config.batch_size:
        raise TrainerError(
            f"--batch-size should be at most half of the {records} records of split {config.split!r}, so that a pass "
            f"has a batch after its first. Received: {config.batch_size}. Use --batch-size "
            f"{max(1, records // 2)} or less, or a larger split."
            if records > 1
            else f"Split {config.split!r} of {config.data} holds one record: nothing can be measured on it."
        )
