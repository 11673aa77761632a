"""Checks a dataset against its contract: every file, size, digest, record, count and sidecar."""

from __future__ import annotations

import collections
import json
import os
from collections.abc import Iterator

from pipelines import contract as contracts
from pipelines import sidecars, storage
from pipelines.contract import Contract, Shard


def verify(directory: str) -> list[str]:
    """Everything that is wrong with the dataset, a sentence each; empty if it is whole.

    Raises:
      ContractError: there is no contract to check against.
    """
    contract = contracts.load(directory)
    return list(_problems(directory, contract))


def _problems(directory: str, contract: Contract) -> Iterator[str]:
    yield from _stray_files(directory, contract)
    for name, split in contract.splits.items():
        found: collections.Counter[str] = collections.Counter()
        intact = True
        for shard in split.shards:
            problems = list(_shard_problems(directory, shard))
            if not problems:
                problems = list(_record_problems(directory, contract, shard, found))
            intact = intact and not problems
            yield from problems
        if intact and dict(found) != {label: n for label, n in split.stored.items() if n}:
            yield f"Split {name} should hold {dict(split.stored)} records by class. It holds {dict(found)}."
    yield from _sidecar_problems(directory, contract)


def _stray_files(directory: str, contract: Contract) -> Iterator[str]:
    named = {shard.file for split in contract.splits.values() for shard in split.shards}
    for file in storage.children(directory):
        if ".tfrecord-" in file and file not in named:
            yield f"{file} is not in the contract: a stale or foreign shard. Remove it."


def _shard_problems(directory: str, shard: Shard) -> Iterator[str]:
    path = storage.join(directory, shard.file)
    if not storage.exists(path):
        yield f"{shard.file} is missing."
        return
    sha256, size = storage.digest_and_size(path)
    if size != shard.bytes:
        yield f"{shard.file} should have {shard.bytes} bytes. It has {size}."
    elif sha256 != shard.sha256:
        yield f"{shard.file} has another content than when it was written (SHA-256 differs)."


def _record_problems(
    directory: str, contract: Contract, shard: Shard, found: collections.Counter[str]
) -> Iterator[str]:
    """Reads a shard whose digest is right: the contract's counts, the labels, the image sizes and the ledger."""
    import tensorflow as tf

    path = storage.join(directory, shard.file)
    keys = []
    raw_bytes = _raw_image_bytes(contract)
    for index, serialized in enumerate(tf.data.TFRecordDataset(path)):
        parsed = tf.io.parse_single_example(serialized, contracts.feature_spec(contract))
        label, image = int(parsed["label"]), len(parsed["image"].numpy())
        keys.append(parsed["key"].numpy().decode())
        if not 0 <= label < len(contract.labels):
            yield f"{shard.file}, record {index}: label {label} is outside 0..{len(contract.labels) - 1}."
            continue
        if raw_bytes and image != raw_bytes:
            yield f"{shard.file}, record {index}: the image should have {raw_bytes} bytes. It has {image}."
        found[contract.labels[label]] += 1
    if len(keys) != shard.records:
        yield f"{shard.file} should hold {shard.records} records. It holds {len(keys)}."
    ledger = storage.join(directory, "ledger", f"{shard.file}.jsonl")
    try:
        listed = [json.loads(line)["key"] for line in storage.read_text(ledger).split("\n") if line]
    except (OSError, ValueError, KeyError) as e:
        yield f"ledger/{shard.file}.jsonl cannot be read: {type(e).__name__}: {e}"
        return
    if listed != keys:
        yield f"ledger/{shard.file}.jsonl names other records than the shard holds."


def _raw_image_bytes(contract: Contract) -> int:
    width = {"float16": 2, "float32": 4, "uint8": 1}.get(contract.encoding, 0)
    return contract.image_shape[0] * contract.image_shape[1] * contract.image_shape[2] * width


def _sidecar_problems(directory: str, contract: Contract) -> Iterator[str]:
    for name, text in sidecars.tfds_files(contract).items():
        path = storage.join(directory, name)
        if not storage.exists(path):
            yield f"{name} is missing."
        elif storage.read_text(path) != text:
            yield f"{name} disagrees with the contract."
    graph = storage.join(directory, contracts.TRANSFORM_DIR, "saved_model.pb")
    if not storage.exists(graph):
        yield f"{os.path.join(contracts.TRANSFORM_DIR, 'saved_model.pb')} is missing."
    elif storage.digest_and_size(graph)[0] != contract.transform_digest:
        yield "The transform graph is not the one that the contract names."
