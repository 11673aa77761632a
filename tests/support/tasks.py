"""Tiny prepared datasets of several labels and of numbers, written without Beam or TensorFlow Transform.

Label 0 is that the picture is bright on top, label 1 that it is bright at the bottom; a picture may have both, or none.
The numbers are how bright the two halves are, in units of their own.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract, Shard, Split
from pipelines.contract.task import Task
from tests.support.datasets import Transform, encode, make_contract, normalization, seal, write_graph

LABELS = ("top", "bottom", "never")
NUMBERS = ("light", "depth")
SPLITS = {"train": 48, "validation": 16, "test": 20}
ADDED = 130  # gray levels of a bright half


def picture(index: int, shape: tuple[int, int, int] = (8, 8, 3)) -> tuple[np.ndarray, tuple[float, float]]:
    """Gray noise of its own seed, brighter in its halves by shares of ADDED: uint8 (H, W, 3), and the shares."""
    random = np.random.default_rng(index)
    pixels = random.integers(0, 120, shape).astype(np.float64)
    top, bottom = random.random(2)
    half = shape[0] // 2
    pixels[:half] += ADDED * top
    pixels[half:] += ADDED * bottom
    return pixels.astype(np.uint8), (float(top), float(bottom))


def target(kind: str, shares: tuple[float, float]) -> tuple[float, ...]:
    top, bottom = shares
    if kind == "multi-label":
        return float(top > 0.5), float(bottom > 0.5), 0.0
    return 100 + 20 * top, -5 * bottom


def write(
    directory: Path, kind: str, encoding: str = "uint8", weighted: bool = False, shards: int = 2, channels: int = 3
) -> Contract:
    """Writes a whole dataset directory of one kind of task."""
    contract = make_contract(
        encoding=encoding, normalization=normalization("zscore", channels), weighted=weighted, name=kind,
        image_shape=(8, 8, channels), channel_order=contracts.CHANNEL_ORDERS[channels],
        labels=LABELS if kind == "multi-label" else (),
        task=Task(kind) if kind == "multi-label" else Task(kind, NUMBERS, (0.0, 0.0), (1.0, 1.0)),
    )  # fmt: skip
    directory.mkdir(parents=True, exist_ok=True)
    splits, truth, first = {}, {}, 0
    for name, count in SPLITS.items():
        splits[name], truth[name] = _write_split(directory, contract, name, range(first, first + count), shards)
        first += count
    images = {name: {"natural": count, "stored": count, "copies": 0} for name, count in SPLITS.items()}
    task = Task(kind, images=images)
    if kind == "regression":
        train = truth["train"].astype(np.float64)
        columns = [tuple(f(train, axis=0).tolist()) for f in (np.mean, np.std, np.median, np.min, np.max)]
        task = Task(kind, NUMBERS, *columns, images=images)
    contract = dataclasses.replace(contract, splits=splits, task=task)
    write_graph(directory, contract, _Transform)
    return seal(directory, contract)


class _Transform(Transform):
    """The graph of a dataset of classes has a vocabulary; here it needs one only to have the same form."""

    def __init__(self, contract: Contract) -> None:
        super().__init__(dataclasses.replace(contract, labels=contract.labels or ("",)))


def _write_split(
    directory: Path, contract: Contract, name: str, indices: range, shards: int
) -> tuple[Split, np.ndarray]:
    shares = [picture(i, contract.image_shape)[1] for i in indices]
    made, truth = [], np.array([target(contract.task.kind, pair) for pair in shares], np.float32)
    for shard in range(shards):
        path = directory / f"tiny-{name}.tfrecord-{shard:05d}-of-{shards:05d}"
        members = list(indices)[shard::shards]
        with tf.io.TFRecordWriter(str(path)) as writer:
            for index in members:
                writer.write(record(contract, index))
        data = path.read_bytes()
        made.append(Shard(path.name, len(members), len(data), hashlib.sha256(data).hexdigest()))
    carried = {label: int(n) for label, n in zip(contract.labels, truth.sum(axis=0), strict=False)}
    return Split(natural=carried, stored=carried, copies=dict.fromkeys(carried, 0), shards=tuple(made)), truth


def record(contract: Contract, index: int) -> bytes:
    """A serialized tf.train.Example: picture `index`, of weight 1 + index % 2."""
    pixels, shares = picture(index, contract.image_shape)
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encode(contract, pixels)])),
        "target": tf.train.Feature(float_list=tf.train.FloatList(value=target(contract.task.kind, shares))),
        "weight": tf.train.Feature(float_list=tf.train.FloatList(value=[1 + index % 2])),
        "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"%016x-000" % index])),
    }
    return bytes(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True))
