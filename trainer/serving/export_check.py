"""Checks before every export that it predicts what the trained network predicts.

Real records go through the network, and their images go through the export. If a record's source file is a JPEG or PNG
and still has the path and the content that the dataset's ledger records, then the file's own bytes are sent: this also
tests decoding, EXIF orientation and resizing. Otherwise, and for augmented copies, the record's pixels are sent as a
PNG, which decoding and resizing leave unchanged.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract, ledger
from pipelines.contract.contract import BANDS
from pipelines.core import pixels as pixel_forms
from pipelines.core.errors import LedgerError
from pipelines.core.files.urls import is_remote
from trainer.config import INT8, TrainerError
from trainer.data.shards import integrity, mmap_tfrecord

RECORDS = 32
SPLITS = ("test", "validation")  # tried first, then any split that holds records
# Kernels differ by far less than EXACT, most often by under 1e-6. Rounding to half precision changes a value by up to
# 2**-11 of it, and a second JPEG compression changes pixels by one or two levels.
EXACT, ROUNDED = 1e-3, 1e-2
# Of 8-bit files, on average over the records: a step of an activation is 1/255 of its range, and the errors of the
# layers add up. The answer to a record near a boundary may differ by much, so the greatest difference is chance. What 8
# bits cost in right answers is measured on a whole split: see `quantized.loss`.
QUANTIZED = 0.05
AGAIN = "The dataset's transform graph does not give its records: prepare the dataset again."
PROBABILITY = "in a probability"
MAX_SOURCE_BYTES = 256 << 20  # the same as the default of `prepare --max-file-bytes`


@dataclasses.dataclass(frozen=True)
class Samples:
    """Holds N records as the network's input and as images.

    images: float32 (N, H, W, C), normalized.
    pixels: uint8 of the same shape, before normalization.
    encoded: the encoded image of each record.
    originals: bool (N,), True where the encoded image is the source file itself.
    """

    images: np.ndarray
    pixels: np.ndarray
    encoded: list[bytes]
    originals: np.ndarray


class Parity(NamedTuple):
    """Holds the result of the check.

    difference: the greatest absolute difference of an answer; of 8-bit files the greatest of each record, on average.
    tolerance: the greatest difference that is allowed.
    records: the number of records compared. originals: how many of them were sent as their source file.
    greatest: the greatest absolute difference of an answer, which is not limited in 8-bit files.
    """

    difference: float
    tolerance: float
    records: int
    originals: int
    greatest: float

    def sentence(self, unit: str = PROBABILITY) -> str:
        """Returns the result as one sentence for the user.

        Args:
          unit: what the difference is measured in.
        """
        what, unit = ("probabilities", "") if unit == PROBABILITY else ("answers", f" {unit}")
        told = (
            f"{self.records} records, {self.originals} of them from their source files: {what} differ from the "
            "trained network's by"
        )
        if self.difference == self.greatest:
            return f"{told} at most {self.greatest:.2g}{unit} (allowed: {self.tolerance:g})"
        return (
            f"{told} {self.difference:.2g}{unit} on average (allowed: {self.tolerance:g}), and by at most "
            f"{self.greatest:.2g}"
        )


def samples(data: str, contract: Contract, count: int = RECORDS) -> Samples:
    """Reads the first records of a split, equally many from each shard.

    The split is test if it has records, else validation, else the first split that has some.

    Raises:
      ContractError: a shard is missing or differs from the contract.
      TrainerError: the dataset has no records.
    """
    split = next(
        (name for name in (*SPLITS, *contract.splits) if name in contract.splits and contract.split(name).records), None
    )
    if split is None:
        raise TrainerError(f"The export is compared on records of the dataset. {data!r} has none: prepare it again.")
    integrity.checked_shards(contract, data, split)
    shards = [shard for shard in contract.split(split).shards if shard.records]
    each = -(-count // len(shards))
    images: list[np.ndarray] = []
    encoded: list[bytes] = []
    originals: list[bool] = []
    for shard in shards:
        path = os.path.join(data, shard.file)
        if not is_remote(data):
            mmap_tfrecord.check_framing(path, shard.records)  # TensorFlow's reader trusts the record lengths in a file
        batch = next(iter(tf.data.TFRecordDataset(path).batch(min(each, count - len(encoded)))))
        parsed = tf.io.parse_example(batch, contracts.feature_spec(contract))
        images.append(contracts.images_from_records(contract, parsed["image"]).numpy())
        sources = _sources(data, shard.file)
        for image in images[-1]:
            source = next(sources, None)
            originals.append(source is not None)
            encoded.append(source if source is not None else _png(contract, pixels(contract, image)))
        if len(encoded) >= count:
            break
    stacked = np.concatenate(images)
    return Samples(stacked, pixels(contract, stacked), encoded, np.array(originals))


def judge(
    given: np.ndarray, expected: np.ndarray, drawn: Samples, tolerance: float, on_average: bool = False
) -> Parity:
    """Compares the answers of the export and of the network, both float (N, K).

    Args:
      on_average: limits the mean over the records of their greatest difference, and not the greatest of all.
    """
    of_records = np.array([np.inf])
    if given.shape == expected.shape:
        of_records = np.abs(np.asarray(given, np.float64) - expected).max(axis=1)
    greatest = float(of_records.max())
    difference = float(of_records.mean()) if on_average else greatest
    return Parity(difference, tolerance, len(expected), int(drawn.originals.sum()), greatest)


class ExportError(TrainerError):
    """Says that a network has no export, or that the export answers otherwise."""


def refuse(found: Parity, path: str, unit: str = PROBABILITY, remedy: str = AGAIN) -> None:
    """Raises ExportError if the difference is above the tolerance or NaN.

    Args:
      unit: what the difference is measured in. remedy: what the message says at its end.
    """
    if not found.difference <= found.tolerance:
        average = "" if found.difference == found.greatest else " on average"
        raise ExportError(
            f"Nothing is written to {path!r}: on {found.records} records ({found.originals} from their source files) "
            f"the export differs from the trained network by {found.difference:.3g} {unit}{average}; "
            f"{found.tolerance:g} is allowed. {remedy}"
        )


def tolerance(kind: str, contract: Contract, network: keras.Model, drawn: Samples) -> float:
    """Returns EXACT if the export gets exactly the records' values, else ROUNDED.

    Files of 8 bits have QUANTIZED.
    """
    if kind == INT8:
        return QUANTIZED
    half = any(str(layer.compute_dtype) in ("float16", "bfloat16") for layer in network._flatten_layers())
    if kind == "savedmodel":
        again = contract.encoding == "jpeg" and not drawn.originals.all()  # the graph compresses the pixels once more
    else:
        again = contract.encoding == "float16"  # 8-bit pixels are normalized and not rounded to half precision
    return ROUNDED if half or again else EXACT


def pixels(contract: Contract, images: np.ndarray) -> np.ndarray:
    """Restores 8-bit pixels, uint8, from normalized images, float32 (..., H, W, C)."""
    n = contract.normalization
    values = (images - np.asarray(n.offset, np.float32)) / np.asarray(n.scale, np.float32)
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _png(contract: Contract, image: np.ndarray) -> bytes:
    """Encodes a record's pixels as the graph takes them: bands one below another."""
    return bytes(tf.io.encode_png(pixel_forms.stacked(image) if contract.channel_order == BANDS else image).numpy())


def _sources(data: str, shard: str) -> Iterator[bytes | None]:
    """Yields the bytes of the source file of each record of a shard.

    It yields None for an augmented copy, for a file that the graph does not read as `prepare` did, and for one that was
    removed or changed.
    """
    try:
        if not is_remote(data):
            for line in ledger.lines(data, shard):
                yield _source(line)
    except LedgerError:  # the dataset has no local ledger: the records' pixels are sent instead
        return


def _source(line: ledger.Line) -> bytes | None:
    uri, digest = line.uri, line.digest
    if line.copy or not line.in_graph or not os.path.isfile(uri) or os.path.getsize(uri) > MAX_SOURCE_BYTES:
        return None
    try:
        with open(uri, "rb") as file:
            content = file.read()
    except OSError:
        return None
    return content if _is_served(content) and hashlib.sha256(content).hexdigest() == digest else None


def _is_served(content: bytes) -> bool:
    """Tells whether the served graph reads every file of this format.

    This holds for JPEG and PNG. It does not for WebP, because a WebP may be animated.
    """
    return content.startswith((b"\xff\xd8", b"\x89PNG"))
