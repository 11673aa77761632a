"""Reads `contract.json` and checks it.

The text may come from a stranger: every field is checked, and the fields against one another. TensorFlow is imported
only for a path that needs it, so that reading a local contract costs milliseconds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from pipelines.contract import json_fields, metadata, task
from pipelines.contract.contract import (
    BANDS,
    CHANNEL_ORDERS,
    ENCODINGS,
    FILE_NAME,
    FORMAT_VERSION,
    MAX_CONTRACT_BYTES,
    MAX_SIDE,
    NORMALIZATIONS,
    Contract,
    Normalization,
    Shard,
    Split,
)
from pipelines.contract.json_fields import FieldError, Fields
from pipelines.contract.task import CLASSES, ONE_CLASS, REGRESSION
from pipelines.core.elements import MAX_CHANNELS, UNLABELLED
from pipelines.core.errors import ContractError
from pipelines.core.files.urls import is_remote, scheme_of


def from_json(text: str) -> Contract:
    """Parses and checks the text of a contract.json.

    Fields that this version does not know are ignored.

    Args:
      text: The complete text of the file.

    Returns:
      The contract.

    Raises:
      ContractError: The text is not JSON, a field is missing or has the wrong form, the format version is not
        FORMAT_VERSION, or the counts of a split do not add up.

    Example:
      >>> from pipelines import contract
      >>> text = contract.read_text("tests/data/format_1/uint8")
      >>> contract.from_json(text).image_shape
      (8, 8, 3)
    """
    try:
        data = json_fields.parse(text)
        fields = Fields(data)
        if not isinstance(data.get("format_version"), int) or repr(data["format_version"]) != repr(FORMAT_VERSION):
            raise FieldError(
                f"format_version should be {FORMAT_VERSION}. Received: {data.get('format_version')!r}: use the "
                "Shardmill that made it, or this one to prepare the dataset again"
            )
        contract = _build(fields)
        _check(contract)
    except FieldError as e:
        raise ContractError(f"contract.json: {e}. If nobody changed it, prepare the dataset again.") from e
    return contract


def load(directory: str | os.PathLike[str], opened: Callable[[str], Any] | None = None) -> Contract:
    """Reads and checks DIRECTORY/contract.json.

    Args:
      directory: The dataset directory: a local path, or one that TensorFlow's file systems can read.
      opened: Opens a path as a text file, for callers that read from other places. It may raise OSError.

    Returns:
      The contract.

    Raises:
      ContractError: There is no contract (the dataset is incomplete, or the directory is no dataset), or the contract
        cannot be used.

    Example:
      >>> from pipelines import contract
      >>> eggs = contract.load("tests/data/format_1/uint8")
      >>> eggs.labels, eggs.split("train").records
      (('cracked', 'sound'), 15)
    """
    return from_json(read_text(directory, opened))


def read_text(directory: str | os.PathLike[str], opened: Callable[[str], Any] | None = None) -> str:
    """Reads the text of DIRECTORY/contract.json without parsing it.

    Args:
      directory: The dataset directory: a local path, or one that TensorFlow's file systems can read.
      opened: Opens a path as a text file, for callers that read from other places. It may raise OSError.

    Returns:
      The complete text, with its line ends as they are.

    Raises:
      ContractError: The file is missing or unreadable, or it is longer than MAX_CONTRACT_BYTES.

    Example:
      >>> from pipelines import contract
      >>> text = contract.read_text("tests/data/format_1/uint8")
      >>> text == contract.from_json(text).to_json()
      True
    """
    path = os.path.join(os.fspath(directory), FILE_NAME)
    try:
        with (opened or _open)(path) as file:
            text = file.read(MAX_CONTRACT_BYTES + 1)
    except ContractError:
        raise
    except Exception as e:  # gfile raises tf.errors.*, open raises OSError; callers handle both alike
        raise ContractError(
            f"No readable {FILE_NAME} in {os.fspath(directory)!r} ({type(e).__name__}): it is not a prepared dataset, "
            "or its preparation did not finish. If these are images, prepare them into another folder first: `python "
            "-m pipelines prepare --input IMAGES --output FOLDER`."
        ) from e
    if len(text) > MAX_CONTRACT_BYTES:
        raise ContractError(f"{path} is larger than {MAX_CONTRACT_BYTES >> 20} MiB: it is not a contract.")
    return str(text)


def _open(path: str) -> Any:
    if not is_remote(path):
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError("not a regular file")  # opening a FIFO could block for ever
        return open(path, encoding="utf-8", newline="")  # keeps line ends, so that `verify` sees every byte
    import tensorflow as tf

    scheme = scheme_of(path)
    if scheme not in tf.io.gfile.get_registered_schemes():
        folder = path.rpartition("/")[0]
        how = f"aws s3 cp --recursive {folder} DIR" if scheme == "s3" else f"from {folder} to DIR"
        raise ContractError(
            f"TensorFlow cannot read {scheme}://. Copy the dataset to a local folder and name that: {how}"
        )
    return tf.io.gfile.GFile(path, "r")


def _build(fields: Fields) -> Contract:
    of = task.from_fields(fields.part("task")) if fields.has("task") else ONE_CLASS
    shape = _shape(fields)
    return Contract(
        name=fields.text("name"),
        image_shape=shape,
        encoding=fields.one_of("encoding", ENCODINGS),
        labels=fields.nothing("labels") if of.kind == REGRESSION else fields.texts("labels"),
        splits={name: _split(split) for name, split in fields.parts("splits").items()},
        normalization=_normalization(fields.part("normalization"), shape[2]),
        resize=fields.plain("resize"),
        decode=fields.plain("decode"),
        balance=fields.plain("balance"),
        augmentation=fields.plain("augmentation"),
        seed=fields.whole("seed", least=None),
        weighted=fields.truth("weighted"),
        config_digest=fields.digest("config_digest"),
        source_digest=fields.digest("source_digest"),
        transform_digest=fields.digest("transform_digest"),
        rejected=fields.counts("rejected"),
        versions=fields.plain("versions"),
        channel_order=fields.one_of("channel_order", tuple(filter(None, (CHANNEL_ORDERS.get(shape[2]), BANDS)))),
        dtype=fields.one_of("dtype", ("float32",)),
        files=fields.digests("files"),
        classes=fields.plain("classes", optional=True),
        like=fields.plain("like", optional=True),
        task=of,
        folds=fields.part("folds").counts_of(("count", "repeats")) if fields.has("folds") else {},
        unlabelled=Split({}, {}, {}, _shards(fields.part("unlabelled"))) if fields.has("unlabelled") else None,
        metadata=metadata.from_fields(list(fields.items("metadata"))) if fields.has("metadata") else (),
    )


def _shape(fields: Fields) -> tuple[int, int, int]:
    height, width, channels = fields.numbers("image_shape", 3)
    sides_fit = all(side.is_integer() and 1 <= side <= MAX_SIDE for side in (height, width))
    if not sides_fit or not channels.is_integer() or not 1 <= channels <= MAX_CHANNELS:
        raise FieldError(f"image_shape should be (H, W, C). Received: {(height, width, channels)}")
    return int(height), int(width), int(channels)


def _split(fields: Fields) -> Split:
    return Split(fields.counts("natural"), fields.counts("stored"), fields.counts("copies"), _shards(fields))


def _shards(fields: Fields) -> tuple[Shard, ...]:
    return tuple(
        Shard(item.text("file"), item.whole("records"), item.whole("bytes"), item.digest("sha256"))
        for item in fields.items("shards")
    )


def _normalization(fields: Fields, channels: int) -> Normalization:
    made = Normalization(
        fields.one_of("mode", NORMALIZATIONS),
        *(fields.numbers(name, channels) for name in ("mean", "std", "scale", "offset")),
    )
    if min(made.std) < 0 or 0 in made.scale:
        raise FieldError("normalization.std should be at least 0, and normalization.scale not 0")
    if not all(math.isfinite(end) for end in made.value_range):
        raise FieldError("normalization.scale and offset should map pixels 0..255 to finite numbers")
    return made


def _check(contract: Contract) -> None:
    """Checks the fields against one another.

    Raises:
      FieldError: Two fields contradict each other, or a shard's file is not a plain name.
    """
    if contract.channel_order == BANDS:
        bands = contract.decode.get("bands")
        if not isinstance(bands, list) or len(bands) != contract.image_shape[2]:
            raise FieldError(f"decode.bands should name {contract.image_shape[2]} bands. Received: {bands!r}")
    if contract.is_uneven and (contract.encoding != "jpeg" or contract.image_shape[0] != contract.image_shape[1]):
        raise FieldError(
            "images of a shorter side of one length should have the encoding jpeg and a square image_shape. Received: "
            f"{contract.encoding}, {contract.image_shape}"
        )
    if contract.unlabelled is not None and UNLABELLED in contract.splits:
        raise FieldError(f"splits should not have {UNLABELLED!r} beside `unlabelled`")
    files = [shard.file for split in contract.all_splits.values() for shard in split.shards]
    if len(set(files)) != len(files):
        raise FieldError("splits: two shards should not have one file")
    for file in files:
        if not file or os.path.basename(file) != file or file.startswith(".") or "\0" in file:
            raise FieldError(f"splits: a shard's file should be a plain name. Received: {file!r}")
    for name, split in contract.splits.items():
        unknown = (set(split.natural) | set(split.stored) | set(split.copies)) - set(contract.labels)
        if unknown:
            raise FieldError(f"splits.{name} counts labels that are not in `labels`: {sorted(unknown)}")
        if any(count > split.stored.get(label, 0) for label, count in split.copies.items()):
            raise FieldError(f"splits.{name}.copies should be part of stored. Received: {dict(split.copies)}")
        _check_records(contract, name)
    if contract.task.kind != CLASSES and set(contract.task.images) != set(contract.splits):
        raise FieldError(f"task.images should have the splits {', '.join(contract.splits)}")


def _check_records(contract: Contract, name: str) -> None:
    """Checks that the counts of a split are those of the records in its shards."""
    split, of = contract.splits[name], contract.task
    if of.kind == CLASSES:
        stored, where = sum(split.stored.values()), f"splits.{name} stores {{}} records by class"
    else:
        stored, where = of.images.get(name, {}).get("stored", 0), f"task.images.{name} stores {{}} records"
    if stored != split.records:
        raise FieldError(f"{where.format(stored)} but its shards hold {split.records}")
    if any(count > stored for count in split.stored.values()):
        raise FieldError(f"splits.{name}.stored should have at most {stored} records of a label")
