"""Describes a prepared dataset: what it holds and how it was made.

Both programs share this module. `pipelines` writes `contract.json` as the last step of a run, so a directory that
contains it holds a complete dataset. `trainer` builds its input and its model from the contract and refuses data that
disagrees with it. `contract_file` reads it. The module imports no third-party library.

Pixels have the same meaning for every encoding. A model's input is a float32 tensor of shape (H, W, C), where C is 3
for RGB and 1 for gray:

    normalized[h, w, c] = float32(pixel[h, w, c]) * scale[c] + offset[c]

where `pixel` is the decoded and resized 8-bit image. `float16` records hold that value rounded to half precision.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from pipelines.contract.metadata import MetadataColumn
from pipelines.contract.task import CLASSES, ONE_CLASS, REGRESSION, Task
from pipelines.core.elements import UNLABELLED
from pipelines.core.errors import ContractError

FORMAT_VERSION = 1
FILE_NAME = "contract.json"
TRANSFORM_DIR = "transform_fn"
ENCODINGS = ("float16", "float32", "uint8", "jpeg", "png")
RAW_DTYPES = {"float16": "float16", "float32": "float32", "uint8": "uint8"}
NORMALIZATIONS = ("zscore", "unit", "symmetric", "imagenet", "none")
SHORTER = "shorter"  # the resize mode whose records have sizes of their own
RESIZE_MODES = ("stretch", "crop", "pad", "none", SHORTER)
FILTERS = ("area", "bilinear")
KEY_BYTES = 20  # 16 hex digits of the source key's hash, '-', 3 digits of the copy number
MAX_CONTRACT_BYTES = 64 << 20
MAX_SIDE = 8192  # pixels
CHANNEL_ORDERS = {3: "RGB", 1: "L"}  # number of channels -> `channel_order` of images that are no bands
BANDS = "bands"  # `channel_order` of images whose channels are bands of a TIFF


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
      natural: Images per label that belong to the split, before balancing. An image of several labels counts for each
        of them, and a regression has no labels; `Task.images` has the numbers of all images then.
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

    Each tuple has one number per channel, in the order of the channels.

    Attributes:
      mode: One of NORMALIZATIONS.
      mean, std: Statistics of the original images of the train split, in gray levels (0..255). `std` comes from the
        biased variance. They are recorded for every mode.
      scale, offset: float32 numbers of the map: normalized = pixel * scale + offset. A constant channel (std 0) has the
        scale 1.
    """

    mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]

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
      image_shape: Height, width and number of channels of the stored images; if `is_uneven`, of the centre of each.
      channel_order: "RGB", "L" for gray images of one channel, or "bands"; `decode` has the numbers of the bands.
      files: Maps the path of every file other than the shards and the contract to its SHA-256 in hex. It is empty in
        contracts that were written before this field existed.
      classes: What --classes says: `labels` maps each label of the input to its class, or to "" if it is left out, and
        `others` is the class of all other labels. It is empty where labels are classes.
      like: What --like says: `name` and `contract_digest` of the earlier dataset, and the images that are `kept`, `new`
        and `gone`. It is empty without that option.
      task: What a model of the dataset answers.
      folds: What --folds says: `count`, the folds into which train is divided, and `repeats`, how often. The file
        folds.json beside the shards has the fold of each record. It is empty without that option.
      unlabelled: The images without a label, if `prepare` was told of any; else None. It is no member of `splits`, so
        that who trains or counts labels does not meet it; its counts by label are empty. A record of it has the
        label -1, or a `target` of NaNs.
      metadata: The columns that --keep names; see `pipelines.contract.metadata`. It is empty without that option.
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
    classes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    like: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    task: Task = ONE_CLASS
    folds: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unlabelled: Split | None = None
    metadata: tuple[MetadataColumn, ...] = ()

    @property
    def all_splits(self) -> Mapping[str, Split]:
        """Returns `splits`, and the images without a label as the split "unlabelled"."""
        return self.splits if self.unlabelled is None else {**self.splits, UNLABELLED: self.unlabelled}

    @property
    def is_uneven(self) -> bool:
        """Tells whether each record holds an image of its own height and width.

        The shorter side is that of `image_shape`, which is square. Readers get the centre of `image_shape`.
        """
        return self.resize.get("mode") == SHORTER

    @property
    def target_width(self) -> int:
        """Returns the number of values of a record's `target`.

        It is 0 for classes, whose records have a `label` instead.
        """
        if self.task.kind == CLASSES:
            return 0
        return len(self.task.targets) if self.task.kind == REGRESSION else len(self.labels)

    @property
    def value_range(self) -> tuple[float, float]:
        """Returns the least and greatest value that a normalized pixel can have."""
        return self.normalization.value_range

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Returns a name for each channel, such as "red", "gray" or "band 4"."""
        if self.channel_order == BANDS:
            return tuple(f"band {band}" for band in self.decode.get("bands", range(1, self.image_shape[2] + 1)))
        return ("gray",) if self.channel_order == "L" else ("red", "green", "blue")

    @property
    def digest(self) -> str:
        """Returns the `contract_digest` of contract.json.

        It is the SHA-256, in hex, of the text of contract.json without that field.
        """
        return hashlib.sha256(self.to_json(sealed=False).encode("utf-8", "backslashreplace")).hexdigest()

    def split(self, name: str) -> Split:
        """Returns the split with this name; "unlabelled" has the images without a label.

        Raises:
          ContractError: There is no such split. The message lists the splits that exist.
        """
        if name not in self.all_splits:
            raise ContractError(f"No split {name!r} in dataset {self.name!r}: it has {', '.join(self.all_splits)}.")
        return self.all_splits[name]

    def shard_paths(self, directory: str, split: str) -> list[str]:
        """Returns the paths of a split's shards below `directory`, in shard order.

        Raises:
          ContractError: There is no such split.
        """
        return [os.path.join(directory, shard.file) for shard in self.split(split).shards]

    def priors(self, split: str, kind: str = "natural") -> tuple[float, ...]:
        """Returns the frequencies of the labels in a split, in order of the label ids.

        Args:
          split: Name of the split.
          kind: "natural" (before balancing) or "stored".

        Returns:
          One frequency per label. Those of classes sum to 1. Those of several labels an image are the shares of the
            images that carry them. All are 0 if the split is empty; a regression has none.

        Raises:
          ContractError: There is no such split.
        """
        counts = getattr(self.split(split), kind)
        total = sum(counts.values()) if self.task.kind == CLASSES else self.task.images.get(split, {}).get(kind, 0)
        return tuple(counts.get(label, 0) / total if total else 0.0 for label in self.labels)

    def to_json(self, sealed: bool = True) -> str:
        """Returns the text of contract.json.

        Keys are sorted, so that equal contracts give equal bytes.

        Args:
          sealed: Whether to add `contract_digest`, the SHA-256 of the text without that field. It reveals damage, but
            not forgery.
        """
        data = dataclasses.asdict(self)
        data["task"] = self.task.noted()
        data["metadata"] = [column.noted() for column in self.metadata]
        for name in ("files", "classes", "like", "task", "folds", "unlabelled", "metadata"):
            if not data[name]:
                del data[name]
        if self.unlabelled is not None:
            data["unlabelled"] = {"records": self.unlabelled.records, "shards": data["unlabelled"]["shards"]}
        data["value_range"] = list(self.value_range)
        for name in self.splits:
            data["splits"][name]["records"] = self.splits[name].records
            data["splits"][name]["priors"] = {
                kind: dict(zip(self.labels, self.priors(name, kind), strict=True)) for kind in ("natural", "stored")
            }
        if sealed:
            data["contract_digest"] = self.digest
        return _json(data)


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
