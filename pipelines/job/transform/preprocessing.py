"""Defines the TensorFlow Transform graph: image bytes -> tensor, label -> id.

TensorFlow Transform (TFT) computes full-pass statistics over small columns. Its analysis reads one row per shard and
one row per label. A row of a shard holds exact integer sums of the pixels, so the result cannot depend on the order of
additions. `tft.get_analyze_input_columns` shows that the analysis does not read the image column. The saved graph is
the complete serving preprocessing: it decodes, resizes, normalizes and rounds an image as in the records.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from pipelines import contract
from pipelines.contract import graph_check
from pipelines.contract.task import TARGET_COLUMNS
from pipelines.core.elements import Affine
from pipelines.images.graph import decode
from pipelines.images.graph.resize import centre
from pipelines.images.image_spec import ImageSpec
from pipelines.job.transform import normalization
from pipelines.job.transform.analysis_rows import one_pixel
from pipelines.records.record_spec import RecordSpec

_REDUCE = {"target_least": tft.min, "target_greatest": tft.max, "target_bits": tft.max}  # others are added
UNKNOWN_LABEL = -1


def raw_feature_spec(channels: int, targets: int = 0) -> dict[str, tf.io.FixedLenFeature]:
    """Returns the input columns of the graph.

    They are the image bytes, the label, and the columns that only the analysis reads.

    Args:
      targets: the number of numbers that an image has, if it has no label.
    """
    text = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image", "label")}
    sums = {n: tf.io.FixedLenFeature([w], tf.int64) for n, w in contract.analysis_columns(channels).items()}
    of_targets = {n: tf.io.FixedLenFeature([targets], tf.as_dtype(t)) for n, t in TARGET_COLUMNS.items() if targets}
    return text | sums | of_targets


def raw_metadata(channels: int, targets: int = 0) -> dataset_metadata.DatasetMetadata:
    spec = raw_feature_spec(channels, targets)
    return dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))


def make_preprocessing_fn(
    spec: RecordSpec, normalize: str, affine: Affine | None = None, targets: int = 0
) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """Returns the `preprocessing_fn` of TensorFlow Transform.

    It is the only definition of the preprocessing. Its outputs are:

    `image`: float32 (B, H, W, C), exactly the values that a reader of the record gets.
    `label`: int64 (B,), -1 for an unknown label.
    `scale`, `offset`: float32 (B, C), the scale and the offset in the contract, the same in every row.
    `target_mean`, `target_std`: float32 (B, K), the mean and the deviation of the targets, if images have these in the
      place of a label. There is no `label` then.

    Args:
      affine: the scale and the offset, if they are not those of the mode and the data.
      targets: as of `raw_feature_spec`.
    """
    image = spec.image

    def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        scale, offset = _affine(inputs, normalize, image.channels) if affine is None else normalization.constant(affine)
        pixels = tf.map_fn(
            _of_record(spec) if image.is_uneven else _to_pixels(image),
            inputs["image"],
            fn_output_signature=tf.TensorSpec((image.height, image.width, image.channels), tf.uint8),
        )
        rows = tf.shape(inputs["image"])[0]
        return {
            "image": as_stored(pixels, scale, offset, spec),
            **(_target_statistics(inputs, rows) if targets else {"label": _label_ids(inputs)}),
            "scale": tf.tile(scale[None], (rows, 1)),
            "offset": tf.tile(offset[None], (rows, 1)),
        }

    return preprocessing_fn


def _label_ids(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
    ids: tf.Tensor = tft.compute_and_apply_vocabulary(
        inputs["label"],
        weights=tf.cast(tf.squeeze(inputs["label_rank"], 1), tf.float32),
        default_value=UNKNOWN_LABEL,
        vocab_filename="labels",
    )
    return ids


def _target_statistics(inputs: Mapping[str, tf.Tensor], rows: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the mean and the deviation of targets, the same in every row."""

    def total(name: str) -> tf.Tensor:
        return tf.cast(_REDUCE.get(name, tft.sum)(inputs[name], reduce_instance_dims=False), tf.float64)

    found = normalization.of_targets(total)
    return {f"target_{name}": tf.tile(tf.cast(value, tf.float32)[None], (rows, 1)) for name, value in found.items()}


@functools.cache
def _to_pixels(spec: ImageSpec) -> Callable[[tf.Tensor], tf.Tensor]:
    """Traces `decode.to_pixels` and keeps the result in a cache.

    TensorFlow Transform runs `preprocessing_fn` five times, and tracing once is enough. The cache is not a part of
    `preprocessing_fn`, because Beam pickles that.
    """
    traced: Callable[[tf.Tensor], tf.Tensor] = tf.function(
        lambda b: decode.to_pixels(b, spec), input_signature=[tf.TensorSpec([], tf.string)], autograph=False
    )
    return traced


def _of_record(spec: RecordSpec) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function from encoded bytes to the centre of their record.

    An image with a size of its own is compressed whole before the centre is cut out of it, as in the records.
    """
    image = spec.image
    return lambda encoded: centre(_compressed(_to_pixels(image)(encoded), spec), image)


def _compressed(pixels: tf.Tensor, spec: RecordSpec) -> tf.Tensor:
    """Returns what a JPEG of the pixels is decoded to, uint8 (H, W, C)."""
    encoded = decode.encode_image(pixels, "jpeg", spec.jpeg_quality)
    return contract.decode_image("jpeg", encoded, spec.image.channels)


def as_stored(pixels: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, spec: RecordSpec) -> tf.Tensor:
    """Returns the pixels as a reader of the record gets them, including rounding.

    uint8 (B, H, W, C) -> float32 of the same shape. The pixels of images with sizes of their own come from records.
    """
    if spec.encoding == "jpeg" and not spec.image.is_uneven:
        shape = pixels.shape[1:]
        pixels = tf.map_fn(lambda p: tf.ensure_shape(_compressed(p, spec), shape), pixels)
    normalized = tf.cast(pixels, tf.float32) * scale + offset
    return tf.cast(tf.cast(normalized, tf.float16), tf.float32) if spec.encoding == "float16" else normalized


def _affine(inputs: Mapping[str, tf.Tensor], mode: str, channels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns float32 scale and offset (C,): normalized = pixel * scale + offset."""

    def total(name: str) -> tf.Tensor:
        return tf.cast(tft.sum(inputs[name], reduce_instance_dims=False), tf.float64)

    return normalization.of_pixels(mode, channels, total)


def read_numbers(transform_fn_path: str, spec: ImageSpec, targets: int = 0) -> tuple[Affine, dict[str, list[float]]]:
    """Reads the numbers that the analysis found from the saved graph.

    They are float32 values as Python floats.

    Args:
      targets: as of `raw_feature_spec`.

    Returns:
      (scale, offset) of the pixels, each with a value for each channel, and "mean" and "std" of the targets, if there
        are any.
    """
    resource = graph_check.load(transform_fn_path, {})
    zeros = {n: tf.zeros((1, width), tf.int64) for n, width in contract.analysis_columns(spec.channels).items()}
    zeros |= {n: tf.zeros((1, targets), dtype) for n, dtype in TARGET_COLUMNS.items() if targets}
    out = resource.transform_fn({"image": tf.constant([one_pixel(spec)]), "label": tf.constant([""]), **zeros})
    found = {name: out[f"target_{name}"][0].numpy().tolist() for name in ("mean", "std") if targets}
    return (tuple(out["scale"][0].numpy().tolist()), tuple(out["offset"][0].numpy().tolist())), found
