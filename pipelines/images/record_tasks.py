"""Holds the functions of `file_reader` that need TensorFlow, for worker processes."""

from __future__ import annotations

import tensorflow as tf

from pipelines import storage
from pipelines.core import pixels as pixel_forms
from pipelines.images import picture_tasks
from pipelines.images.file_reader import Refused
from pipelines.images.files import formats
from pipelines.images.graph import decode
from pipelines.images.image_spec import ImageSpec
from pipelines.images.limits import Limits


def warm_up() -> None:
    """Prepares this process for images of strangers, and starts TensorFlow's threads."""
    decode.warm_up()
    picture_tasks.warm_up()


def record(path: str, spec: ImageSpec, limits: Limits) -> bytes | Refused:
    """Returns an image as `prepare` decodes and resizes it, as the bytes of a PNG.

    Bands are one below another in it, as the graph reads them.
    """

    def read() -> bytes:
        data = _read(path, limits.max_file_bytes)
        header = formats.read_header(data, limits.max_pixels, limits.max_frames, spec.source)
        pixels = decode.decoded(data, header, spec, limits)
        if spec.source.bands:
            pixels = pixel_forms.stacked(pixels)
        return bytes(decode.encode_image(tf.constant(pixels), "png", 0).numpy())

    return picture_tasks.guarded(read, limits)


def _read(path: str, limit: int) -> bytes:
    """Reads a file of at most `limit` bytes.

    TensorFlow reads those in a bucket, as elsewhere in the trainer.

    Raises:
      StorageError: as `storage.read_input`.
    """
    if not storage.is_remote(path):
        return storage.read_input(path, limit)
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            data: bytes = file.read(limit + 1)
    except tf.errors.NotFoundError as e:
        raise storage.StorageError("missing", "There is no such file.") from e
    except tf.errors.OpError as e:
        raise storage.StorageError("unreadable", str(e.message)) from e
    if len(data) > limit:
        raise storage.StorageError("too-large", f"More than {limit} bytes.")
    return data
