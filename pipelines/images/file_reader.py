"""Reads image files of strangers in worker processes.

Programs other than `prepare` open such files here only. A file that hangs, crashes or exhausts its decoder costs one
worker and one answer. Formats are told by content, and headers are read within limits: see `formats.opened`. Files are
read a few ahead of their turn.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.core.files import members
from pipelines.core.files.urls import is_remote
from pipelines.images.image_spec import ImageSpec
from pipelines.images.limits import Limits
from pipelines.images.source_policy import DEFAULT, SourcePolicy
from pipelines.workers import pool
from pipelines.workers.worker_process import TaskLostError

MOST_WORKERS = 8  # more would hardly be busy: these programs do other work with what they read
AHEAD = 4  # files for each worker that are read before their turn
PICTURES, RECORDS = "pipelines.images.picture_tasks", "pipelines.images.record_tasks"


class Picture(NamedTuple):
    """Describes an image file and holds a small picture of it.

    width, height: of the image in pixels, upright. digest: SHA-256 of the file, in hex. pixels: uint8 (h, w, 3).
    """

    width: int
    height: int
    digest: str
    pixels: np.ndarray


class Refused(NamedTuple):
    """Says why a file cannot be used: a short stable reason, and a sentence."""

    reason: str
    detail: str


def sizes(paths: Iterable[str], limits: Limits, policy: SourcePolicy = DEFAULT) -> Iterator[tuple[int, int] | Refused]:
    """Yields the (width, height) of each image in pixels, upright, from its header."""
    return _answers(PICTURES, "measure", (policy,), paths, limits)


def pictures(
    paths: Iterable[str],
    side: int,
    limits: Limits,
    stretch: bool = False,
    stores: Sequence[str] = (),
    policy: SourcePolicy = DEFAULT,
) -> Iterator[Picture | Refused]:
    """Yields a small picture of each image over white: see `preview.draw`.

    Args:
      paths: the files; local, or in a store of `stores`.
      side: the longest side of a picture in pixels; with `stretch`, both sides.
      stores: paths whose stores the workers are to reach.
      policy: how the pixels are understood.
    """
    return _answers(PICTURES, "picture", (side, stretch, policy), paths, limits, stores)


def records(paths: Iterable[str], spec: ImageSpec, limits: Limits) -> Iterator[bytes | Refused]:
    """Yields each image as `prepare` decodes and resizes it, as the bytes of a PNG."""
    return _answers(RECORDS, "record", (spec,), paths, limits)


def start_for_records() -> None:
    """Starts the workers of `records`; does not wait for TensorFlow."""
    _workers(RECORDS, ())


def _answers(
    module: str, task: str, shared: tuple[Any, ...], paths: Iterable[str], limits: Limits, stores: Sequence[str] = ()
) -> Iterator[Any]:
    workers = _workers(module, stores)
    asked: collections.deque[pool.Outcome] = collections.deque()
    for path in paths:
        is_away = is_remote(path) and members.parse(path) is None
        whole = path if is_away else os.path.join(os.getcwd(), path)  # workers keep the folder of their start
        asked += workers.submit(task, (*shared, limits), [(whole,)], limits.image_timeout)
        if len(asked) > AHEAD * workers.count:
            yield _answer(asked.popleft())
    while asked:
        yield _answer(asked.popleft())


def _workers(module: str, stores: Sequence[str]) -> pool.Workers:
    return pool.shared(min(pool.usual_count(0), MOST_WORKERS), "files", *stores, module=module)


def _answer(asked: pool.Outcome) -> Any:
    try:
        return asked.result()
    except TaskLostError as e:
        return Refused(e.reason, str(e))
