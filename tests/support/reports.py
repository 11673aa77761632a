"""A dataset small enough to check by hand: four 2x2 images of flat gray in two shards, and the summary of its run."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines.contract import Contract, Normalization, Shard, Split
from pipelines.core.summary import ClassCounts, Duplicates, Rejected, Summary, Thumbnail

# normalized = pixel / 50 - 2: 0 -> -2, 100 -> 0, 255 -> 3.1
NORMALIZATION = Normalization("zscore", (100.0,) * 3, (50.0,) * 3, (0.02,) * 3, (-2.0,) * 3)
TRAIN, TEST = "tiny-train.tfrecord-00000-of-00001", "tiny-test.tfrecord-00000-of-00001"
# (split file, label, gray level, copy) of each record, in order; "sound" has id 0.
RECORDS = ((TRAIN, "sound", 100, 0), (TRAIN, "cracked", 200, 0), (TRAIN, "cracked", 220, 1), (TEST, "sound", 0, 0))


def jpeg(gray: int, side: int = 4) -> str:
    """A flat picture as JPEG in base64."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), (gray, gray, gray)).save(out, "JPEG")
    return base64.b64encode(out.getvalue()).decode()


def contract(**changes: Any) -> Contract:
    """The contract of RECORDS; a shard's digest and size are made up unless `write_dataset` replaces them."""
    splits = {
        "test": Split({"sound": 1}, {"sound": 1}, {}, (Shard(TEST, 1, 100, "b" * 64),)),
        "train": Split(
            {"sound": 1, "cracked": 1},
            {"sound": 1, "cracked": 2},
            {"cracked": 1},
            (Shard(TRAIN, 3, 3000, "a" * 64),),
        ),
    }
    made = Contract(
        name="tiny",
        image_shape=(2, 2, 3),
        encoding="float32",
        labels=("sound", "cracked"),
        splits=splits,
        normalization=NORMALIZATION,
        resize={"mode": "stretch", "filter": "area"},
        decode={},
        balance={"mode": "uniform"},
        augmentation={"flip": 1.0},
        seed=0,
        weighted=False,
        config_digest="c" * 64,
        source_digest="d" * 64,
        transform_digest="e" * 64,
        rejected={"empty": 1},
        versions={"python": "3.11.9"},
    )
    return dataclasses.replace(made, **changes)


def summary(**changes: Any) -> Summary:
    """The summary of RECORDS: 4 read, of which 1 rejected; the cracked image has one copy."""
    flat = [[0] * 256 for _ in range(3)]
    for channel in flat:
        channel[100] = channel[200] = 4
    made = Summary(
        read=4,
        classes={
            "test": {"sound": ClassCounts(1, 1)},
            "train": {"sound": ClassCounts(1, 1), "cracked": ClassCounts(1, 2, 1)},
        },
        rejected={"empty": 1},
        rejects=(Rejected("in/cracked/e.jpg", "cracked", "", "", "fingerprint", "empty", "The file is empty."),),
        formats={"jpeg": 3},
        conversions={"gray": 1},
        widths={16: 2, 32: 1},
        heights={16: 3},
        file_bytes={1024: 2, 4096: 1},
        pixel_histogram={"test": flat, "train": flat},
        duplicate_groups=1,
        conflicting_groups=1,
        straddling_groups=0,
        duplicates=(Duplicates("f" * 64, (("in/a.jpg", "sound", "train"), ("in/b.jpg", "cracked", "train"))),),
        thumbnails=(
            Thumbnail("in/cracked/b.jpg", "cracked", "train", 1, 20, 30, jpeg(200), jpeg(220)),
            Thumbnail("in/cracked/b.jpg", "cracked", "train", 0, 20, 30, jpeg(200), jpeg(200)),
        ),
        settings={"size": (2, 2), "splits": {"train": 0.5, "test": 0.5}},
        engine={"runner": "FnApiRunner", "seconds": 1.5, "images_per_second": 2.0},
        warnings=("Class cracked has no images in test.",),
    )
    return dataclasses.replace(made, **changes)


def write_dataset(directory: Path, encoding: str = "float32") -> Contract:
    """Writes RECORDS, their ledger, the contract and the sources (except that of the test record) under `directory`."""
    made = contract(encoding=encoding)
    (directory / "ledger").mkdir(parents=True)
    sources = directory / "sources"
    sources.mkdir()
    lines: dict[str, list[str]] = {TRAIN: [], TEST: []}
    examples: dict[str, list[bytes]] = {TRAIN: [], TEST: []}
    for i, (file, label, gray, copy) in enumerate(RECORDS):
        uri = sources / f"{label}{gray}.png"
        if file == TRAIN:
            Image.new("RGB", (40, 20), (gray, gray, gray)).save(uri)
        entry = {"key": f"{i:020d}", "uri": str(uri), "label": label, "digest": "0" * 64, "copy": copy}
        lines[file].append(json.dumps(entry))
        examples[file].append(_example(_encode(gray, encoding), made.labels.index(label), entry["key"]))
    for file, members in examples.items():
        with tf.io.TFRecordWriter(str(directory / file)) as writer:
            for member in members:
                writer.write(member)
        (directory / "ledger" / f"{file}.jsonl").write_text("\n".join(lines[file]) + "\n", encoding="utf-8")
    splits = {name: dataclasses.replace(s, shards=(_shard(directory, s.shards[0]),)) for name, s in made.splits.items()}
    made = dataclasses.replace(made, splits=splits)
    (directory / "contract.json").write_text(made.to_json(), encoding="utf-8")
    return made


def _shard(directory: Path, shard: Shard) -> Shard:
    data = (directory / shard.file).read_bytes()
    return dataclasses.replace(shard, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _encode(gray: int, encoding: str) -> bytes:
    pixels = np.full((2, 2, 3), gray, np.uint8)
    if encoding == "uint8":
        return pixels.tobytes()
    if encoding == "png":
        return tf.io.encode_png(pixels).numpy()
    return (pixels * np.float32(0.02) - np.float32(2)).astype(f"<{np.dtype(encoding).str[1:]}").tobytes()


def _example(image: bytes, label: int, key: str) -> bytes:
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "weight": tf.train.Feature(float_list=tf.train.FloatList(value=[1.0])),
        "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[key.encode()])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
