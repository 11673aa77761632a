"""Finds the wrong answers with the highest probability and shows their images.

Often the label of such an image is wrong, and not the answer. The images are those that the records store.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import os

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines import contract as contracts
from pipelines.contract import ledger
from pipelines.contract.ledger import Line
from pipelines.core import pixels as pixel_forms
from pipelines.core.errors import LedgerError
from trainer.data import parts, record_stream
from trainer.evaluation import inference
from trainer.evaluation.assessment import Assessment

MOST = 24  # pictures of a split
EXACT_SIDE = 96  # pixels; larger pictures become JPEG, because the page would have many megabytes otherwise


@dataclasses.dataclass(frozen=True)
class Mistake:
    """Describes a wrong answer.

    probability: that of the answer. of_label: the probability of the true class. source: URI of the original image, ""
    if unknown. picture: a data URI.
    """

    key: str
    label: str
    answer: str
    probability: float
    of_label: float
    source: str
    picture: str
    side: int  # pixels of the picture's longer side


def worst(found: Assessment, data: str | os.PathLike[str], batch_size: int, most: int = MOST) -> list[Mistake]:
    """Returns at most `most` wrong answers, those with the highest probability first.

    It reads these records once more; of streamed shards all, up to the last of these.
    """
    positions = found.worst(most)
    images = inference.pixels(data, found.split, positions, batch_size)
    came_from = sources(data, found.split) if len(positions) else []
    answers, p = found.predictions.answers(), found.predictions
    return [
        Mistake(
            p.keys[at], p.names[p.labels[at]], p.names[answers[at]], float(found.probabilities[at, answers[at]]),
            float(found.probabilities[at, p.labels[at]]), came_from[at] if came_from else "", data_uri(image),
            max(image.shape),
        )
        for at, image in zip(positions.tolist(), images, strict=True)
    ]  # fmt: skip


def sources(data: str | os.PathLike[str], split: str) -> list[str]:
    """Returns the URI of the original image of each record, in the order of `lines`."""
    return [line.uri for line in lines(data, split)]


def lines(data: str | os.PathLike[str], split: str) -> list[Line]:
    """Reads the line of each record in the ledger.

    The order is that of `dataset.load` without shuffling. The list is empty if there is no ledger or if it does not
    fit the contract, because the page does not need it.
    """
    part = parts.find(contracts.load(data), data, split)
    shards = [shard for shard in part.contract.split(part.split).shards if shard.records]
    found: list[Line] = []
    try:
        for shard in shards:
            found += ledger.lines(os.fspath(data), shard.file)
    except (LedgerError, tf.errors.OpError):
        return []
    whole = sum(shard.records for shard in shards)
    return [found[i] for i in record_stream.in_order(part)] if len(found) == whole else []


def data_uri(pixels: np.ndarray) -> str:
    """Encodes an image, uint8 (H, W, C), as a data URI.

    It is a lossless PNG, or a JPEG if a side is longer than EXACT_SIDE.
    """
    kind, options = ("png", {}) if max(pixels.shape) <= EXACT_SIDE else ("jpeg", {"quality": 90})
    buffer = io.BytesIO()
    Image.fromarray(pixel_forms.shown(pixels)).save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
