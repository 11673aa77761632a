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
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipelines.contract import json_fields
from pipelines.contract.json_fields import FieldError, Fields
from pipelines.core.errors import ContractError

if TYPE_CHECKING:
    import tensorflow as tf

FORMAT_VERSION = 1
FILE_NAME = "contract.json"
TRANSFORM_DIR = "transform_fn"
ENCODINGS = ("float16", "float32", "uint8", "jpeg", "png")
RAW_DTYPES = {"float16": "float16", "float32": "float32", "uint8": "uint8"}
NORMALIZATIONS = ("zscore", "unit", "symmetric", "imagenet", "none")
RESIZE_MODES = ("stretch", "crop", "pad", "none")
FILTERS = ("area", "bilinear")
KEY_BYTES = 20  # 16 hex digits of the source key's hash, '-', 3 digits of the copy number
MAX_CONTRACT_BYTES = 64 << 20
MAX_SIDE = 8192  # pixels


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
    """Everything a reader has to know of a prepared dataset. See `docs/dataset.md` for the JSON form.

    files: path -> SHA-256 of every file beside the shards; empty in contracts from before there was this field.
    """

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
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def value_range(self) -> tuple[float, float]:
        return self.normalization.value_range

    @property
    def digest(self) -> str:
        """The `contract_digest` of contract.json: SHA-256 in hex of its text without that field."""
        return hashlib.sha256(self.to_json(sealed=False).encode("utf-8", "backslashreplace")).hexdigest()

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

    def to_json(self, sealed: bool = True) -> str:
        """The text of contract.json: sorted keys, so that equal contracts are equal bytes.

        sealed: with the SHA-256 of the text without it, as `contract_digest`; it shows damage, not forgery.
        """
        data = dataclasses.asdict(self)
        if not self.files:
            del data["files"]
        data["value_range"] = list(self.value_range)
        for name in self.splits:
            data["splits"][name]["records"] = self.splits[name].records
            data["splits"][name]["priors"] = {
                kind: dict(zip(self.labels, self.priors(name, kind), strict=True)) for kind in ("natural", "stored")
            }
        if sealed:
            data["contract_digest"] = self.digest
        return _json(data)


def from_json(text: str) -> Contract:
    """Parses and checks the text of a contract.json. Fields that it does not know are left alone.

    Raises:
      ContractError: not JSON, a field is missing or of the wrong form, the version is not this one, or the counts
        of a split do not add up.
    """
    try:
        data = json_fields.parse(text)
        fields = Fields(data)
        if not isinstance(data.get("format_version"), int) or repr(data["format_version"]) != repr(FORMAT_VERSION):
            raise FieldError(
                f"format_version should be {FORMAT_VERSION}. Received: {data.get('format_version')!r}: use the "
                "Shardmill that made it, or this one to prepare the dataset again"
            )
        contract = _build(fields)
        _check(contract)
    except FieldError as e:
        raise ContractError(f"contract.json: {e}. If nobody changed it, prepare the dataset again.") from e
    return contract


def load(directory: str | os.PathLike[str], opened: Callable[[str], Any] | None = None) -> Contract:
    """Reads DIRECTORY/contract.json, local or where TensorFlow reads.

    Args:
      opened: opens a path as text, for who reads elsewhere; it may raise OSError.

    Raises:
      ContractError: there is none (the dataset is incomplete, or this is no dataset), or it cannot be used.
    """
    return from_json(read_text(directory, opened))


def read_text(directory: str | os.PathLike[str], opened: Callable[[str], Any] | None = None) -> str:
    """The text of DIRECTORY/contract.json; ContractError where there is none, or one of absurd size."""
    path = os.path.join(os.fspath(directory), FILE_NAME)
    try:
        with (opened or _open)(path) as file:
            text = file.read(MAX_CONTRACT_BYTES + 1)
    except ContractError:
        raise
    except Exception as e:  # gfile raises tf.errors.*, open raises OSError; both mean the same to the caller
        raise ContractError(
            f"No readable {FILE_NAME} in {os.fspath(directory)!r} ({type(e).__name__}): it is not a prepared dataset, "
            "or its preparation did not finish. Run `python -m pipelines prepare --output` on it."
        ) from e
    if len(text) > MAX_CONTRACT_BYTES:
        raise ContractError(f"{path} is larger than {MAX_CONTRACT_BYTES >> 20} MiB: it is not a contract.")
    return str(text)


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

    width = pixels.shape[-2]
    # Row by row: TensorFlow broadcasts over a last axis of 3 several times slower than over one of W * 3.
    scale, offset = (tf.constant(v * width, tf.float32) for v in _affine(contract))
    shape = tf.shape(pixels)
    rows = tf.reshape(tf.cast(pixels, tf.float32), tf.concat([shape[:-2], (width * 3,)], axis=0))
    return tf.ensure_shape(tf.reshape(rows * scale + offset, shape), pixels.shape)


def _affine(contract: Contract) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    return contract.normalization.scale, contract.normalization.offset


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
        # The batch is named, not -1: records of twice the length would silently become twice the images.
        return tf.reshape(flat, (tf.shape(image_bytes)[0], *shape))
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


# The columns that only the analysis reads (pipelines/job/transform.py), with their width; zero when transforming.
ANALYSIS_COLUMNS = {"label_rank": 1, "pixel_count": 1, "pixel_sum": 3, "pixel_square_sum": 3}


def decode_image(encoding: str, encoded: tf.Tensor) -> tf.Tensor:
    """One `jpeg` or `png` record's bytes -> uint8 (H, W, 3)."""
    import tensorflow as tf

    if encoding == "png":
        return tf.io.decode_png(encoded, channels=3)
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _open(path: str) -> Any:
    if "://" not in path:
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError("not a regular file")  # a FIFO would keep us waiting for ever
        return open(path, encoding="utf-8", newline="")  # as it is, so that `verify` sees every byte
    import tensorflow as tf

    scheme = path.partition("://")[0]
    if scheme not in tf.io.gfile.get_registered_schemes():
        folder = path.rpartition("/")[0]
        how = f"aws s3 cp --recursive {folder} DIR" if scheme == "s3" else f"from {folder} to DIR"
        raise ContractError(
            f"TensorFlow cannot read {scheme}://. Copy the dataset to a local folder and name that: {how}"
        )
    return tf.io.gfile.GFile(path, "r")


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _build(fields: Fields) -> Contract:
    return Contract(
        name=fields.text("name"),
        image_shape=_shape(fields),
        encoding=fields.one_of("encoding", ENCODINGS),
        labels=fields.texts("labels"),
        splits={name: _split(split) for name, split in fields.parts("splits").items()},
        normalization=_normalization(fields.part("normalization")),
        resize=fields.plain("resize"),
        decode=fields.plain("decode"),
        balance=fields.plain("balance"),
        augmentation=fields.plain("augmentation"),
        seed=fields.whole("seed", least=None),
        weighted=fields.truth("weighted"),
        config_digest=fields.digest("config_digest"),
        source_digest=fields.digest("source_digest"),
        transform_digest=fields.digest("transform_digest"),
        rejected=fields.counts("rejected"),
        versions=fields.plain("versions"),
        channel_order=fields.one_of("channel_order", ("RGB",)),
        dtype=fields.one_of("dtype", ("float32",)),
        files=fields.digests("files"),
    )


def _shape(fields: Fields) -> tuple[int, int, int]:
    height, width, channels = fields.three_numbers("image_shape")
    sides_fit = all(side.is_integer() and 1 <= side <= MAX_SIDE for side in (height, width))
    if not sides_fit or channels != 3:
        raise FieldError(f"image_shape should be (H, W, 3). Received: {(height, width, channels)}")
    return int(height), int(width), 3


def _split(fields: Fields) -> Split:
    shards = [
        Shard(item.text("file"), item.whole("records"), item.whole("bytes"), item.digest("sha256"))
        for item in fields.items("shards")
    ]
    return Split(fields.counts("natural"), fields.counts("stored"), fields.counts("copies"), tuple(shards))


def _normalization(fields: Fields) -> Normalization:
    made = Normalization(
        fields.one_of("mode", NORMALIZATIONS),
        *(fields.three_numbers(name) for name in ("mean", "std", "scale", "offset")),
    )
    if min(made.std) < 0 or 0 in made.scale:
        raise FieldError("normalization.std should be at least 0, and normalization.scale not 0")
    if not all(math.isfinite(end) for end in made.value_range):
        raise FieldError("normalization.scale and offset should map pixels 0..255 to finite numbers")
    return made


def _check(contract: Contract) -> None:
    """The fields against one another."""
    files = [shard.file for split in contract.splits.values() for shard in split.shards]
    if len(set(files)) != len(files):
        raise FieldError("splits: two shards should not have one file")
    for file in files:
        if not file or os.path.basename(file) != file or file.startswith(".") or "\0" in file:
            raise FieldError(f"splits: a shard's file should be a plain name. Received: {file!r}")
    for name, split in contract.splits.items():
        unknown = (set(split.natural) | set(split.stored) | set(split.copies)) - set(contract.labels)
        if unknown:
            raise FieldError(f"splits.{name} counts labels that are not in `labels`: {sorted(unknown)}")
        if any(count > split.stored.get(label, 0) for label, count in split.copies.items()):
            raise FieldError(f"splits.{name}.copies should be part of stored. Received: {dict(split.copies)}")
        stored = sum(split.stored.values())
        if stored != split.records:
            raise FieldError(f"splits.{name} stores {stored} records by class but its shards hold {split.records}")
