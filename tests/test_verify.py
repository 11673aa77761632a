"""Every kind of damage that `verify` promises to find, done to a real dataset."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import struct
from collections.abc import Callable

import pytest
import tensorflow as tf

from pipelines import contract, verify


@pytest.fixture
def dataset(prepared, tmp_path) -> pathlib.Path:
    target = tmp_path / "insects"
    shutil.copytree(prepared[0], target)
    return target


def shard(dataset: pathlib.Path) -> pathlib.Path:
    return dataset / "insects-train.tfrecord-00000-of-00002"


def frames(path: pathlib.Path) -> list[bytes]:
    """The framed records of a TFRecord file: 8 bytes length, 4 CRC, data, 4 CRC."""
    data, out = path.read_bytes(), []
    while data:
        size = 16 + struct.unpack("<Q", data[:8])[0]
        out.append(data[:size])
        data = data[size:]
    return out


def rewritten(dataset: pathlib.Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Changes a shard's records and puts the new size and digest into the contract, as a careful forger would."""
    import hashlib

    path = shard(dataset)
    path.write_bytes(b"".join(change(frames(path))))
    old = contract.load(dataset)
    split = old.splits["train"]
    fixed = dataclasses.replace(
        split.shards[0], bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
    )
    new_split = dataclasses.replace(split, shards=(fixed, *split.shards[1:]))
    new = dataclasses.replace(old, splits={**old.splits, "train": new_split})
    (dataset / "contract.json").write_text(new.to_json())


def test_a_whole_dataset_has_no_problems(dataset):
    assert verify.verify(str(dataset)) == []


def test_a_flipped_bit(dataset):
    data = bytearray(shard(dataset).read_bytes())
    data[len(data) // 2] ^= 1
    shard(dataset).write_bytes(data)
    assert verify.verify(str(dataset)) == [
        "insects-train.tfrecord-00000-of-00002 has another content than when it was written (SHA-256 differs)."
    ]


@pytest.mark.parametrize("keep", [-1, 0.5, 0])
def test_a_cut_shard(dataset, keep):
    """At a record's boundary, inside a record, and to nothing."""
    whole = frames(shard(dataset))
    data = b"".join(whole)
    cut = {-1: b"".join(whole[:-1]), 0.5: data[: len(data) // 2 + 3], 0: b""}[keep]
    shard(dataset).write_bytes(cut)
    problems = verify.verify(str(dataset))
    assert problems == [f"{shard(dataset).name} should have {len(data)} bytes. It has {len(cut)}."]


def test_missing_and_foreign_shards(dataset):
    shard(dataset).rename(dataset / "insects-train.tfrecord-00000-of-00003")
    problems = verify.verify(str(dataset))
    assert "insects-train.tfrecord-00000-of-00002 is missing." in problems
    assert any(p.startswith("insects-train.tfrecord-00000-of-00003 is not in the contract") for p in problems)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f[1:], "holds"),  # dropped
        (lambda f: [*f, f[0]], "holds"),  # repeated
        (lambda f: [f[1], f[0], *f[2:]], "names other records"),  # swapped
    ],
)
def test_changed_records_under_a_forged_digest(dataset, change, expected):
    rewritten(dataset, change)
    problems = verify.verify(str(dataset))
    assert problems
    assert any(expected in p for p in problems)


def test_a_label_outside_the_vocabulary(dataset):
    def relabel(framed: list[bytes]) -> list[bytes]:
        message = tf.train.Example.FromString(framed[0][12:-4])
        message.features.feature["label"].int64_list.value[0] = 9
        path = dataset / "one"
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(message.SerializeToString())
        first = path.read_bytes()
        path.unlink()
        return [first, *framed[1:]]

    rewritten(dataset, relabel)
    assert f"{shard(dataset).name}, record 0: label 9 is outside 0..2." in verify.verify(str(dataset))


def test_class_counts_that_disagree(dataset):
    data = json.loads((dataset / "contract.json").read_text())
    stored = data["splits"]["train"]["stored"]
    stored["ant"], stored["bee"] = stored["ant"] - 1, stored["bee"] + 1
    (dataset / "contract.json").write_text(json.dumps(data))
    assert any(p.startswith("Split train should hold") for p in verify.verify(str(dataset)))


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json", "label.labels.txt"])
def test_sidecars_that_disagree(dataset, name):
    path = dataset / name
    path.write_text(path.read_text().replace("ant", "cow").replace("24", "25").replace("float16", "float32") + " ")
    assert f"{name} disagrees with the contract." in verify.verify(str(dataset))
    path.unlink()
    assert f"{name} is missing." in verify.verify(str(dataset))


def test_another_transform_graph(dataset):
    path = dataset / "transform_fn/saved_model.pb"
    path.write_bytes(path.read_bytes() + b"\0")
    assert "The transform graph is not the one that the contract names." in verify.verify(str(dataset))


def test_no_contract_says_what_to_do(dataset):
    (dataset / "contract.json").unlink()
    with pytest.raises(contract.ContractError, match="its preparation did not finish"):
        verify.verify(str(dataset))
