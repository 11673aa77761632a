"""Tiny prepared datasets, written without Beam or TensorFlow Transform, whose every number a person can check."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract, Normalization, Shard, Split
from pipelines.contract.task import TARGET_COLUMNS

DIGEST = "0" * 64
AFFINES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "zscore": ((1 / 64, 1 / 64, 1 / 64), (-2.0, -2.0, -2.0)),
    "unit": ((1 / 255, 1 / 255, 1 / 255), (0.0, 0.0, 0.0)),
    "symmetric": ((2 / 255, 2 / 255, 2 / 255), (-1.0, -1.0, -1.0)),
    "imagenet": ((1 / 58.395, 1 / 57.12, 1 / 57.375), (-2.1179, -2.0357, -1.8044)),
    "none": ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
}


def normalization(mode: str, channels: int = 3) -> Normalization:
    scale, offset = (values[:channels] for values in AFFINES[mode])
    return Normalization(mode, mean=(128.0,) * channels, std=(64.0,) * channels, scale=scale, offset=offset)


def make_contract(**changes: Any) -> Contract:
    """A contract of two classes and 8x8 images with no records, changed as asked."""
    base = Contract(
        name="tiny", image_shape=(8, 8, 3), encoding="float32", labels=("ok", "broken"), splits={},
        normalization=normalization("zscore"), resize={"mode": "stretch"},
        decode={"background": [255, 255, 255]}, balance={}, augmentation={},
        seed=0, weighted=False, config_digest=DIGEST, source_digest=DIGEST, transform_digest=DIGEST, rejected={},
        versions={},
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def picture(index: int, label: int, shape: tuple[int, int, int] = (8, 8, 3)) -> np.ndarray:
    """uint8 (H, W, 3): gray noise of its own seed, with class 0 bright on top and class 1 bright at the bottom.

    The pixel at the top left holds `index` in its red channel: what a test counts records by.
    """
    pixels = np.random.default_rng(index).integers(0, 120, shape, dtype=np.uint8)
    half = shape[0] // 2
    pixels[:half] += np.uint8(130 * (label == 0))
    pixels[half:] += np.uint8(130 * (label == 1))
    pixels[0, 0, 0] = index % 256
    return pixels


def encode(contract: Contract, pixels: np.ndarray) -> bytes:
    """The `image` feature of a record."""
    if contract.encoding == "png":
        return bytes(tf.io.encode_png(pixels).numpy())
    if contract.encoding == "jpeg":
        return bytes(tf.io.encode_jpeg(pixels, quality=95).numpy())
    if contract.encoding == "uint8":
        return pixels.tobytes()
    return contracts.normalize(contract, tf.constant(pixels)).numpy().astype(contract.encoding).tobytes()


def write_dataset(
    directory: Path,
    *,
    encoding: str = "float32",
    mode: str = "zscore",
    labels: Sequence[str] = ("ok", "broken"),
    splits: Mapping[str, Sequence[int]] | None = None,
    shards: int = 2,
    shape: tuple[int, int, int] = (8, 8, 3),
    weighted: bool = False,
) -> Contract:
    """Writes a whole dataset directory. `splits`: name -> records of each class; records alternate over the shards."""
    splits = {"train": (24, 8), "validation": (6, 6), "test": (9, 3)} if splits is None else splits
    contract = make_contract(
        encoding=encoding, normalization=normalization(mode, shape[2]), labels=tuple(labels), image_shape=shape,
        weighted=weighted, channel_order=contracts.CHANNEL_ORDERS[shape[2]],
    )  # fmt: skip
    directory.mkdir(parents=True, exist_ok=True)
    written = {name: _write_split(directory, contract, name, counts, shards) for name, counts in splits.items()}
    contract = dataclasses.replace(contract, splits=written)
    write_graph(directory, contract, Transform)
    return seal(directory, contract)


_GRAPHS: dict[tuple[object, ...], dict[str, bytes]] = {}  # name -> content of the files of each


def write_graph(directory: Path, contract: Contract, made: Callable[[Contract], tf.Module]) -> None:
    """Writes the transform graph of a contract. TensorFlow saves equal ones of a process only once: it takes its time.

    Args:
      made: of the contract's images, labels and targets.
    """
    parts = (contract.image_shape, contract.encoding, contract.labels, contract.normalization, contract.task.targets)
    key = (made, *map(repr, parts))
    if key not in _GRAPHS:
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(made(contract), folder)
            files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
            _GRAPHS[key] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    for name, content in _GRAPHS[key].items():
        path = directory / contracts.TRANSFORM_DIR / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def seal(directory: Path, contract: Contract) -> Contract:
    """Writes the contract of a dataset with the digest of the graph that is there."""
    graph = (directory / contracts.TRANSFORM_DIR / "saved_model.pb").read_bytes()
    contract = dataclasses.replace(contract, transform_digest=hashlib.sha256(graph).hexdigest())
    (directory / contracts.FILE_NAME).write_text(contract.to_json(), encoding="utf-8")
    return contract


def _write_split(directory: Path, contract: Contract, name: str, counts: Sequence[int], shards: int) -> Split:
    ids = [label for label, count in enumerate(counts) for _ in range(count)]
    ids = [ids[i] for i in np.random.default_rng(1).permutation(len(ids))]
    made = []
    for shard in range(shards):
        path = directory / f"tiny-{name}.tfrecord-{shard:05d}-of-{shards:05d}"
        members = range(shard, len(ids), shards)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for index in members:
                writer.write(record(contract, index, ids[index]))
        data = path.read_bytes()
        made.append(Shard(path.name, len(members), len(data), hashlib.sha256(data).hexdigest()))
    by_label = dict(zip(contract.labels, counts, strict=True))
    return Split(natural=by_label, stored=by_label, copies=dict.fromkeys(contract.labels, 0), shards=tuple(made))


def record(contract: Contract, index: int, label: int) -> bytes:
    """A serialized tf.train.Example: picture `index`, of weight index / 2."""
    image = encode(contract, picture(index, label, contract.image_shape))
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "weight": tf.train.Feature(float_list=tf.train.FloatList(value=[index / 2])),
        "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"%016x-000" % index])),
    }
    return bytes(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True))


class Transform(tf.Module):
    """What TensorFlow Transform saves, in small: `transform_fn` of a dict of columns."""

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        self._contract = contract
        self.vocabulary = tf.constant(contract.labels)
        widths = contracts.analysis_columns(contract.image_shape[2])
        targets = contract.task.targets
        numbers = TARGET_COLUMNS if targets else {}
        self.transform_fn = tf.function(
            self._transform,
            input_signature=[
                {
                    "image": tf.TensorSpec((None,), tf.string),
                    "label": tf.TensorSpec((None,), tf.string),
                    **{name: tf.TensorSpec((None, width), tf.int64) for name, width in widths.items()},
                    **{name: tf.TensorSpec((None, len(targets)), dtype) for name, dtype in numbers.items()},
                }
            ],
        )

    def _transform(self, columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        height, width, channels = self._contract.image_shape

        def pixels(encoded: tf.Tensor) -> tf.Tensor:
            image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
            return tf.ensure_shape(tf.round(tf.image.resize(image, (height, width), "area")), (height, width, channels))

        images = tf.map_fn(pixels, columns["image"], fn_output_signature=tf.float32)
        ids = tf.argmax(columns["label"][:, None] == self.vocabulary[None, :], axis=1)
        normalized = contracts.normalize(self._contract, images)
        if self._contract.encoding == "float16":  # rounded as the records are
            normalized = tf.cast(tf.cast(normalized, tf.float16), tf.float32)
        return {"image": normalized, "label": ids}


def masked(data):
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def frame(data):
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)
