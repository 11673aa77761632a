import hashlib
import json
import pathlib
import struct

import numpy as np
import pytest

from trainer.config import TrainerError
from trainer.training import checkpoint_file
from trainer.training.checkpoint_file import DamagedError

ARRAYS = {
    "model": [np.arange(6, dtype=np.float32).reshape(2, 3), np.float32(7.5), np.zeros((0, 4), np.int64)],
    "best": [],
    "seed": [np.array([1, 2**32 - 1], np.uint32)],
}


def written(folder, step):
    return checkpoint_file.write(folder, step, {"step": step, "loss": 0.1}, ARRAYS)


def test_what_is_written_is_read(tmp_path):
    found = checkpoint_file.read(written(tmp_path / "c", 3))
    assert found.state == {"step": 3, "loss": 0.1}
    assert list(found.arrays) == ["model", "seed"]  # a group without arrays is not there
    for group, arrays in found.arrays.items():
        for array, expected in zip(arrays, ARRAYS[group], strict=True):
            assert array.dtype == np.asarray(expected).dtype
            np.testing.assert_array_equal(array, expected)


def test_the_last_two_are_kept(tmp_path):
    for step in (9, 10, 200):
        written(tmp_path, step)
    assert [path.name for path in checkpoint_file.found(tmp_path)] == [
        "step-000000000200.checkpoint", "step-000000000010.checkpoint",
    ]  # fmt: skip
    assert len(list(tmp_path.iterdir())) == 2


def test_every_changed_bit_and_every_cut_is_noticed(tmp_path):
    data = written(tmp_path, 1).read_bytes()
    path = tmp_path / "x"
    for at in range(len(data)):
        path.write_bytes(data[:at])
        with pytest.raises(DamagedError):
            checkpoint_file.read(path)
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(DamagedError):
            checkpoint_file.read(path)
    path.write_bytes(data + b"x")
    with pytest.raises(DamagedError, match=f"the SHA-256 of its {len(data) + 1} bytes does not agree"):
        checkpoint_file.read(path)


@pytest.mark.parametrize(
    "arrays",
    [
        [{"group": "model", "dtype": "object", "shape": [1]}],
        [{"group": "model", "dtype": "V8", "shape": [1]}],
        [{"group": "model", "dtype": ["float32"], "shape": [1]}],
        [{"group": "model", "dtype": "float32", "shape": [1 << 62]}],
        [{"group": "model", "dtype": "float32", "shape": [-1]}],
        [{"group": "model", "dtype": "float32", "shape": ["x"]}],
        [{"group": [], "dtype": "float32", "shape": []}],
        [{"dtype": "float32", "shape": []}],
        {},
        3,
    ],
)
def test_a_crafted_header_with_a_right_digest_is_damage(tmp_path, arrays):
    header = json.dumps({"state": {}, "arrays": arrays}).encode()
    body = checkpoint_file.MAGIC + struct.pack("<Q", len(header)) + header + b"\0" * 8
    (tmp_path / "x").write_bytes(body + hashlib.sha256(body).digest())
    with pytest.raises(DamagedError):
        checkpoint_file.read(tmp_path / "x")


@pytest.mark.parametrize("length", [0, 1 << 40, (1 << 64) - 1])
def test_a_crafted_length_of_the_header_is_damage(tmp_path, length):
    body = checkpoint_file.MAGIC + struct.pack("<Q", length) + b"{}"
    (tmp_path / "x").write_bytes(body + hashlib.sha256(body).digest())
    with pytest.raises(DamagedError):
        checkpoint_file.read(tmp_path / "x")


def test_the_newest_whole_one_is_found_and_damaged_ones_are_named(tmp_path, caplog):
    assert checkpoint_file.latest(tmp_path / "none") is None
    first, second = written(tmp_path, 1), written(tmp_path, 2)
    second.write_bytes(second.read_bytes()[:-1])
    assert checkpoint_file.latest(tmp_path).state["step"] == 1
    assert caplog.messages[0].startswith("checkpoint step-000000000002.checkpoint is damaged (the SHA-256 of its")
    assert not second.exists()  # or the next one would push out the one that is whole
    first.write_bytes(b"")
    assert checkpoint_file.latest(tmp_path) is None
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_a_failure_while_writing_leaves_those_before(tmp_path, monkeypatch):
    written(tmp_path, 1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_file.atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        written(tmp_path, 2)
    assert error.value.filename.endswith("step-000000000002.checkpoint")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("newer", [1, 2])
@pytest.mark.parametrize("content", [b"shardmill checkpoint 2\nanother layout", b"shardmill checkpoint 10\n"])
def test_a_checkpoint_of_a_newer_format_is_left_and_named(tmp_path, newer, content):
    """Also where an older one could be read: going on would drop what the newer version wrote."""
    paths = [written(tmp_path, 1), written(tmp_path, 2)]
    paths[newer - 1].write_bytes(content)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(
        TrainerError, match=rf"step-00000000000{newer}\.checkpoint' is of format (2|10)\. .*reads format 1"
    ):
        checkpoint_file.latest(tmp_path)

    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def unreadable(monkeypatch, *names):
    read = pathlib.Path.read_bytes

    def fails(path):
        if path.name in names:
            raise OSError(5, "Input/output error", str(path))
        return read(path)

    monkeypatch.setattr(pathlib.Path, "read_bytes", fails)


def test_one_that_the_disk_does_not_give_falls_back_to_the_one_before(tmp_path, monkeypatch, caplog):
    first, second = written(tmp_path, 1), written(tmp_path, 20)
    unreadable(monkeypatch, second.name)

    assert checkpoint_file.latest(tmp_path).state["step"] == 1
    assert caplog.messages == [
        "checkpoint step-000000000020.checkpoint cannot be read (Input/output error) and is left out"
    ]
    for step in (2, 3, 4):  # a run that goes on keeps its own last two, beside the one that is left
        written(tmp_path, step)
    assert [path.name[5:17].lstrip("0") for path in checkpoint_file.found(tmp_path)] == ["20", "4", "3"]
    assert not first.exists()


def test_where_the_disk_gives_none_nothing_starts_over(tmp_path, monkeypatch):
    """Starting over would delete them all, for a disk that may be mounted again in a minute."""
    names = [written(tmp_path, step).name for step in (1, 2)]
    unreadable(monkeypatch, *names)
    with pytest.raises(
        TrainerError, match=r"No checkpoint in .* can be read: step-0*2\.checkpoint \(Input/output error\)"
    ):
        checkpoint_file.latest(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
