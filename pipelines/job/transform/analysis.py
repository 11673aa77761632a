"""Defines what the job of TensorFlow Transform needs to know.

It imports nothing heavy, so that the main process can send it to the worker that runs the job.
"""

from __future__ import annotations

import dataclasses

from pipelines.contract.task import CLASSES
from pipelines.core.elements import Affine
from pipelines.records.record_spec import RecordSpec
from pipelines.work_dir import Work


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Describes the job that finds the normalization and writes the transform graph.

    dataset: the dataset's name.
    spec: how the records were made.
    normalize: the mode, one of `contract.NORMALIZATIONS`.
    work: where the staged shards are.
    folder: the local folder to write into, because TensorFlow writes reliably to local folders only.
    affine: (scale, offset) of the dataset of --like; None: the mode and the data decide.
    task: the name of the kind of task. targets: the number of numbers that an image has.
    """

    dataset: str
    spec: RecordSpec
    normalize: str
    work: Work
    folder: str
    affine: Affine | None = None
    task: str = CLASSES
    targets: int = 0
