"""The tasks of `prepare`'s workers without the work on images: see `null_decoding.py`."""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from pipelines.contract import tf_example, tfrecord
from pipelines.core import hashing
from pipelines.core.elements import Header, Made, Ref, Source
from pipelines.images import histogram
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy
from pipelines.job import worker_tasks
from pipelines.records.record_spec import RecordSpec
from pipelines.tasks.kind import Answer

warm_up, thumbnails, finish = worker_tasks.warm_up, lambda *_: [], worker_tasks.finish
HEADER = tuple(Header("jpeg", 500, 375, 1, (), True))


def fingerprint(source: Source, limits: Limits, policy: SourcePolicy, look: bool = False) -> Ref:
    """Returns a reference to an image that is not read."""
    placed = (source.key, source.uri, source.label, source.split, source.group, source.weight)
    return Ref(*placed, hashlib.sha256(source.key.encode()).hexdigest(), 50_000, HEADER)


def make(ref: Ref, copy: int, answer: Answer, split: str, keep: bool, spec: RecordSpec) -> Made:
    """Returns a record of gray pixels."""
    pixels, levels = _gray(spec.image.height, spec.image.width)
    return Made(tfrecord.framed(tf_example.serialize(pixels, answer, 1.0, hashing.record_key(ref.key, copy))), levels)


@functools.cache
def _gray(height: int, width: int) -> tuple[bytes, bytes]:
    pixels = np.full((height, width, 3), 128, np.uint8)
    return pixels.tobytes(), histogram.histogram(pixels).tobytes()
