"""Turns the records of a dataset into tensors, as its contract says."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipelines.contract import graph_check
from pipelines.contract.contract import RAW_DTYPES, TRANSFORM_DIR, Contract
from pipelines.contract.contract_file import load
from pipelines.contract.task import TARGET_COLUMNS
from pipelines.core.files import wildcards

if TYPE_CHECKING:
    import tensorflow as tf  # imported in the functions: who reads a contract alone need not wait for it


def analysis_columns(channels: int) -> dict[str, int]:
    """Returns the columns that only the analysis reads, and their widths.

    `pipelines/job/transform/analysis_rows.py` fills them, and `load_transform` sets them to zero.

    Args:
      channels: The number of channels of the dataset's images.

    Example:
      >>> from pipelines import contract
      >>> contract.analysis_columns(1)
      {'label_rank': 1, 'pixel_count': 1, 'pixel_sum': 1, 'pixel_square_sum': 1}
    """
    return {"label_rank": 1, "pixel_count": 1, "pixel_sum": channels, "pixel_square_sum": channels}


ANALYSIS_COLUMNS = analysis_columns(3)  # those of a dataset with RGB images


def feature_spec(contract: Contract) -> dict[str, tf.io.FixedLenFeature]:
    """Returns the feature specification of a record for `tf.io.parse_example`.

    Args:
      contract: The dataset's contract.

    Returns:
      One feature per name, all scalars but "target": "image" string (the bytes as stored), "label" int64 (0 to the
        number of labels - 1), "weight" float32 (at least 0) and "key" string (KEY_BYTES bytes). If an image has several
        labels or numbers, "target" float32 (K,) stands in place of "label". For each column of `contract.metadata`
        there is "metadata/NAME" of its dtype: a missing value is -2**63, NaN or "".

    Example:
      >>> import tensorflow as tf
      >>> from pipelines import contract
      >>> eggs = contract.load("tests/data/format_1/uint8")
      >>> records = tf.data.TFRecordDataset(eggs.shard_paths("tests/data/format_1/uint8", "train"))
      >>> record = tf.io.parse_single_example(next(iter(records)), contract.feature_spec(eggs))
      >>> len(record["image"].numpy()), record["weight"].numpy().item()
      (192, 1.0)
    """
    import tensorflow as tf

    width = contract.target_width
    answer = {"target": tf.io.FixedLenFeature([width], tf.float32)} if width else {}
    return {
        "image": tf.io.FixedLenFeature([], tf.string),
        **(answer or {"label": tf.io.FixedLenFeature([], tf.int64)}),
        "weight": tf.io.FixedLenFeature([], tf.float32),
        "key": tf.io.FixedLenFeature([], tf.string),
        **{c.feature: tf.io.FixedLenFeature([], tf.as_dtype(c.dtype)) for c in contract.metadata},
    }


def normalize(contract: Contract, pixels: tf.Tensor) -> tf.Tensor:
    """Maps 8-bit pixels to the normalized values that a model sees.

    Args:
      contract: The dataset's contract.
      pixels: Values 0..255 of any numeric dtype, shape (..., H, W, C). The static shape must contain W.

    Returns:
      float32 of the same shape, in the range `contract.value_range`.

    Raises:
      TypeError: The static shape of `pixels` does not contain W.
      tf.errors.InvalidArgumentError: The last axis of `pixels` is not C. It is raised when the operation runs.

    Example:
      >>> import tensorflow as tf
      >>> from pipelines import contract
      >>> eggs = contract.load("tests/data/format_1/uint8")
      >>> black = contract.normalize(eggs, tf.zeros((1, 8, 8, 3), tf.uint8))
      >>> black.shape, bool(tf.reduce_all(black == eggs.normalization.offset))
      (TensorShape([1, 8, 8, 3]), True)
    """
    import tensorflow as tf

    width, channels = pixels.shape[-2], contract.image_shape[2]
    # The last two axes are merged, because TensorFlow broadcasts over a last axis of 3 several times slower than over
    # one of W * 3.
    scale, offset = (tf.constant(v * width, tf.float32) for v in _affine(contract))
    shape = tf.shape(pixels)
    rows = tf.reshape(tf.cast(pixels, tf.float32), tf.concat([shape[:-2], (width * channels,)], axis=0))
    return tf.ensure_shape(tf.reshape(rows * scale + offset, shape), pixels.shape)


def _affine(contract: Contract) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return contract.normalization.scale, contract.normalization.offset


def images_from_records(contract: Contract, image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes and normalizes the images of a batch of records.

    Args:
      contract: The dataset's contract.
      image_bytes: The `image` feature of the records, string of shape (B,).

    Returns:
      float32 of shape (B, H, W, C), in the range `contract.value_range`.

    Raises:
      tf.errors.InvalidArgumentError: A record's image does not have the contract's size or encoding. It is raised when
        the operation runs.

    Example:
      >>> import tensorflow as tf
      >>> from pipelines import contract
      >>> eggs = contract.load("tests/data/format_1/jpeg")
      >>> records = tf.data.TFRecordDataset(eggs.shard_paths("tests/data/format_1/jpeg", "train")).batch(4)
      >>> batch = tf.io.parse_example(next(iter(records)), contract.feature_spec(eggs))
      >>> images = contract.images_from_records(eggs, batch["image"])
      >>> images.shape, images.dtype
      (TensorShape([4, 8, 8, 3]), tf.float32)
    """
    import tensorflow as tf

    images = stored_from_records(contract, image_bytes)
    return normalize(contract, images) if images.dtype == tf.uint8 else tf.cast(images, tf.float32)


def stored_from_records(contract: Contract, image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes the images of a batch of records, as they are stored.

    The raw encodings take one vectorized operation per batch. `jpeg` and `png` are decoded image by image. If the
    records have sizes of their own (`Contract.is_uneven`), the result is the centre of each image.

    Args:
      contract: The dataset's contract.
      image_bytes: The `image` feature of the records, string of shape (B,).

    Returns:
      Shape (B, H, W, C). float16 or float32 for the encodings of these names: normalized values. uint8 for `uint8`,
        `jpeg` and `png`: pixels 0..255, not yet normalized.

    Raises:
      tf.errors.InvalidArgumentError: A record's image does not have the contract's size or encoding. It is raised when
        the operation runs.

    Example:
      >>> import tensorflow as tf
      >>> from pipelines import contract
      >>> eggs = contract.load("tests/data/format_1/uint8")
      >>> pixels = contract.stored_from_records(eggs, tf.constant([bytes(8 * 8 * 3)]))
      >>> pixels.shape, pixels.dtype
      (TensorShape([1, 8, 8, 3]), tf.uint8)
    """
    import tensorflow as tf

    shape = contract.image_shape
    if contract.encoding in RAW_DTYPES:
        flat = tf.io.decode_raw(image_bytes, RAW_DTYPES[contract.encoding], little_endian=True)
        # The batch size is given instead of -1: else records of twice the length would become twice as many images.
        return tf.reshape(flat, (tf.shape(image_bytes)[0], *shape))

    def decoded(encoded: tf.Tensor) -> tf.Tensor:
        image = decode_image(contract.encoding, encoded, shape[2])
        return tf.ensure_shape(_centre(image, shape[0]) if contract.is_uneven else image, shape)

    return tf.map_fn(
        decoded,
        image_bytes,
        fn_output_signature=tf.TensorSpec(shape, tf.uint8),
    )


def _centre(image: tf.Tensor, side: int) -> tf.Tensor:
    """Cuts the square in the centre out of an image (H, W, C).

    Its shorter side has to be `side`, the side of the square.
    """
    import tensorflow as tf

    size = tf.shape(image)[:2]
    check = tf.debugging.Assert(
        tf.reduce_min(size) == side, [f"The shorter side of an image should have {side} pixels. Received:", size]
    )
    with tf.control_dependencies([check] if check is not None else []):
        top, left = tf.unstack((size - side) // 2)
    return image[top : top + side, left : left + side]


def load_transform(directory: str | os.PathLike[str]) -> tuple[Any, Callable[[tf.Tensor], tf.Tensor]]:
    """Loads the dataset's TensorFlow Transform graph.

    TensorFlow Transform itself is not imported. The graph is checked before TensorFlow loads it: its files have the
    digests of the contract, and it has only operations that decode, compute, resize and look up.

    Args:
      directory: The dataset directory: a local path, or one that TensorFlow's file systems can read.

    Returns:
      (resource, images). Keep `resource` referenced: assign it to the tf.Module that exports the function. `images`
        maps encoded image bytes, string of shape (B,), to float32 of shape (B, H, W, C): exactly the tensors of the
        records. It raises tf.errors.InvalidArgumentError for bytes that it cannot decode.

    Raises:
      ContractError: The directory holds no contract, or the graph differs from it or has an operation that is not
        allowed.
      OSError: The directory holds no graph.

    Example:
      >>> import tensorflow as tf
      >>> from pipelines import contract
      >>> resource, images = contract.load_transform("tests/data/format_1/uint8")
      >>> encoded = tf.io.encode_png(tf.zeros((16, 16, 3), tf.uint8))
      >>> images(encoded[tf.newaxis]).shape
      TensorShape([1, 8, 8, 3])
    """
    import tensorflow as tf

    contract = load(directory)
    check_transform(directory, contract)
    targets = TARGET_COLUMNS if contract.task.targets else {}
    columns = analysis_columns(contract.image_shape[2])
    resource = tf.saved_model.load(wildcards.hidden(os.path.join(os.fspath(directory), TRANSFORM_DIR)))

    def images(encoded: tf.Tensor) -> tf.Tensor:
        batch = tf.shape(encoded)[0]
        zeros = {n: tf.zeros((batch, width), tf.int64) for n, width in columns.items()}
        zeros |= {n: tf.zeros((batch, len(contract.task.targets)), dtype) for n, dtype in targets.items()}
        return resource.transform_fn({"image": encoded, "label": tf.fill((batch,), ""), **zeros})["image"]

    return resource, images


def check_transform(directory: str | os.PathLike[str], contract: Contract) -> None:
    """Checks the dataset's TensorFlow Transform graph without running it.

    Args:
      directory: The dataset directory: a local path, or one that TensorFlow's file systems can read.
      contract: The dataset's contract.

    Raises:
      ContractError: A file of the graph differs from the contract, or the graph has something that is not allowed.
      OSError: The directory holds no graph.
    """
    prefix = f"{TRANSFORM_DIR}/"
    digests = {name.removeprefix(prefix): d for name, d in contract.files.items() if name.startswith(prefix)}
    digests[graph_check.GRAPH_FILE] = contract.transform_digest
    graph_check.check_folder(os.path.join(os.fspath(directory), TRANSFORM_DIR), digests)


def decode_image(encoding: str, encoded: tf.Tensor, channels: int = 3) -> tf.Tensor:
    """Decodes the image of one `jpeg` or `png` record.

    Args:
      encoding: "png", or "jpeg" for TensorFlow's JPEG decoder.
      encoded: The `image` feature of one record, a scalar string.
      channels: The number of channels of the dataset's images.

    Returns:
      uint8 of shape (H, W, C), 0..255.

    Raises:
      tf.errors.InvalidArgumentError: The bytes cannot be decoded. It is raised when the operation runs.

    Example:
      >>> import tensorflow as tf
      >>> from pipelines import contract
      >>> encoded = tf.io.encode_png(tf.zeros((4, 6, 3), tf.uint8))
      >>> contract.decode_image("png", encoded).shape
      TensorShape([4, 6, 3])
    """
    import tensorflow as tf

    if encoding == "png":
        return tf.io.decode_png(encoded, channels=channels)
    return tf.io.decode_jpeg(encoded, channels=channels, dct_method="INTEGER_ACCURATE")
