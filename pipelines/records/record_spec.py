"""Defines what a worker needs to know to make records of sources.

It imports nothing heavy, so that the configuration can hand it out and the main process can send it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pipelines.contract.metadata import MetadataColumn
from pipelines.images.image_spec import ImageSpec
from pipelines.images.limits import Limits


@dataclasses.dataclass(frozen=True)
class RecordSpec:
    """States how records are made of sources.

    image: the form of the pixels.
    limits: what reading one source may take.
    encoding: how the pixels are stored, one of `contract.ENCODINGS`. jpeg_quality: 1..100, for "jpeg".
    augment: the strengths of the changes of copies; empty: copies are plain duplicates.
    seed: the seed of these changes.
    metadata: the columns that travel along; `Ref.metadata` has their values.
    """

    image: ImageSpec
    limits: Limits
    encoding: str
    jpeg_quality: int
    augment: Mapping[str, float]
    seed: int
    metadata: tuple[MetadataColumn, ...] = ()
