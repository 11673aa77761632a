"""Shows records as pictures, with their key and where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trainer.evaluation import inference, mistakes
from trainer.evaluation.evaluate import EVALUATION_BATCH
from trainer.tasks.shown_result import Example


class Picture(NamedTuple):
    """Holds an example with its picture.

    key: of the record. source: URI of the original image, "" if unknown. picture: a data URI. side: pixels of the
    picture's longer side.
    """

    example: Example
    key: str
    source: str
    picture: str
    side: int


def of_examples(examples: Sequence[Example], data: str, split: str) -> list[Picture]:
    """Reads the pictures of examples, in their order.

    It reads these records once more; of streamed shards all, up to the last of these.
    """
    if not examples:
        return []
    positions = np.array([example.position for example in examples])
    images = inference.pixels(data, split, positions, EVALUATION_BATCH)
    keys, _ = inference.keys(data, split)
    came_from = mistakes.sources(data, split)
    return [
        Picture(
            example, keys[example.position], came_from[example.position] if came_from else "",
            mistakes.data_uri(image), max(image.shape),
        )
        for example, image in zip(examples, images, strict=True)
    ]  # fmt: skip
