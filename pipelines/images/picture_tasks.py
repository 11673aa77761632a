"""Holds the functions of `file_reader` that worker processes run by name.

They need no TensorFlow, so that their workers start in a fraction of a second. `record_tasks` holds those that need it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from pipelines import storage
from pipelines.images import preview, reject_image
from pipelines.images.file_reader import Picture, Refused
from pipelines.images.files import formats, opening
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy
from pipelines.storage import remote
from pipelines.workers import memory_limit

T = TypeVar("T")


def warm_up() -> None:
    """Prepares this process for images of strangers."""
    opening.silence_pillow()
    memory_limit.allow()


def measure(path: str, policy: SourcePolicy, limits: Limits) -> tuple[int, int] | Refused:
    """Returns the (width, height) that a file's header tells."""

    def read() -> tuple[int, int]:
        header = formats.read_header(_bytes(path, limits), limits.max_pixels, limits.max_frames, policy)
        return header.width, header.height

    return guarded(read, limits)


def picture(path: str, side: int, stretch: bool, policy: SourcePolicy, limits: Limits) -> Picture | Refused:
    """Returns a small picture of a file over white."""

    def read() -> Picture:
        data = _bytes(path, limits)
        header, small = preview.draw(data, side, limits, stretch=stretch, policy=policy)
        return Picture(header.width, header.height, hashlib.sha256(data).hexdigest(), np.asarray(small))

    if storage.is_remote(path):
        remote.connect(path)  # the client of the store takes memory that belongs to no image
    return guarded(read, limits)


def guarded(read: Callable[[], T], limits: Limits) -> T | Refused:
    """Returns what `read` returns, or why it cannot, within the memory for one image."""
    opening.allow_pixels(limits.max_pixels)
    memory_limit.bound(limits.image_memory)
    try:
        return read()
    except Exception as e:  # bytes of strangers can lead a reader to any error: it costs their file alone
        return Refused(*reject_image.reason(e, limits.image_memory))


def _bytes(path: str, limits: Limits) -> bytes:
    return storage.read_input(path, limits.max_file_bytes, limits.inside)
