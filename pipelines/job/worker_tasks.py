"""Holds the functions that worker processes run by name; all code that opens an input's bytes is called from here."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipelines import storage
from pipelines.config import PrepareConfig
from pipelines.contract import tfrecord
from pipelines.core import terminal
from pipelines.core.elements import Affine, Made, Ref, Source
from pipelines.core.summary import Rejected, Thumbnail
from pipelines.images import decode, formats, histogram, resize
from pipelines.records import make_record, normalize_shard
from pipelines.storage import remote
from pipelines.work_dir import Work
from pipelines.workers import memory_limit


def warm_up() -> None:
    """Lets TensorFlow start its threads and find its kernels before the first image waits for it."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    encoded = tf.io.encode_jpeg(tf.zeros((8, 8, 3), tf.uint8))
    spec = resize.ImageSpec(4, 4)
    decode.decoder(formats.read_header(encoded.numpy(), 64), spec)(encoded)
    memory_limit.allow()


def fingerprint(source: Source, config: PrepareConfig) -> Ref | Rejected:
    """Reads a file once: its digest, and its header by content. Decodes no pixels."""
    _bound(source, config)
    digest = ""
    try:
        data = storage.read_input(source.uri, config.max_file_bytes)
        digest = hashlib.sha256(data).hexdigest()
        header = formats.read_header(data, config.max_pixels, config.max_frames)
    except (storage.StorageError, formats.ImageError) as e:
        return Rejected(source.uri, source.label, source.split, digest, "fingerprint", e.reason, str(e))
    except MemoryError:
        detail = make_record.out_of_memory(config)
        return Rejected(source.uri, source.label, source.split, digest, "fingerprint", "out-of-memory", detail)
    except Exception as e:  # whatever a stranger's bytes lead to is one reject and no end of the run
        detail = make_record.unexpected(e)
        return Rejected(source.uri, source.label, source.split, digest, "fingerprint", "unexpected-error", detail)
    return Ref(*source, digest, len(data), tuple(header))


def make(ref: Ref, copies: Sequence[int], label_id: int, split: str, config: PrepareConfig) -> Made | Rejected:
    """Reads, checks, decodes and resizes one source, once, and makes the records of these copies (0: the original)."""
    _bound(ref, config)
    decoded = make_record.load(ref, split, config)
    if isinstance(decoded, Rejected):
        return decoded
    framed = [tfrecord.framed(make_record.make_example(decoded, ref, copy, label_id, config)) for copy in copies]
    counted = histogram.histogram(decoded.pixels).tobytes() if 0 in copies else b""
    return Made(framed, counted)


def thumbnails(ref: Ref, copies: Sequence[int], split: str, config: PrepareConfig) -> list[dict[str, object]]:
    """Pictures for the report of one source as it became these copies; none where it cannot be shown."""
    _bound(ref, config)
    decoded = make_record.load(ref, split, config)
    if isinstance(decoded, Rejected):
        return []
    made: list[Thumbnail | None] = [make_record.thumbnail(decoded, ref, copy, split, config) for copy in copies]
    return [dataclasses.asdict(picture) for picture in made if picture is not None]


def _bound(source: Source | Ref, config: PrepareConfig) -> None:
    """Bounds the memory for one image, what reaches it not counted."""
    if storage.is_remote(source.uri):
        remote.connect(source.uri)
    memory_limit.bound(config.image_memory)


def finish(staged: str, target: str, affine: Affine, encoding: str) -> tuple[str, int]:
    """Normalizes a staged shard of 8-bit pixels: see `normalize_shard.finish`."""
    return normalize_shard.finish(staged, target, affine, encoding)


def build_analysis(config: PrepareConfig, work: Work, folder: str) -> None:
    """Loads what the analysis needs and builds its job, so that `run_analysis` only has to run it."""
    _analysis().build(config, work, folder)


def run_analysis(config: PrepareConfig, work: Work, folder: str) -> Affine:
    """Runs the job and returns the (scale, offset) of the transform graph that it wrote."""
    affine: Affine = _analysis().run(config, work, folder)
    return affine


def _analysis() -> Any:
    """Beam and TensorFlow Transform, which only one worker has use of."""
    if sys.modules.get("tf_keras") is None:
        sys.modules.pop("tf_keras", None)  # which the zygote bars, and TensorFlow Transform loads
    with terminal.quick_imports():
        from pipelines.job import tft_job

    return tft_job
