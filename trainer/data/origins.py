"""Finds the image that each record was made of, by the ledgers."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping

from pipelines import contract as contracts
from pipelines.contract import json_fields, ledger
from pipelines.contract.json_fields import FieldError, Fields
from pipelines.core.errors import LedgerError
from pipelines.core.files import members
from pipelines.core.files.urls import is_remote
from trainer.config import TrainerError

MAX_SUMMARY_BYTES = 1 << 30


def paths(data: str | os.PathLike[str], split: str) -> dict[str, str]:
    """Returns the path of the image of each record of a split, by the record's key.

    It is that below the input of the dataset, which `prepare --corrections` knows.

    Raises:
      TrainerError: a ledger is missing or damaged.
    """
    directory = os.fspath(data)
    below = _folders(directory)
    found: dict[str, str] = {}
    try:
        for shard in contracts.load(data).split(split).shards:
            for line in ledger.lines(directory, shard.file) if shard.records else ():
                found[line.key] = _relative(members.readable(line.uri), below)
    except LedgerError as e:
        raise TrainerError(f"The images of {directory!r} have no names: {e} Prepare the dataset again.") from e
    return found


def _relative(uri: str, below: list[str]) -> str:
    return next((uri.removeprefix(f"{folder}/") for folder in below if uri.startswith(f"{folder}/")), uri)


def _folders(directory: str) -> list[str]:
    """Returns the folders that paths of the input may begin with.

    They are not known of a remote dataset, or one of another version.
    """
    if is_remote(directory):
        return []
    try:
        with open(os.path.join(directory, "stats", "summary.json"), encoding="utf-8") as file:
            settings: Mapping[str, object] = Fields(json_fields.parse(file.read(MAX_SUMMARY_BYTES))).plain("settings")
    except (OSError, UnicodeDecodeError, FieldError):
        return []
    root, given = settings.get("image_root") or "", settings.get("input") or ""
    named = [str(root)] if root else [str(given), posixpath.dirname(str(given))]
    return [folder.rstrip("/") for folder in named if folder.rstrip("/")]
