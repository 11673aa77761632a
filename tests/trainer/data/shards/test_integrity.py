"""Shards are compared with the contract before TensorFlow opens one, and no crafted length ends the process."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from pipelines import contract as contracts
from pipelines.contract import ContractError, Shard, Split, tfrecord
from tests.support import trainings, warm
from tests.support.datasets import frame, masked, record, write_dataset
from trainer.cli.main import main
from trainer.data import dataset
from trainer.data.shards import digest_cache, integrity, mmap_tfrecord

LARGE = digest_cache.MAX_CACHE_BYTES + 1
ROOT = str(pathlib.Path(__file__).parents[4])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    path = tmp_path / "cache" / "digests.json"
    monkeypatch.setattr(digest_cache, "cache_file", lambda: path)
    return path


@pytest.fixture
def data(tmp_path):
    """Two shards, changed long ago."""
    contract = write_dataset(tmp_path / "d", encoding="uint8", splits={"train": (4, 4)})
    for shard in contract.splits["train"].shards:
        os.utime(tmp_path / "d" / shard.file, (1e9, 1e9))
    return tmp_path / "d"


@pytest.fixture
def opened(monkeypatch):
    """The names of the shards that are read whole."""
    names = []
    compare = integrity._compare
    monkeypatch.setattr(integrity, "_compare", lambda item: (names.append(os.path.basename(item[0])), compare(item))[1])
    return names


def check(directory, verify="fast"):
    integrity.check(contracts.load(directory), str(directory), ["train"], verify)


def shards(directory):
    return [directory / shard.file for shard in contracts.load(directory).splits["train"].shards]


def flip_a_bit(path):
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return times


def test_a_digest_is_read_once(data, cache, opened):
    both = sorted(path.name for path in shards(data))
    check(data)
    assert sorted(opened) == both
    check(data)
    assert sorted(opened) == both  # remembered
    os.utime(shards(data)[1], (1e9, 1e9 + 1))
    check(data)
    assert opened[2:] == [both[1]]
    check(data, "full")
    assert sorted(opened[3:]) == both
    check(data, "off")
    assert len(opened) == 5


def test_files_that_just_changed_are_not_remembered(tmp_path, cache, opened):
    write_dataset(tmp_path / "d", encoding="uint8", splits={"train": (4, 4)})
    check(tmp_path / "d")
    check(tmp_path / "d")
    assert len(opened) == 4
    assert not cache.exists()


def test_a_changed_shard_is_named(data, cache, capsys):
    check(data)
    flip_a_bit(shards(data)[1])
    with pytest.raises(
        ContractError, match=r"^Shard .*train.tfrecord-00001-of-00002 should have the SHA-256 \w{12}… of"
    ):
        check(data)
    check(data, "off")
    assert main(["train", "--data", str(data), "--output", str(data.parent / "o"), "--validation", "none"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("train: Shard ")
    assert err.endswith("so it was changed or damaged: copy or prepare the dataset again.\n")
    assert len(err.splitlines()) == 1
    assert not (data.parent / "o").exists()


def test_full_sees_what_hides_behind_the_old_time(data, cache):
    check(data)
    path = shards(data)[0]
    os.utime(path, ns=flip_a_bit(path))
    check(data)  # fast believes size, time and inode: as documented
    with pytest.raises(ContractError, match="changed or damaged"):
        check(data, "full")


def test_a_copy_is_another_file(data, cache, opened):
    check(data)
    shutil.copytree(data, data.parent / "e")
    check(data.parent / "e")
    assert len(opened) == 4
    path = shards(data)[0]
    other = data.parent / "other"
    shutil.copy2(path, other)
    flip_a_bit(other)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    os.replace(other, path)  # size and time are the same, the inode is not
    with pytest.raises(ContractError, match="changed or damaged"):
        check(data)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"x": 1}', b"\xff", b'{"a": [1, 2, 3]}', b"[" * 100_000, b" " * LARGE],
    ids=["empty", "cut", "list", "number", "binary", "short", "deep", "large"],
)  # fmt: skip
def test_a_damaged_cache_is_left_out(data, cache, opened, content):
    cache.parent.mkdir()
    cache.write_bytes(content)
    check(data)
    assert len(opened) == 2
    check(data)
    assert len(opened) == 2  # it was written anew


def test_the_cache_has_an_end(cache, monkeypatch):
    monkeypatch.setattr(digest_cache, "MAX_ENTRIES", 2)
    digest_cache.write({name: [1, 2, 3, "x"] for name in "abc"})
    assert list(digest_cache.read()) == ["b", "c"]


def test_a_cache_that_cannot_be_written_is_no_error(data, cache, opened):
    cache.parent.write_text("a file")
    check(data)
    check(data)
    assert len(opened) == 4


def test_where_the_cache_is(monkeypatch, tmp_path):
    code = "from trainer.data.shards import digest_cache; print(digest_cache.cache_file())"

    def place(**env):
        clean = {k: v for k, v in os.environ.items() if k != "XDG_CACHE_HOME"} | {"HOME": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-c", code], env=clean | env, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert place() == f"{tmp_path}/.cache/shardmill/digests.json"
    assert place(XDG_CACHE_HOME="/x/y") == "/x/y/shardmill/digests.json"
    assert place(XDG_CACHE_HOME="relative") == f"{tmp_path}/.cache/shardmill/digests.json"


def test_a_user_without_a_home_has_no_cache_and_gets_no_folder_of_that_name(monkeypatch, tmp_path):
    code = (
        "import pwd\n"
        "def nobody(_): raise KeyError\n"
        "pwd.getpwuid = nobody\n"
        "from trainer.data.shards import digest_cache\n"
        "digest_cache.write({'x': [1, 2, 3, 'y']})\n"
        "print(digest_cache.cache_file(), digest_cache.read())"
    )
    env = {k: v for k, v in os.environ.items() if k not in ("XDG_CACHE_HOME", "HOME")} | {"PYTHONPATH": ROOT}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("None {}\n", "")
    assert list(tmp_path.iterdir()) == []


def test_missing_and_cut_shards_are_named_with_both_sizes(tmp_path):
    contract = write_dataset(tmp_path / "d", splits={"train": (3, 2)})
    shard = contract.splits["train"].shards[1]
    path = tmp_path / "d" / shard.file
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ContractError, match=f"should have {shard.bytes} bytes .* It has {shard.bytes - 5}: copy or"):
        dataset.load(tmp_path / "d", "train", 4)
    path.unlink()
    with pytest.raises(ContractError, match="There is no such file: copy or prepare"):
        dataset.load(tmp_path / "d", "train", 4)


def test_much_to_read_is_announced(data, cache, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(integrity, "TOLD_BYTES", 10)
    check(data)
    assert caplog.messages == ["comparing the digests of 2 shards, 0.0 GB; --verify off skips this"]
    check(data)
    assert len(caplog.messages) == 1


def crafted(directory, length, encoding="jpeg"):
    """A dataset whose second record has this length with a right checksum, and whose contract agrees with the file."""
    base = write_dataset(directory, encoding=encoding, splits={"train": (4, 0), "test": (1, 1)}, shards=1)
    frames = [frame(record(base, i, 0)) for i in range(4)]
    header = length.to_bytes(8, "little")
    frames[1] = header + masked(header) + frames[1][12:]
    rewrite(directory, b"".join(frames))
    return directory


def rewrite(directory, content, records=4):
    contract = contracts.load(directory)
    old = contract.splits["train"]
    shard = old.shards[0]
    (directory / shard.file).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    split = Split(old.natural, old.stored, old.copies, (Shard(shard.file, records, len(content), digest),))
    changed = dataclasses.replace(contract, splits={**contract.splits, "train": split})
    (directory / contracts.FILE_NAME).write_text(changed.to_json())


@pytest.mark.slow
@pytest.mark.parametrize("length", [1 << 40, 1 << 62])
def test_a_crafted_length_ends_in_a_sentence_and_not_in_a_crash(tmp_path, length):
    """Where images are compressed, TensorFlow reads the file; it would ask for that much memory, and die."""
    directory = crafted(tmp_path / "d", length)
    argv = ["train", "--data", str(directory), "--output", str(tmp_path / "o"), "--validation", "none"]
    ended = warm.run([sys.executable, "-m", "trainer", *argv, "--verify", "off"], cwd=ROOT, timeout=120)
    assert ended.returncode == 1, ended.stderr[-1000:]
    last = [line for line in ended.stderr.splitlines() if not line.startswith(("E0000", "I0000", "W0000", "WARNING"))]
    assert len(last) == 1
    assert last[0].startswith(
        f"train: Shard {directory}/tiny-train.tfrecord-00000-of-00001, record 1: its length should"
    )
    assert last[0].endswith("copy or prepare the dataset again.")


@pytest.mark.parametrize("length", [0, 1 << 40, 1 << 62, (1 << 64) - 1])
@pytest.mark.parametrize("encoding", ["jpeg", "uint8"])
def test_a_crafted_length_in_a_remote_shard_is_named(tmp_path, cache, length, encoding):
    directory = crafted(tmp_path / "d", length, encoding)
    with pytest.raises(ContractError, match=r"tiny-train.*, record [12]: its length should be at most"):
        check(f"file://{directory}")


@pytest.mark.parametrize("chunk", [1, 7, 8, 100, 1 << 20])
def test_lengths_are_found_whatever_the_chunks(tmp_path, cache, monkeypatch, chunk):
    contract = write_dataset(tmp_path / "d", encoding="png", splits={"train": (5, 4)}, shards=2)
    monkeypatch.setattr(integrity, "CHUNK", chunk)
    check(f"file://{tmp_path / 'd'}")
    seen = []
    monkeypatch.setattr(
        mmap_tfrecord, "walk", lambda path, records, size, read: seen.append([read(0) for _ in range(records)])
    )
    check(f"file://{tmp_path / 'd'}", "full")
    for shard, headers in zip(contract.splits["train"].shards, sorted(seen, key=len, reverse=True), strict=True):
        assert len(headers) == shard.records
    lengths = sum(int.from_bytes(h, "little") + tfrecord.FRAMING_BYTES for headers in seen for h in headers)
    assert lengths == sum(shard.bytes for shard in contract.splits["train"].shards)


def test_too_few_and_too_many_records_are_named(tmp_path, cache):
    contract = write_dataset(tmp_path / "d", encoding="png", splits={"train": (4, 0)}, shards=1)
    content = b"".join(frame(record(contract, i, 0)) for i in range(3))
    rewrite(tmp_path / "d", content)
    with pytest.raises(ContractError, match="record 3: the contract counts 4 records, and the file ends before"):
        check(f"file://{tmp_path / 'd'}")
    rewrite(tmp_path / "d", content + frame(record(contract, 3, 0)) * 2)
    with pytest.raises(ContractError, match="should hold 4 records by its contract"):
        check(f"file://{tmp_path / 'd'}")


@pytest.mark.slow
def test_evaluate_verifies_too(data, cache, tmp_path, capsys):
    write_dataset(tmp_path / "e", encoding="uint8")
    out = str(tmp_path / "o")
    with trainings.without_reports(export=False):
        assert main(["train", "--data", str(tmp_path / "e"), "--output", out, "--epochs", "1"]) == 0
    flip_a_bit(tmp_path / "e" / contracts.load(tmp_path / "e").splits["test"].shards[0].file)
    capsys.readouterr()
    assert main(["evaluate", "--data", str(tmp_path / "e"), "--model", out]) == 1
    assert "test.tfrecord-00000-of-00002 should have the SHA-256" in capsys.readouterr().err
