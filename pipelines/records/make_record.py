"""Makes the records of one image from the bytes of its source.

The functions are pure, except that they read the source.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines import storage
from pipelines.contract import metadata, tf_example
from pipelines.core import hashing
from pipelines.core import pixels as pixel_forms
from pipelines.core.elements import Header, Ref
from pipelines.core.summary import Rejected, Thumbnail
from pipelines.images import augment, preview, reject_image
from pipelines.images.files import formats, image_error
from pipelines.images.graph import decode
from pipelines.records.record_spec import RecordSpec
from pipelines.tasks.kind import Answer

THUMBNAIL_SIDE = 160


@dataclasses.dataclass(frozen=True)
class Decoded:
    """Holds a source after decoding and resizing.

    pixels: uint8 (H, W, C).
    extremes: the least and the greatest value of a source with more than 8 bits, if it was measured.
    alpha_varies: whether its alpha varies as a photograph does, if it was measured.
    """

    pixels: np.ndarray
    header: Header
    extremes: tuple[float, float] | None = None
    alpha_varies: bool = False


def load(ref: Ref, split: str, spec: RecordSpec, measured: bool = False) -> Decoded | Rejected:
    """Reads, checks, decodes and resizes one source.

    A source that cannot be used is returned as a reject and never raises an exception.

    Args:
      measured: whether the values of a source with more than 8 bits, or with alpha, are measured, too, which decodes it
        twice.
    """

    limits = spec.limits

    try:
        data = storage.read_input(ref.uri, limits.max_file_bytes, limits.inside)
        if hashlib.sha256(data).hexdigest() != ref.digest:
            raise image_error.ImageError("changed", "The file changed while the job ran.")
        if ref.header:
            header = Header(*ref.header)
        else:
            header = formats.read_header(data, limits.max_pixels, limits.max_frames, spec.image.source)
        pixels = decode.decoded(data, header, spec.image, limits)
        extremes = decode.extremes(data, header, limits, spec.image.source) if measured else None
        varies = measured and decode.alpha_varies(data, header, limits, spec.image.source)
    except Exception as e:  # any error that untrusted bytes cause is one reject, and the run continues
        return reject_image.reject(ref, split, ref.digest, "decode", e, limits.image_memory)
    return Decoded(pixels, header, extremes, varies)


def stored_pixels(pixels: np.ndarray, ref: Ref, copy: int, spec: RecordSpec) -> np.ndarray:
    """Returns the 8-bit pixels of copy number `copy` (0: the original).

    Args:
      pixels: those of the source, decoded and resized.
    """
    if copy == 0:
        return pixels
    return augment.apply(pixels, augment.draw(spec.augment, spec.seed, ref.key, copy))


def image_bytes(pixels: np.ndarray, encoding: str, jpeg_quality: int) -> bytes:
    """Returns the `image` feature of a staged record.

    It holds the 8-bit pixels unchanged, or as JPEG or PNG where that is the encoding.
    """
    if encoding in ("jpeg", "png"):
        return bytes(decode.encode_image(tf.constant(pixels), encoding, jpeg_quality).numpy())
    return pixels.tobytes()


def make_example(pixels: np.ndarray, ref: Ref, copy: int, answer: Answer, spec: RecordSpec) -> bytes:
    """Returns the staged record of copy number `copy`, made of the source's pixels."""
    image = image_bytes(stored_pixels(pixels, ref, copy, spec), spec.encoding, spec.jpeg_quality)
    kept = {
        column.feature: metadata.stored(value, column.dtype)
        for column, value in zip(spec.metadata, ref.metadata, strict=True)
    }
    return tf_example.serialize(image, answer, ref.weight, hashing.record_key(ref.key, copy), kept)


def thumbnail(
    decoded: Decoded, ref: Ref, copy: int, split: str, spec: RecordSpec, policies: Sequence[str] = ()
) -> Thumbnail | None:
    """Returns small pictures of the record and of its source.

    Returns None where the source cannot be read any more.

    Args:
      policies: those of which the picture is an example; see `Thumbnail`.
    """
    try:
        data = storage.read_input(ref.uri, spec.limits.max_file_bytes, spec.limits.inside)
        policy = spec.image.source
        if policies:
            shown = preview.plain(data, THUMBNAIL_SIDE * 2, spec.limits, policy)
        else:
            _, shown = preview.draw(data, THUMBNAIL_SIDE * 2, spec.limits, spec.image.background, policy=policy)
    except Exception:  # the picture is only for the report: no error of a reader affects the record
        return None
    pixels = stored_pixels(decoded.pixels, ref, copy, spec)
    stored = Image.fromarray(pixel_forms.shown(pixels))
    stored.thumbnail((THUMBNAIL_SIDE * 2, THUMBNAIL_SIDE * 2))
    return Thumbnail(
        uri=ref.uri,
        label=ref.label,
        split=split,
        copy=copy,
        width=decoded.header.width,
        height=decoded.header.height,
        source_jpeg=_jpeg(shown),
        stored_jpeg=_jpeg(stored),
        policies=list(policies),  # as JSON gives it back
    )


def _jpeg(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return base64.b64encode(out.getvalue()).decode("ascii")
