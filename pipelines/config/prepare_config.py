"""Joins the options of `prepare` into one frozen dataclass that checks its values."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from pipelines import contract, storage
from pipelines.config import input_options, pixel_options, split_options, table_options
from pipelines.config.input_options import InputOptions
from pipelines.config.pixel_options import PixelOptions
from pipelines.config.run_options import RunOptions
from pipelines.config.split_options import SplitOptions
from pipelines.config.table_options import TASK_OPTIONS, TableOptions
from pipelines.contract.task import CLASSES, MULTI_LABEL, REGRESSION
from pipelines.core import hashing
from pipelines.core.errors import ConfigError
from pipelines.images.limits import Limits
from pipelines.inputs import corrections, listing
from pipelines.inputs.layouts.split_names import SPLIT_NAMES
from pipelines.inputs.rules import InputSpec
from pipelines.inputs.tables import joined_tables
from pipelines.options import config_fields
from pipelines.plan.plan import Sharding, record_bytes
from pipelines.records.record_spec import RecordSpec
from pipelines.storage import remote
from pipelines.tasks.kinds import KINDS


@dataclasses.dataclass(frozen=True)
class PrepareConfig(RunOptions, SplitOptions, PixelOptions, TableOptions, InputOptions):
    """Holds the options of `python -m pipelines prepare`.

    `decides=False` marks what the shard bytes do not depend on. The digest of all other options decides whether a run
    may be resumed.

    Raises:
      ConfigError: a value is not allowed; the message names the option.
    """

    def __post_init__(self) -> None:
        config_fields.check(self)
        input_options.check(self)
        pixel_options.check(self)
        table_options.check(self, self.input)
        split_options.check(self)
        self._check_task()

    def _check_task(self) -> None:
        """Refuses options of other groups that make no sense with the task."""
        if self.task == CLASSES:
            return
        given = "--labels multi" if self.task == MULTI_LABEL else "--target"
        if self.like:
            raise ConfigError(
                f"--like continues datasets of one class an image, and not those of {given}. Prepare all images "
                "together, with the old splits in the table's column split."
            )
        if self.task == REGRESSION and self.classes.stated:
            raise ConfigError("--classes is for labels, and --target has numbers. Leave one of them out.")
        if not KINDS[self.task].is_balanced and self.balance != "none":
            raise ConfigError(
                f"--balance {self.balance} is for classes and labels, and --target has numbers. Leave it out; rows of "
                "a larger weight count more in training."
            )

    @property
    def input_spec(self) -> InputSpec:
        """Returns what is listed, and how."""
        split_names = tuple((folder, SPLIT_NAMES.get(split.lower(), split)) for folder, split in self.split_names)
        table = dataclasses.replace(self.table_spec, join=self._joined)
        return InputSpec(
            self.input, self.layout, split_names, self.label_from, self.include, self.exclude, self.group_from,
            self.allow_outside, table, self.classes, self._lists, self.unlabelled, self._corrections,
            self.min_confidence, self._known_labels, self._label_lists,
        )  # fmt: skip

    @property
    def _corrections(self) -> str:
        is_local = self.corrections and not remote.is_remote(self.corrections)  # workers may run in another folder
        return os.path.abspath(self.corrections) if is_local else self.corrections

    @property
    def _known_labels(self) -> tuple[str, ...]:
        """Returns the classes of --like, which the corrections may name."""
        return contract.load(self.like, storage.reading_text).labels if self.like and self.corrections else ()

    @property
    def _lists(self) -> tuple[tuple[str, str], ...]:
        """Returns (file, split) of each list."""
        return tuple((self._found(file), SPLIT_NAMES.get(split.lower(), split)) for split, file in self.split_lists)

    @property
    def _label_lists(self) -> tuple[tuple[str, str], ...]:
        """Returns (folder, file) of each list of labels."""
        return tuple((folder, self._found(file)) for folder, file in self.label_lists)

    @property
    def _joined(self) -> tuple[str, ...]:
        """Returns the tables of --join."""
        return tuple(map(self._found, self.join))

    def _found(self, file: str) -> str:
        """Returns the complete path of a file that belongs to the input.

        It is looked for in the current folder, and then in the input or in the folder of a table.
        """
        if remote.is_remote(file):
            return file
        folder = os.path.dirname(self.input) if os.path.isfile(self.input) else self.input
        inside = os.path.join(folder, file)
        return os.path.abspath(inside if not os.path.exists(file) and os.path.exists(inside) else file)

    @property
    def limits(self) -> Limits:
        """Returns what reading one image may take."""
        return Limits(
            self.max_pixels, self.max_frames, self.max_file_bytes, self.image_timeout, self.image_memory,
            listing.bounds(self.input_spec),
        )  # fmt: skip

    @property
    def record_spec(self) -> RecordSpec:
        """Returns how records are made of images."""
        colored = self.channel_order == "RGB"
        augment = {name: strength for name, strength in self.augment.items() if colored or name != "color"}
        return RecordSpec(self.image_spec, self.limits, self.encoding, self.jpeg_quality, augment, self.seed)

    @property
    def sharding(self) -> Sharding:
        """Returns into how many shards a split is divided."""
        return Sharding(self.shards, self.shard_size, record_bytes(*self.size, self.image_channels, self.encoding))

    def digest(self) -> str:
        """Returns the SHA-256 of the options that the shard bytes depend on.

        Of --like, it is the contract that counts.

        Raises:
          ContractError: --like names no complete dataset.
        """
        decisive = config_fields.decisive(self)
        values = {name: value for name, value in self.noted().items() if name in decisive}
        # Under the names and without the options that other versions do not have: their datasets have equal digests.
        if self.task == CLASSES:
            for name in TASK_OPTIONS:
                if name != "label_columns" or not self.label_columns:
                    del values[name]
        else:
            values["targets"] = values.pop("target")
        values["target"] = values.pop("per_class")
        if self.duplicates != "drop":  # `keep` and `fail` give the same shards
            del values["duplicates"]
        if not self.group_similar:
            del values["group_similar"]
        if self.corrections:
            values["corrections"] = corrections.digest(self.corrections)  # what is in the file decides
        if self.join:
            values["join"] = joined_tables.digest(self._joined)
        if self.label_lists:
            files = joined_tables.digest([file for _, file in self._label_lists])
            values["label_lists"] = [[folder, file] for (folder, _), file in zip(self.label_lists, files, strict=True)]
        values["classes"] = {**values["classes"], "path": ""}  # what is in the file decides
        if self.like:
            values["like"] = contract.load(self.like, storage.reading_text).digest
        values |= {"name": self.dataset_name, "splits": list(self.splits.items())}  # the cuts follow the splits' order
        return hashing.text_digest(json.dumps(values, sort_keys=True))

    def settings(self) -> dict[str, Any]:
        """Returns all options as plain JSON values."""
        return {**dataclasses.asdict(self), "name": self.dataset_name}

    def noted(self) -> dict[str, Any]:
        """Returns the options that a dataset notes, as plain JSON values.

        Of three channels, and of --folds, --unlabelled, --corrections, --join, --label-lists and --path-from where
        they are not given, nothing is noted, so that such a dataset has the bytes that it had before there was a
        choice.
        """
        noted = {**self.settings(), "channels": self.image_channels}
        if not self.keep:
            del noted["keep"]
        if not self.bands:
            del noted["bands"]
            if self.channels == 3:
                del noted["channels"]
        for name in ("folds", "unlabelled", "corrections", "join", "label_lists", "path_from"):
            if not getattr(self, name):
                del noted[name]
        if not self.corrections:
            del noted["min_confidence"]
        else:
            noted["corrections"] = self._corrections
        return noted
