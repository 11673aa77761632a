"""Defines the TensorFlow Transform graph: image bytes -> tensor, label -> id.

TensorFlow Transform (TFT) computes full-pass statistics over small columns. Its analysis reads one row per shard and
one row per label. A row of a shard holds exact integer sums of the pixels, so the result cannot depend on the order of
additions. `tft.get_analyze_input_columns` shows that the analysis does not read the image column. The saved graph is
the complete serving preprocessing: it decodes, resizes, normalizes and rounds an image as in the records.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from PIL import Image
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from pipelines import contract, storage
from pipelines.contract import graph_check
from pipelines.contract.task import TARGET_COLUMNS
from pipelines.core.elements import TRAIN_SPLIT, Affine
from pipelines.images import histogram
from pipelines.images.files import formats
from pipelines.images.graph import decode
from pipelines.images.image_spec import ImageSpec
from pipelines.job import target_sums
from pipelines.job.results import accounting
from pipelines.plan.plan import shard_names
from pipelines.records import shard_writer
from pipelines.records.record_spec import RecordSpec
from pipelines.tasks import regression
from pipelines.work_dir import Work

# Deng et al.'s ImageNet statistics as torchvision and keras.applications ("torch" mode) state them, times 255.
IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
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


def analysis_rows(_: None, dataset: str, spec: RecordSpec, work: Work, targets: int = 0) -> Iterator[dict[str, Any]]:
    """Yields the rows to analyze.

    There is a row for each label with its rank, and a row for each train shard with the pixel sums of its originals.

    Args:
      dataset: the dataset's name.
      targets: as of `raw_feature_spec`.
    """
    plan, image = accounting.read_plan(work), _one_pixel(spec.image)
    zero = {name: [0] * width for name, width in contract.analysis_columns(spec.image.channels).items()}
    for rank, label in enumerate(plan.labels):
        # TFT orders a vocabulary by weight. The first label has the largest weight, so ids keep the order of labels.
        yield {
            "image": image,
            "label": label.encode(),
            **zero,
            "label_rank": [len(plan.labels) - rank],
        }
    files = shard_names(plan, dataset)[TRAIN_SPLIT]
    first = plan.labels[0].encode() if plan.labels else b""
    parts = (_targets(account) for account in _accounts(files, work)) if targets else ()
    scale = target_sums.scale_of(parts, targets)
    for account in _accounts(files, work):
        levels = histogram.as_levels(account["levels"])
        sums = target_sums.columns(_targets(account), scale) if targets else {}
        yield {"image": image, "label": first, **zero, **histogram.moments(levels), **sums}


def _accounts(files: Sequence[str], work: Work) -> Iterator[dict[str, Any]]:
    return storage.each(lambda file: shard_writer.read_account(file, work), files, work.root)


def _targets(account: Mapping[str, Any]) -> dict[tuple[float, ...], int]:
    """Returns numbers of originals of a shard -> how many have them."""
    copies = account["copies"]
    return {regression.parsed(text): n - copies.get(text, 0) for text, n in account["stored"].items()}


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
        scale, offset = _affine(inputs, normalize, image.channels) if affine is None else _constant(affine)
        pixels = tf.map_fn(
            _to_pixels(image),
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
    """Returns the mean and the deviation of targets from the sums of `target_sums`."""

    def whole(name: str) -> tf.Tensor:
        return tf.cast(tft.sum(inputs[name], reduce_instance_dims=False), tf.float64)

    least, greatest = (
        tf.cast(reduce(inputs[name], reduce_instance_dims=False), tf.float64)
        for name, reduce in (("target_least", tft.min), ("target_greatest", tft.max))
    )
    step = tf.pow(tf.constant(2.0, tf.float64), tf.cast(tft.max(inputs["target_bits"], False), tf.float64))
    count = tf.maximum(whole("target_count"), 1.0)
    mean = whole("target_sum") / count
    squares = (whole("target_square_high") * step + whole("target_square_low")) / count
    unit = (greatest - least) / step
    std = tf.sqrt(tf.maximum(squares - mean * mean, 0.0)) * unit
    std = tf.where(std > 0.0, std, tf.ones_like(std))  # a constant target
    found = {"target_mean": least + mean * unit, "target_std": std}
    return {name: tf.tile(tf.cast(value, tf.float32)[None], (rows, 1)) for name, value in found.items()}


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

    uint8 (B, H, W, C) -> float32 of the same shape.
    """
    if spec.encoding == "jpeg":
        shape, channels = pixels.shape[1:], spec.image.channels
        pixels = tf.map_fn(
            lambda p: tf.ensure_shape(
                contract.decode_image("jpeg", decode.encode_image(p, spec.encoding, spec.jpeg_quality), channels), shape
            ),
            pixels,
        )
    normalized = tf.cast(pixels, tf.float32) * scale + offset
    return tf.cast(tf.cast(normalized, tf.float16), tf.float32) if spec.encoding == "float16" else normalized


def _affine(inputs: Mapping[str, tf.Tensor], mode: str, channels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns float32 scale and offset (C,): normalized = pixel * scale + offset."""
    if mode == "zscore":
        count, sums, squares = (
            tf.cast(tft.sum(inputs[name], reduce_instance_dims=False), tf.float64)
            for name in ("pixel_count", "pixel_sum", "pixel_square_sum")
        )
        mean = sums / tf.maximum(count, 1.0)
        std = tf.sqrt(tf.maximum(squares / tf.maximum(count, 1.0) - mean * mean, 0.0))
        std = tf.where(std > 0.0, std, tf.ones_like(std))  # a constant channel becomes 0, not infinity
        return tf.cast(1.0 / std, tf.float32), tf.cast(-mean / std, tf.float32)
    return _constant(fixed_affine(mode, channels))


def _constant(affine: Affine) -> tuple[tf.Tensor, tf.Tensor]:
    scale, offset = affine
    return tf.constant(scale, tf.float32), tf.constant(offset, tf.float32)


def fixed_affine(mode: str, channels: int = 3) -> Affine:
    """Returns (scale, offset) of a mode that does not depend on the data."""
    if mode == "unit":
        return (1 / 255,) * channels, (0.0,) * channels
    if mode == "symmetric":
        return (1 / 127.5,) * channels, (-1.0,) * channels
    if mode == "imagenet" and channels == 3:
        pairs = zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)
        return tuple(1 / s for s in IMAGENET_STD), tuple(-m / s for m, s in pairs)
    if mode == "none":
        return (1.0,) * channels, (0.0,) * channels
    raise ValueError(f"normalize should be one of {', '.join(contract.NORMALIZATIONS)}. Received: {mode!r}")


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
    out = resource.transform_fn({"image": tf.constant([_one_pixel(spec)]), "label": tf.constant([""]), **zeros})
    found = {name: out[f"target_{name}"][0].numpy().tolist() for name in ("mean", "std") if targets}
    return (tuple(out["scale"][0].numpy().tolist()), tuple(out["offset"][0].numpy().tolist())), found


# A 1x1 black PNG. The graph checks the image format even if only constants or sums are computed, so the rows of the
# analysis need an image, and this is the smallest one.
_ONE_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)


def _one_pixel(spec: ImageSpec) -> bytes:
    """Returns the smallest image that the graph takes."""
    if not spec.source.bands:
        return _ONE_PIXEL
    return formats.as_png(Image.new("L", (1, spec.channels)))  # the bands of one pixel, one below another
