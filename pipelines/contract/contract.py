"""Describes a prepared dataset: what it holds and how it was made.

Both programs share this module. `pipelines` writes `contract.json` as the last step of a run, so a directory that
contains it holds a complete dataset. `trainer` builds its input and its model from the contract and refuses data that
disagrees with it. The module imports no third-party library. TensorFlow is imported inside the functions that need it,
so that reading a contract costs milliseconds.

Pixels have the same meaning for every encoding. A model's input is a float32 tensor of shape (H, W, 3), RGB:

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
from typing import Any

from pipelines.contract import json_fields
from pipelines.contract.json_fields import FieldError, Fields
from pipelines.core.errors import ContractError
from pipelines.core.urls import is_remote, scheme_of

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
    """Describes one TFRecord file.

    Attributes:
      file: Name, relative to the dataset directory.
      records: Number of records.
      bytes: Size in bytes.
      sha256: SHA-256 of the content, in hex.
    """

    file: str
    records: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Split:
    """Holds the counts and the files of one split.

    Attributes:
      natural: Images per label that belong to the split, before balancing.
      stored: Records per label in the shards, copies included.
      copies: Augmented copies per label; `stored` includes them. stored - copies + undersampled = natural.
      shards: The files, in shard order.
    """

    natural: Mapping[str, int]
    stored: Mapping[str, int]
    copies: Mapping[str, int]
    shards: tuple[Shard, ...]

    @property
    def records(self) -> int:
        """Returns the number of records in all shards, copies included."""
        return sum(shard.records for shard in self.shards)


@dataclasses.dataclass(frozen=True)
class Normalization:
    """Holds the affine map from 8-bit pixels to the values that a model sees.

    Each tuple has one number per channel, in RGB order.

    Attributes:
      mode: One of NORMALIZATIONS.
      mean, std: Statistics of the original images of the train split, in gray levels (0..255). `std` comes from the
        biased variance. They are recorded for every mode.
      scale, offset: float32 numbers of the map: normalized = pixel * scale + offset. A constant channel (std 0) has the
        scale 1.
    """

    mode: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]

    @property
    def value_range(self) -> tuple[float, float]:
        """Returns the least and greatest value that any pixel 0..255 can map to."""
        ends = [p * s + o for s, o in zip(self.scale, self.offset, strict=True) for p in (0.0, 255.0)]
        return min(ends), max(ends)


@dataclasses.dataclass(frozen=True)
class Contract:
    """Holds everything that a reader has to know about a prepared dataset.

    `docs/dataset.md` describes the JSON form and the fields.

    Attributes:
      files: Maps the path of every file other than the shards and the contract to its SHA-256 in hex. It is empty in
        contracts that were written before this field existed.
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
        """Returns the least and greatest value that a normalized pixel can have."""
        return self.normalization.value_range

    @property
    def digest(self) -> str:
        """Returns the `contract_digest` of contract.json.

        It is the SHA-256, in hex, of the text of contract.json without that field.
        """
        return hashlib.sha256(self.to_json(sealed=False).encode("utf-8", "backslashreplace")).hexdigest()

    def split(self, name: str) -> Split:
        """Returns the split with this name.

        Raises:
          ContractError: There is no such split. The message lists the splits that exist.
        """
        if name not in self.splits:
            raise ContractError(f"No split {name!r} in dataset {self.name!r}: it has {', '.join(self.splits)}.")
        return self.splits[name]

    def shard_paths(self, directory: str, split: str) -> list[str]:
        """Returns the paths of a split's shards below `directory`, in shard order.

        Raises:
          ContractError: There is no such split.
        """
        return [os.path.join(directory, shard.file) for shard in self.split(split).shards]

    def priors(self, split: str, kind: str = "natural") -> tuple[float, ...]:
        """Returns the class frequencies of a split, in order of the label ids.

        Args:
          split: Name of the split.
          kind: "natural" (before balancing) or "stored".

        Returns:
          One frequency per label. They sum to 1; all are 0 if the split is empty.

        Raises:
          ContractError: There is no such split.
        """
        counts = getattr(self.split(split), kind)
        total = sum(counts.values())
        return tuple(counts.get(label, 0) / total if total else 0.0 for label in self.labels)

    def to_json(self, sealed: bool = True) -> str:
        """Returns the text of contract.json.

        Keys are sorted, so that equal contracts give equal bytes.

        Args:
          sealed: Whether to add `contract_digest`, the SHA-256 of the text without that field. It reveals damage, but
            not forgery.
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
    """Parses and checks the text of a contract.json.

    Fields that this version does not know are ignored.

    Args:
      text: The complete text of the file.

    Returns:
      The contract.

    Raises:
      ContractError: The text is not JSON, a field is missing or has the wrong form, the format version is not
        FORMAT_VERSION, or the counts of a split do not add up.

    Example:
      >>> from pipelines import contract
      >>> text = contract.read_text("tests/data/format_1/uint8")
      >>> contract.from_json(text).image_shape
      (8, 8, 3)
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
    """Reads and checks DIRECTORY/contract.json.

    Args:
      directory: The dataset directory: a local path, or one that TensorFlow's file systems can read.
      opened: Opens a path as a text file, for callers that read from other places. It may raise OSError.

    Returns:
      The contract.

    Raises:
      ContractError: There is no contract (the dataset is incomplete, or the directory is no dataset), or the contract
        cannot be used.

    Example:
      >>> from pipelines import contract
      >>> eggs = contract.load("tests/data/format_1/uint8")
      >>> eggs.labels, eggs.split("train").records
      (('cracked', 'sound'), 15)
    """
    return from_json(read_text(directory, opened))


def read_text(directory: str | os.PathLike[str], opened: Callable[[str], Any] | None = None) -> str:
    """Reads the text of DIRECTORY/contract.json without parsing it.

    Args:
      directory: The dataset directory: a local path, or one that TensorFlow's file systems can read.
      opened: Opens a path as a text file, for callers that read from other places. It may raise OSError.

    Returns:
      The complete text, with its line ends as they are.

    Raises:
      ContractError: The file is missing or unreadable, or it is longer than MAX_CONTRACT_BYTES.

    Example:
      >>> from pipelines import contract
      >>> text = contract.read_text("tests/data/format_1/uint8")
      >>> text == contract.from_json(text).to_json()
      True
    """
    path = os.path.join(os.fspath(directory), FILE_NAME)
    try:
        with (opened or _open)(path) as file:
            text = file.read(MAX_CONTRACT_BYTES + 1)
    except ContractError:
        raise
    except Exception as e:  # gfile raises tf.errors.*, open raises OSError; callers handle both alike
        raise ContractError(
            f"No readable {FILE_NAME} in {os.fspath(directory)!r} ({type(e).__name__}): it is not a prepared dataset, "
            "or its preparation did not finish. Run `python -m pipelines prepare --output` on it."
        ) from e
    if len(text) > MAX_CONTRACT_BYTES:
        raise ContractError(f"{path} is larger than {MAX_CONTRACT_BYTES >> 20} MiB: it is not a contract.")
    return str(text)


def _open(path: str) -> Any:
    if not is_remote(path):
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError("not a regular file")  # opening a FIFO could block for ever
        return open(path, encoding="utf-8", newline="")  # keeps line ends, so that `verify` sees every byte
    import tensorflow as tf

    scheme = scheme_of(path)
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
    """Checks the fields against one another.

    Raises:
      FieldError: Two fields contradict each other, or a shard's file is not a plain name.
    """
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
