"""Reads what --like takes from an earlier dataset.

It takes options, the ids of classes, and the splits of images. Images are known by their content. Their splits stand in
the ledgers, which are read in the job, a shard at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines import contract as contracts
from pipelines import storage
from pipelines.contract import Contract, json_fields, ledger
from pipelines.contract.json_fields import FieldError, Fields
from pipelines.contract.task import CLASSES
from pipelines.core.elements import Ref
from pipelines.core.errors import ConfigError, ContractError
from pipelines.core.files import reading
from pipelines.core.summary import reading_order
from pipelines.core.text import listed, plural
from pipelines.images import source_policy
from pipelines.inputs import classes_file
from pipelines.inputs.classes_file import Classes

MAX_SUMMARY_BYTES = 1 << 30
NAMED = 8  # classes that an error names


def open_dataset(directory: str, output: str) -> Contract:
    """Returns the contract of the earlier dataset.

    Args:
      output: where the new dataset will be.

    Raises:
      ContractError: it is not a complete dataset.
      ConfigError: the new dataset would take its place.
    """
    local = not storage.is_remote(directory) and not storage.is_remote(output)
    if (
        os.path.realpath(directory) == os.path.realpath(output)
        if local
        else directory.rstrip("/") == output.rstrip("/")
    ):
        raise ConfigError(
            "--like and --output should be two folders, because one dataset is read while the other is made. Both are "
            f"{directory!r}."
        )
    return contracts.load(directory, storage.reading_text)


def inherited(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that are given, and those that the dataset of --like adds.

    Args:
      given: option -> value, by field name of `PrepareConfig`; with "like".

    Raises:
      ContractError: it is not a complete dataset.
      ConfigError: an option contradicts it.
    """
    directory = given["like"]
    old = contracts.load(directory, storage.reading_text)
    preprocessing = _preprocessing(old)
    _refuse_other(directory, preprocessing, given)
    return {**_noted(directory, old), **preprocessing, **given}


def check(directory: str, old: Contract, options: Mapping[str, Any], classes: Classes) -> None:
    """Checks that a dataset of these options continues an earlier one.

    Raises:
      ConfigError: an option contradicts it.
    """
    if old.task.kind != CLASSES:
        raise ConfigError(
            f"--like continues datasets of one class an image. {directory!r} has the task {old.task.kind}: prepare all "
            "images together, with the old splits in the table's column split."
        )
    _refuse_other(directory, _preprocessing(old), options)
    pairs = zip(classes.names, old.labels, strict=False)
    wrong = next(((i, new, label) for i, (new, label) in enumerate(pairs) if new != label), None)
    if wrong is not None:
        raise ConfigError(
            f"--classes should begin with the classes of --like {directory!r}, in the order of their ids: "
            f"{listed(map(repr, old.labels), NAMED)}. The id {wrong[0]} is {wrong[2]!r} there, and {wrong[1]!r} in "
            f"{classes.path!r}."
        )


def first_classes(classes: Classes, old: Contract | None) -> tuple[str, ...]:
    """Returns the classes whose ids are fixed: those of --like, and of --classes.

    Of the two, one begins with the other; see `check`.
    """
    return max(classes.names, old.labels if old is not None else (), key=len)


def parts(old: Contract) -> list[tuple[str, str]]:
    """Returns what `images` reads of a dataset at a time.

    Each is (split, shard); the last is ("", ""). The last one stands for the images that the balance left out.
    """
    return [*((name, shard.file) for name, split in old.splits.items() for shard in split.shards), ("", "")]


def images(directory: str, split: str, shard: str) -> Iterator[Ref]:
    """Yields the images of one of `parts`, as references without a key.

    Raises:
      LedgerError: a ledger is missing or damaged.
    """
    if not shard:
        for r in ledger.rejects(directory, ledger.UNUSED, storage.reading):
            yield Ref("", r.uri, r.label, r.split, "", 0.0, r.digest)
        return
    for line in ledger.lines(directory, shard, storage.reading):
        if not line.copy:
            yield Ref("", line.uri, line.label, split, "", 0.0, line.digest)


def describe(directory: str, old: Contract) -> str:
    """Returns a sentence that says what is taken from the dataset."""
    height, width, _ = old.image_shape
    return (
        f"Like {directory!r}: keeps the splits of its images, the ids of {plural(len(old.labels), 'class', 'classes')},"
        f" its pixels ({height}x{width}, {old.resize.get('mode')}, {old.encoding}) and its normalization "
        f"({old.normalization.mode})."
    )


def _preprocessing(old: Contract) -> dict[str, Any]:
    """Returns the options about pixels, by field name of `PrepareConfig`.

    Raises:
      ContractError: another version made the dataset, and this one does not know how.
    """
    try:
        policy = source_policy.from_notes(old.decode)
    except (TypeError, ValueError) as e:
        raise ContractError(f"contract.json: decode cannot be continued: {e}. Use the version that made it.") from e
    found = {
        "size": old.image_shape[:2],
        "channels": old.image_shape[2],
        "bands": policy.bands,
        "resize": old.resize.get("mode"),
        "filter": old.resize.get("filter"),
        "background": tuple(old.decode.get("background") or ()) or None,
        "color_profile": policy.color_profile,
        "bit_depth": "" if policy.value_range is None else source_policy.stated(*policy.value_range),
        "truncated": policy.truncated,
        "quality": "exact" if old.decode.get("jpeg_scaling", "none") == "none" else "fast",
        "normalize": old.normalization.mode,
        "encoding": old.encoding,
        "jpeg_quality": old.decode.get("jpeg_quality"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _refuse_other(directory: str, wanted: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        if name in options and options[name] != value:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{flag} should be {_shown(value)}, as in --like {directory!r}: else its models do not fit. Received: "
                f"{_shown(options[name])}. Leave out {flag}, or --like."
            )


def _shown(value: Any) -> str:
    return (
        ("x" if len(value) == 2 else ",").join(map(str, value))
        if isinstance(value, tuple)
        else str(value) or "the default"
    )


def _noted(directory: str, old: Contract) -> dict[str, Any]:
    """Returns the --splits and --classes of the dataset, if it notes them."""
    try:
        with storage.reading(storage.join(directory, "stats", "summary.json")) as file:
            text = reading.at_most(file, MAX_SUMMARY_BYTES).decode("utf-8")
        settings = Fields(json_fields.parse(text)).plain("settings")
        shares = {str(name): float(share) for name, share in settings["splits"].items()}
    except (OSError, UnicodeDecodeError, FieldError, KeyError, AttributeError, TypeError, ValueError):
        return {}
    noted: dict[str, Any] = {"splits": {name: shares[name] for name in reading_order(shares)}}
    classes = classes_file.from_json(settings.get("classes"))
    return noted | ({"classes": classes} if classes.stated and old.classes else {})
