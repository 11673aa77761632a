"""Holds the functions that worker processes run by name.

All code that parses the bytes of an input is called from here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines import storage, work_dir
from pipelines.contract import tfrecord
from pipelines.core.console import terminal
from pipelines.core.elements import Affine, Made, Ref, Source
from pipelines.core.summary import Rejected, Thumbnail
from pipelines.images import histogram, perceptual_hash, reject_image
from pipelines.images.files import formats, opening
from pipelines.images.graph import decode
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy
from pipelines.job.transform import kept_graphs
from pipelines.job.transform.analysis import Analysis
from pipelines.records import make_record, normalize_shard
from pipelines.records.record_spec import RecordSpec
from pipelines.storage import read_ahead, remote
from pipelines.tasks.kind import Answer
from pipelines.workers import memory_limit

READING = ("fingerprint", "measure", "make")  # tasks whose first argument is a source that they read once
HEIGHT_BYTES = 4  # of the height before kept pixels


def warm_up() -> None:
    """Prepares this process before the first image arrives."""
    decode.warm_up()
    opening.silence_pillow()
    memory_limit.allow()


def ahead(task: str, items: Sequence[tuple[Any, ...]]) -> None:
    """Begins to read the remote files of a request, before its tasks are called.

    Args:
      task: the name of the task.
      items: the arguments of each call that are its own.
    """
    if task in READING:
        read_ahead.begin([item[0].uri for item in items])


def fingerprint(source: Source, limits: Limits, policy: SourcePolicy, look: bool = False) -> Ref | Rejected:
    """Reads a file once and returns its digest and its header.

    The content decides about the format, not the file name. No pixels are decoded, except for its perceptual hash.

    Args:
      look: whether the perceptual hash is wanted.
    """
    _bound(source, limits)
    digest = ""
    try:
        data = storage.read_input(source.uri, limits.max_file_bytes, limits.inside)
        digest = hashlib.sha256(data).hexdigest()
        header = formats.read_header(data, limits.max_pixels, limits.max_frames, policy)
        code = perceptual_hash.perceptual_hash(data, limits, policy) if look else b""
    except Exception as e:  # bad bytes of an input cause one reject and do not end the run
        return reject_image.reject(source, source.split, digest, "fingerprint", e, limits.image_memory)
    placed = (source.key, source.uri, source.label, source.split, source.group, source.weight)
    return Ref(*placed, digest, len(data), tuple(header), look=code, metadata=source.metadata)


def measure(source: Source, limits: Limits, policy: SourcePolicy) -> tuple[float, float] | None:
    """Returns the least and the greatest value of an image with deep pixels.

    It is None for another image, and for one that cannot be used: `fingerprint` or `make` rejects it.
    """
    _bound(source, limits)
    try:
        data = storage.read_input(source.uri, limits.max_file_bytes, limits.inside)
        header = formats.read_header(data, limits.max_pixels, limits.max_frames, policy)
        return decode.extremes(data, header, limits, policy)
    except Exception:  # bad bytes of an input lead to any error; the stages that follow say which
        return None


def make(ref: Ref, copy: int, answer: Answer, split: str, keep: bool, spec: RecordSpec) -> Made | Rejected:
    """Makes one record of a source, which it reads, decodes and resizes.

    Args:
      copy: number of the copy to make; 0 is the original.
      keep: whether the answer also has the pixels of the source, for `make_copy`.
    """
    _bound(ref, spec.limits)
    decoded = make_record.load(ref, split, spec, measured=copy == 0)
    if isinstance(decoded, Rejected):
        return decoded
    made = _made(decoded.pixels, ref, copy, answer, spec)
    made = made._replace(extremes=decoded.extremes, alpha_varies=decoded.alpha_varies)
    return made._replace(pixels=_packed(decoded.pixels)) if keep else made


def make_copy(pixels: bytes, ref: Ref, copy: int, answer: Answer, spec: RecordSpec) -> Made:
    """Makes another record of a source from the pixels that `make` gave back."""
    memory_limit.bound(spec.limits.image_memory)
    return _made(_unpacked(pixels, spec.image.channels), ref, copy, answer, spec)


def _packed(pixels: np.ndarray) -> bytes:
    """Returns pixels uint8 (H, W, C) as bytes, of which the first four are the height."""
    return len(pixels).to_bytes(HEIGHT_BYTES, "little") + pixels.tobytes()


def _unpacked(data: bytes, channels: int) -> np.ndarray:
    height = int.from_bytes(data[:HEIGHT_BYTES], "little")
    return np.frombuffer(data, np.uint8, offset=HEIGHT_BYTES).reshape(height, -1, channels)


def _made(pixels: np.ndarray, ref: Ref, copy: int, answer: Answer, spec: RecordSpec) -> Made:
    framed = tfrecord.framed(make_record.make_example(pixels, ref, copy, answer, spec))
    return Made(framed, b"" if copy else histogram.histogram(pixels).tobytes())


def thumbnails(
    ref: Ref, copies: Sequence[int], split: str, policies: Sequence[str], spec: RecordSpec
) -> list[dict[str, object]]:
    """Draws one thumbnail for each of these copies of a source, for the report.

    With policies, it is an example of these: see `Thumbnail`.

    Returns no thumbnail for a source that cannot be decoded or a copy that cannot be shown.
    """
    _bound(ref, spec.limits)
    decoded = make_record.load(ref, split, spec)
    if isinstance(decoded, Rejected):
        return []
    made: list[Thumbnail | None] = [make_record.thumbnail(decoded, ref, copy, split, spec, policies) for copy in copies]
    return [dataclasses.asdict(picture) for picture in made if picture is not None]


def _bound(source: Source | Ref, limits: Limits) -> None:
    """Limits the memory for one image, and allows its pixels.

    It first connects to a remote store, so that the client of the store does not count. Nor do files that are read
    ahead.
    """
    is_away = storage.is_remote(source.uri)
    if is_away:
        remote.connect(source.uri)
    opening.allow_pixels(limits.max_pixels)
    memory_limit.bound(limits.image_memory + (read_ahead.MOST if is_away else 0))


def finish(staged: str, target: str, records: int, affine: Affine, encoding: str) -> tuple[str, int]:
    """Normalizes a staged shard of 8-bit pixels: see `normalize_shard.finish`."""
    return normalize_shard.finish(staged, target, records, affine, encoding)


def build_analysis(analysis: Analysis) -> None:
    """Builds the job of the analysis, unless there is a kept graph.

    `run_analysis` then only has to run the job.
    """
    if not kept_graphs.is_kept(analysis):
        _tft_job().build(analysis)


def run_analysis(analysis: Analysis) -> Affine:
    """Writes the transform graph and returns its (scale, offset).

    It comes from a kept graph or, if none does, from the job. It is then below `work`, and so are the mean and the
    deviation of targets, in work_dir.TARGETS.
    """
    affine, targets = kept_graphs.fill(analysis) or _tft_job().run(analysis)
    work = analysis.work
    if analysis.folder != work.root:
        storage.put_tree(os.path.join(analysis.folder, kept_graphs.FOLDER), work.path("transform"))
    if analysis.targets:
        storage.write_text(work.path(work_dir.TARGETS), json.dumps(targets))
    found: Affine = affine
    return found


def _tft_job() -> Any:
    """Imports Beam and TensorFlow Transform, which only one worker needs."""
    if sys.modules.get("tf_keras") is None:
        sys.modules.pop("tf_keras", None)  # the fork server blocks it; TensorFlow Transform loads it
    with terminal.quick_imports():
        from pipelines.job.transform import tft_job

    return tft_job
