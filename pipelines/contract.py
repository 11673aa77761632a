"""The contract: what a prepared dataset holds and how it was made.

This is the only module that both programs share. `pipelines` writes `contract.json` as the last act of a run, so
its presence means that the dataset is whole; `trainer` builds its input and its model from it and refuses what
disagrees. It imports the standard library only; TensorFlow is imported inside the functions that need it, so that
reading a contract costs milliseconds.

The meaning of the pixels, for every encoding: the tensor a model sees is float32 of shape (H, W, 3), RGB,

    normalized[h, w, c] = float32(pixel[h, w, c]) * scale[c] + offset[c]

where `pixel` is the decoded and resized 8-bit image. `float16` records hold that value rounded to half precision.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

FORMAT_VERSION = 1
FILE_NAME = "contract.json"
TRANSFORM_DIR = "transform_fn"
ENCODINGS = ("float16", "float32", "uint8", "jpeg", "png")
RAW_DTYPES = {"float16": "float16", "float32": "float32", "uint8": "uint8"}
NORMALIZATIONS = ("zscore", "unit", "symmetric", "imagenet", "none")
RESIZE_MODES = ("stretch", "crop", "pad")
FILTERS = ("area", "bilinear")
KEY_BYTES = 20  # 16 hex digits of the source key's hash, '-', 3 digits of the copy number
MAX_CONTRACT_BYTES = 64 << 20


class ContractError(ValueError):
    """A dataset or its contract is missing, malformed or contradicts itself; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file: name relative to the dataset directory, record count, size in bytes, SHA-256 in hex."""

    file: str
    records: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Split:
    """The counts and files of one split.

    natural: images per label that belong to the split, before balancing.
    stored: records per label in the shards, copies included.
    copies: of these, augmented copies per label. stored - copies + undersampled = natural.
    """

    natural: Mapping[str, int]
    stored: Mapping[str, int]
    copies: Mapping[str, int]
    shards: tuple[Shard, ...]

    @property
    def records(self) -> int:
        return sum(shard.records for shard in self.shards)


@dataclasses.dataclass(frozen=True)
class Normalization:
    """The affine map from 8-bit pixels to what the model sees, per channel in RGB order.

    mean, std: of the train originals in gray levels (0..255), biased variance; recorded for every mode.
    scale, offset: float32 numbers; the map above. A constant channel (std 0) is scaled by 1.
    """

    mode: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]

    @property
    def value_range(self) -> tuple[float, float]:
        """The least and greatest value that any pixel 0..255 of any channel can map to."""
        ends = [p * s + o for s, o in zip(self.scale, self.offset, strict=True) for p in (0.0, 255.0)]
        return min(ends), max(ends)


@dataclasses.dataclass(frozen=True)
class Contract:
    """Everything a reader has to know of a prepared dataset. See `docs/dataset.md` for the JSON form."""

    name: str
    image_shape: tuple[int, int, int]
    encoding: str
    labels: tuple[str, ...]
    splits: Mapping[str, Split]
    normalization: Normalization
    resize: Mapping[str, Any]
    decode: Mapping[str, Any]
    balance: Mapping[str, Any]
    augmentation: Mapping[str, Any]
    seed: int
    weighted: bool
    config_digest: str
    source_digest: str
    transform_digest: str
    rejected: Mapping[str, int]
    versions: Mapping[str, str]
    channel_order: str = "RGB"
    dtype: str = "float32"
    format_version: int = FORMAT_VERSION

    @property
    def value_range(self) -> tuple[float, float]:
        return self.normalization.value_range

    def split(self, name: str) -> Split:
        """The split called `name`; ContractError names those that exist."""
        if name not in self.splits:
            raise ContractError(f"No split {name!r} in dataset {self.name!r}: it has {', '.join(self.splits)}.")
        return self.splits[name]

    def shard_paths(self, directory: str, split: str) -> list[str]:
        """Full paths of the split's shards, in shard order."""
        return [os.path.join(directory, shard.file) for shard in self.split(split).shards]

    def priors(self, split: str, kind: str = "natural") -> tuple[float, ...]:
        """Class frequencies in label-id order, `kind` being natural (before balancing) or stored. They sum to 1."""
        counts = getattr(self.split(split), kind)
        total = sum(counts.values())
        return tuple(counts.get(label, 0) / total if total else 0.0 for label in self.labels)

    def to_json(self) -> str:
        """The text of contract.json: sorted keys, so that equal contracts are equal bytes."""
        data = dataclasses.asdict(self)
        data["value_range"] = list(self.value_range)
        for name in self.splits:
            data["splits"][name]["records"] = self.splits[name].records
            data["splits"][name]["priors"] = {
                kind: dict(zip(self.labels, self.priors(name, kind), strict=True)) for kind in ("natural", "stored")
            }
        return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def from_json(text: str) -> Contract:
    """Parses and checks the text of a contract.json.

    Raises:
      ContractError: not JSON, a field is missing or of the wrong form, the version is not this one, or the counts
        of a split do not add up.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ContractError(f"contract.json is not valid JSON ({e}). Prepare the dataset again.") from e
    if not isinstance(data, dict):
        raise ContractError(f"contract.json should hold an object. It holds a {type(data).__name__}.")
    version = data.get("format_version")
    if version != FORMAT_VERSION:
        raise ContractError(
            f"contract.json should have format_version {FORMAT_VERSION}. It has {version!r}: "
            "prepare the dataset again, or use the Shardmill that made it."
        )
    try:
        contract = _build(data)
    except ContractError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
        raise ContractError(f"contract.json is malformed: {type(e).__name__} {e}. Prepare the dataset again.") from e
    _check(contract)
    return contract


def load(directory: str | os.PathLike[str]) -> Contract:
    """Reads DIRECTORY/contract.json, local or gs://.

    Raises:
      ContractError: there is none (the dataset is incomplete, or this is no dataset), or it cannot be used.
    """
    path = os.path.join(os.fspath(directory), FILE_NAME)
    try:
        with _open(path) as file:
            text = file.read(MAX_CONTRACT_BYTES + 1)
    except Exception as e:  # gfile raises tf.errors.*, open raises OSError; both mean the same to the caller
        raise ContractError(
            f"No readable {FILE_NAME} in {os.fspath(directory)!r} ({type(e).__name__}): it is not a prepared dataset, "
            "or its preparation did not finish. Run `python -m pipelines prepare --output` on it."
        ) from e
    if len(text) > MAX_CONTRACT_BYTES:
        raise ContractError(f"{path} is larger than {MAX_CONTRACT_BYTES >> 20} MiB: it is not a contract.")
    return from_json(text)


def feature_spec(contract: Contract) -> dict[str, tf.io.FixedLenFeature]:
    """The `tf.io.parse_example` spec of a record: image bytes, label id, sample weight, key."""
    import tensorflow as tf

    del contract  # the same for every encoding; the argument keeps callers honest about whose records they parse
    return {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "weight": tf.io.FixedLenFeature([], tf.float32),
        "key": tf.io.FixedLenFeature([], tf.string),
    }


def normalize(contract: Contract, pixels: tf.Tensor) -> tf.Tensor:
    """8-bit pixels (any dtype) of shape (..., H, W, 3) -> float32 normalized values of the same shape."""
    import tensorflow as tf

    scale = tf.constant(contract.normalization.scale, tf.float32)
    offset = tf.constant(contract.normalization.offset, tf.float32)
    return tf.cast(pixels, tf.float32) * scale + offset


def images_from_records(contract: Contract, image_bytes: tf.Tensor) -> tf.Tensor:
    """The `image` feature of a batch of records, string of shape (B,) -> float32 normalized (B, H, W, 3).

    Raises, when run:
      tf.errors.InvalidArgumentError: a record's image has not the contract's size.
    """
    import tensorflow as tf

    images = stored_from_records(contract, image_bytes)
    return normalize(contract, images) if images.dtype == tf.uint8 else tf.cast(images, tf.float32)


def stored_from_records(contract: Contract, image_bytes: tf.Tensor) -> tf.Tensor:
    """As `images_from_records`, but as stored: normalized float16 or float32, or 8-bit pixels not yet normalized.

    For the raw encodings this is one vectorized op for the batch; `jpeg` and `png` decode image by image.
    """
    import tensorflow as tf

    shape = contract.image_shape
    if contract.encoding in RAW_DTYPES:
        flat = tf.io.decode_raw(image_bytes, RAW_DTYPES[contract.encoding], little_endian=True)
        # Not the reshape alone: records of twice the length would silently become twice the images.
        return tf.reshape(tf.ensure_shape(flat, (None, math.prod(shape))), (-1, *shape))
    return tf.map_fn(
        lambda b: tf.ensure_shape(decode_image(contract.encoding, b), shape),
        image_bytes,
        fn_output_signature=tf.TensorSpec(shape, tf.uint8),
    )


def load_transform(directory: str | os.PathLike[str]) -> tuple[Any, Callable[[tf.Tensor], tf.Tensor]]:
    """Loads the dataset's TensorFlow Transform graph without importing TensorFlow Transform.

    Returns:
      (resource, images): keep `resource` referenced (assign it to the tf.Module that exports the function);
      `images` maps encoded image bytes, string (B,), to exactly the tensors of the records, float32 (B, H, W, 3).
    """
    import tensorflow as tf

    resource = tf.saved_model.load(os.path.join(os.fspath(directory), TRANSFORM_DIR))

    def images(encoded: tf.Tensor) -> tf.Tensor:
        batch = tf.shape(encoded)[0]
        zeros = {n: tf.zeros((batch, width), tf.int64) for n, width in ANALYSIS_COLUMNS.items()}
        return resource.transform_fn({"image": encoded, "label": tf.fill((batch,), ""), **zeros})["image"]

    return resource, images


# The columns that only the analysis reads (pipelines/transform.py), with their width; zero when transforming.
ANALYSIS_COLUMNS = {"label_rank": 1, "pixel_count": 1, "pixel_sum": 3, "pixel_square_sum": 3}


def decode_image(encoding: str, encoded: tf.Tensor) -> tf.Tensor:
    """One `jpeg` or `png` record's bytes -> uint8 (H, W, 3)."""
    import tensorflow as tf

    if encoding == "png":
        return tf.io.decode_png(encoded, channels=3)
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _open(path: str) -> Any:
    if "://" not in path:
        return open(path, encoding="utf-8")
    import tensorflow as tf

    return tf.io.gfile.GFile(path, "r")


def _build(data: dict[str, Any]) -> Contract:
    splits = {
        str(name): Split(
            natural=_counts(s["natural"]),
            stored=_counts(s["stored"]),
            copies=_counts(s["copies"]),
            shards=tuple(Shard(*_typed(d, file=str, records=int, bytes=int, sha256=str)) for d in s["shards"]),
        )
        for name, s in data["splits"].items()
    }
    n = data["normalization"]
    normalization = Normalization(
        str(n["mode"]), *(_triple(n[field], field) for field in ("mean", "std", "scale", "offset"))
    )
    plain = {f.name for f in dataclasses.fields(Contract)} - {"splits", "normalization", "image_shape", "labels"}
    values = {name: data[name] for name in plain}
    _typed(values, name=str, encoding=str, seed=int, weighted=bool, channel_order=str, dtype=str, source_digest=str)
    _typed(values, resize=dict, decode=dict, balance=dict, augmentation=dict, versions=dict, rejected=dict)
    return Contract(
        splits=splits,
        normalization=normalization,
        image_shape=tuple(_typed({"n": n}, n=int)[0] for n in data["image_shape"]),  # type: ignore[arg-type]
        labels=tuple(_typed({"label": label}, label=str)[0] for label in data["labels"]),
        **values,
    )


def _typed(values: Mapping[str, Any], **types: type) -> list[Any]:
    for name, kind in types.items():
        if not isinstance(values[name], kind) or (kind is int and isinstance(values[name], bool)):
            raise ContractError(f"contract.json: {name} should be {kind.__name__}. Received: {values[name]!r:.80}")
    return [values[name] for name in types]


def _counts(value: Mapping[str, Any]) -> dict[str, int]:
    for label, count in value.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ContractError(f"contract.json: the count of {label!r} should be a whole number. Received: {count!r}")
    return dict(value)


def _triple(value: Sequence[Any], field: str) -> tuple[float, float, float]:
    numbers = [float(v) for v in value]
    if len(numbers) != 3 or not all(math.isfinite(v) for v in numbers):
        raise ContractError(f"contract.json: {field} should be three finite numbers. Received: {value!r:.80}")
    return numbers[0], numbers[1], numbers[2]


def _check(contract: Contract) -> None:
    shape = contract.image_shape
    if len(shape) != 3 or shape[2] != 3 or min(shape) < 1:
        raise ContractError(f"contract.json: image_shape should be (H, W, 3). Received: {shape}")
    for field, value, allowed in (
        ("encoding", contract.encoding, ENCODINGS),
        ("normalization.mode", contract.normalization.mode, NORMALIZATIONS),
        ("dtype", contract.dtype, ("float32",)),
        ("channel_order", contract.channel_order, ("RGB",)),
    ):
        if value not in allowed:
            raise ContractError(f"contract.json: {field} should be one of {', '.join(allowed)}. Received: {value!r}")
    if len(set(contract.labels)) != len(contract.labels) or not contract.labels:
        raise ContractError(f"contract.json: labels should be distinct and at least one. Received: {contract.labels!r}")
    for name, split in contract.splits.items():
        _check_split(name, split, set(contract.labels))


def _check_split(name: str, split: Split, labels: set[str]) -> None:
    unknown = (set(split.natural) | set(split.stored) | set(split.copies)) - labels
    if unknown:
        raise ContractError(f"contract.json: split {name!r} counts labels that are not in `labels`: {sorted(unknown)}")
    if sum(split.stored.values()) != split.records:
        raise ContractError(
            f"contract.json: split {name!r} stores {sum(split.stored.values())} records by class "
            f"but its shards hold {split.records}."
        )
    for shard in split.shards:
        if os.path.basename(shard.file) != shard.file or shard.file.startswith("."):
            raise ContractError(f"contract.json: a shard's file should be a plain name. Received: {shard.file!r}")
        if len(shard.sha256) != 64 or shard.records < 0 or shard.bytes < 0:
            raise ContractError(f"contract.json: shard {shard.file!r} has a bad digest, count or size.")
