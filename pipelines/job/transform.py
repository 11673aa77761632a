"""Defines the TensorFlow Transform graph: image bytes -> tensor, label -> id.

TensorFlow Transform (TFT) computes full-pass statistics over small columns. Its analysis reads one row per shard and
one row per label. A row of a shard holds exact integer sums of the pixels, so the result cannot depend on the order of
additions. `tft.get_analyze_input_columns` shows that the analysis does not read the image column. The saved graph is
the complete serving preprocessing: it decodes, resizes, normalizes and rounds an image as in the records.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from pipelines import contract, storage
from pipelines.contract import graph_check
from pipelines.core.elements import TRAIN_SPLIT, Affine
from pipelines.images import decode, histogram
from pipelines.images.image_spec import ImageSpec
from pipelines.job import accounting
from pipelines.plan.plan import shard_names
from pipelines.records import shard_writer
from pipelines.records.record_spec import RecordSpec
from pipelines.work_dir import Work

# Deng et al.'s ImageNet statistics as torchvision and keras.applications ("torch" mode) state them, times 255.
IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
UNKNOWN_LABEL = -1


def raw_feature_spec() -> dict[str, tf.io.FixedLenFeature]:
    """Returns the input columns of the graph.

    They are the image bytes, the label, and the columns that only the analysis reads.
    """
    text = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image", "label")}
    return text | {n: tf.io.FixedLenFeature([w], tf.int64) for n, w in contract.ANALYSIS_COLUMNS.items()}


def raw_metadata() -> dataset_metadata.DatasetMetadata:
    return dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(raw_feature_spec()))


def analysis_rows(_: None, dataset: str, work: Work) -> Iterator[dict[str, Any]]:
    """Yields the rows to analyze.

    There is a row for each label with its rank, and a row for each train shard with the pixel sums of its originals.

    Args:
      dataset: the dataset's name.
    """
    plan = accounting.read_plan(work)
    zero = {name: [0] * width for name, width in contract.ANALYSIS_COLUMNS.items()}
    for rank, label in enumerate(plan.labels):
        # TFT orders a vocabulary by weight. The first label has the largest weight, so ids keep the order of labels.
        yield {"image": _ONE_PIXEL, "label": label.encode(), **zero, "label_rank": [len(plan.labels) - rank]}
    files = shard_names(plan, dataset)[TRAIN_SPLIT]
    for account in storage.each(lambda file: shard_writer.read_account(file, work), files, work.root):
        levels = histogram.as_levels(account["levels"])
        yield {"image": _ONE_PIXEL, "label": plan.labels[0].encode(), **zero, **histogram.moments(levels)}


def make_preprocessing_fn(
    spec: RecordSpec, normalize: str, affine: Affine | None = None
) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """Returns the `preprocessing_fn` of TensorFlow Transform.

    It is the only definition of the preprocessing. Its outputs are:

    `image`: float32 (B, H, W, 3), exactly the values that a reader of the record gets.
    `label`: int64 (B,), -1 for an unknown label.
    `scale`, `offset`: float32 (B, 3), the scale and the offset in the contract, the same in every row.

    Args:
      affine: the scale and the offset, if they are not those of the mode and the data.
    """
    image = spec.image

    def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        scale, offset = _affine(inputs, normalize) if affine is None else _constant(affine)
        pixels = tf.map_fn(
            _to_pixels(image),
            inputs["image"],
            fn_output_signature=tf.TensorSpec((image.height, image.width, 3), tf.uint8),
        )
        rows = tf.shape(inputs["image"])[0]
        label_ids = tft.compute_and_apply_vocabulary(
            inputs["label"],
            weights=tf.cast(tf.squeeze(inputs["label_rank"], 1), tf.float32),
            default_value=UNKNOWN_LABEL,
            vocab_filename="labels",
        )
        return {
            "image": as_stored(pixels, scale, offset, spec),
            "label": label_ids,
            "scale": tf.tile(scale[None], (rows, 1)),
            "offset": tf.tile(offset[None], (rows, 1)),
        }

    return preprocessing_fn


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


def as_stored(pixels: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, spec: RecordSpec) -> tf.Tensor:
    """Returns the pixels as a reader of the record gets them, including rounding.

    uint8 (B, H, W, 3) -> float32 of the same shape.
    """
    if spec.encoding == "jpeg":
        shape = pixels.shape[1:]
        pixels = tf.map_fn(
            lambda p: tf.ensure_shape(
                contract.decode_image("jpeg", decode.encode_image(p, spec.encoding, spec.jpeg_quality)), shape
            ),
            pixels,
        )
    normalized = tf.cast(pixels, tf.float32) * scale + offset
    return tf.cast(tf.cast(normalized, tf.float16), tf.float32) if spec.encoding == "float16" else normalized


def _affine(inputs: Mapping[str, tf.Tensor], mode: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns float32 scale and offset (3,): normalized = pixel * scale + offset."""
    if mode == "zscore":
        count, sums, squares = (
            tf.cast(tft.sum(inputs[name], reduce_instance_dims=False), tf.float64)
            for name in ("pixel_count", "pixel_sum", "pixel_square_sum")
        )
        mean = sums / tf.maximum(count, 1.0)
        std = tf.sqrt(tf.maximum(squares / tf.maximum(count, 1.0) - mean * mean, 0.0))
        std = tf.where(std > 0.0, std, tf.ones_like(std))  # a constant channel becomes 0, not infinity
        return tf.cast(1.0 / std, tf.float32), tf.cast(-mean / std, tf.float32)
    return _constant(fixed_affine(mode))


def _constant(affine: Affine) -> tuple[tf.Tensor, tf.Tensor]:
    scale, offset = affine
    return tf.constant(scale, tf.float32), tf.constant(offset, tf.float32)


def fixed_affine(mode: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Returns (scale, offset) of a mode that does not depend on the data."""
    if mode == "unit":
        return (1 / 255,) * 3, (0.0,) * 3
    if mode == "symmetric":
        return (1 / 127.5,) * 3, (-1.0,) * 3
    if mode == "imagenet":
        r, g, b = (1 / s for s in IMAGENET_STD)
        x, y, z = (-m / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))
        return (r, g, b), (x, y, z)
    if mode == "none":
        return (1.0,) * 3, (0.0,) * 3
    raise ValueError(f"normalize should be one of {', '.join(contract.NORMALIZATIONS)}. Received: {mode!r}")


def read_affine(transform_fn_path: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Reads (scale, offset) from the saved graph.

    Each has three float32 values as Python floats.
    """
    resource = graph_check.load(transform_fn_path, {})
    zeros = {n: tf.zeros((1, width), tf.int64) for n, width in contract.ANALYSIS_COLUMNS.items()}
    out = resource.transform_fn({"image": tf.constant([_ONE_PIXEL]), "label": tf.constant([""]), **zeros})
    return tuple(out["scale"][0].numpy().tolist()), tuple(out["offset"][0].numpy().tolist())


# A 1x1 black PNG. The graph checks the image format even if only constants or sums are computed, so the rows of the
# analysis need an image, and this is the smallest one.
_ONE_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)
