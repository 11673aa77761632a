"""What a run keeps of the shards that an earlier one staged and finished."""

from __future__ import annotations

import io
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from pipelines import storage
from pipelines.config import PrepareConfig
from pipelines.contract import tfrecord
from pipelines.core.elements import Item, Ref, Source
from pipelines.core.errors import IncompleteError
from pipelines.core.summary import Rejected
from pipelines.job import worker_tasks
from pipelines.records import read_shard, shard_writer
from pipelines.tasks.kind import Answers
from pipelines.tasks.kinds import ONE_CLASS
from pipelines.work_dir import Work
from pipelines.workers.pool import Outcome
from tests.support.files import images

FILE, LABELS = "x-train.tfrecord-00000-of-00001", ("bee", "cat")
UNIT = ((1 / 255,) * 3, (0.0,) * 3)


class Here:
    """Does what workers do, in this process, and notes what was asked; `faults`: key -> reason of a reject."""

    count = 1

    def __init__(self, faults: Mapping[str, str] | None = None) -> None:
        self.faults, self.asked = faults or {}, []

    def submit(self, task: str, shared: tuple[Any, ...], items: Iterable[tuple[Any, ...]], *_: Any) -> list[Any]:
        return [self._done(task, item, shared) for item in items]

    def _done(self, task: str, item: tuple[Any, ...], shared: tuple[Any, ...]) -> Outcome:
        self.asked.append(task)
        future: Outcome = Outcome()
        if task == "make" and item[0].key in self.faults:
            ref, reason = item[0], self.faults[item[0].key]
            future.set_result(Rejected(ref.uri, ref.label, "train", ref.digest, "decode", reason, "A sentence."))
        else:
            future.set_result(getattr(worker_tasks, task)(*item, *shared))
        return future


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
    for i in range(5):
        path = tmp_path / "in" / LABELS[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (9, 7, 3), dtype=np.uint8)
        path.write_bytes(images.encode(pixels, "PNG"))
    return tmp_path / "in"


@pytest.fixture
def work(tmp_path) -> Work:
    return Work(str(tmp_path / "work"))


def items_of(folder: str | pathlib.Path) -> list[Item]:
    items = []
    for position, path in enumerate(sorted(pathlib.Path(folder).rglob("*.png"), key=lambda p: p.name)):
        key = path.relative_to(folder).as_posix()
        source = Source(key, f"{folder}/{key}", path.parent.name, "", "", 1.0)
        ref = worker_tasks.fingerprint(source, spec().limits, spec().image.source)
        assert isinstance(ref, Ref)
        items.append(Item(position, ref, 0))
    return [*items, Item(len(items), items[1].ref, 1)]  # and a copy of 1.png


def spec(**options: Any):
    return PrepareConfig(input="in", allow_outside=True, output="out", size=(8, 8), augment={}, **options).record_spec


def stage(folder: str | pathlib.Path, work: Work, workers: Here, **options: Any) -> dict[str, Any]:
    items = items_of(folder)
    shard = shard_writer.Shard(FILE, "train", 1)
    return shard_writer.write_shard(shard, items, Answers(ONE_CLASS, LABELS), spec(**options), "digest", work, workers)


def finish(account: dict[str, Any], work: Work, workers: Here, encoding: str = "float32") -> dict[str, Any]:
    return shard_writer.finish_shard(account, UNIT, encoding, work, workers)


def change(path: str, edit: Callable[[bytearray], bytearray]) -> None:
    """Edits a file as a disk does, in its place."""
    data = bytearray(pathlib.Path(path).read_bytes())
    pathlib.Path(path).write_bytes(edit(data))


def flip(data: bytearray) -> bytearray:
    data[len(data) // 2] ^= 16
    return data


def cut_a_record(data: bytearray) -> bytearray:
    """Cuts at a record's end, which no checksum shows."""
    frames = list(tfrecord.frames(io.BytesIO(bytes(data)).read, 1 << 20))
    return data[: frames[-1].offset]


def kept(again: Here) -> bool:
    return "make" not in again.asked


def test_a_shard_in_which_nothing_was_rejected_is_kept_whatever_the_limits(photos, work):
    first = stage(photos, work, Here())
    for limits in ({}, {"image_timeout": 1.0}, {"image_memory": 64 << 20}):
        again = Here()
        assert stage(photos, work, again, **limits) == first
        assert again.asked == []


@pytest.mark.parametrize("reason", [*shard_writer.TRANSIENT, "not-a-file", "too-large"])
def test_what_may_have_passed_is_tried_again_by_the_next_run(photos, work, reason):
    first = stage(photos, work, Here({"cat/1.png": reason}))
    assert [r["reason"] for r in first["rejects"]] == [reason]
    assert first["records"] == 4  # neither the original nor the copy
    whole = stage(photos, Work(f"{work.root}-whole"), Here())

    again = Here()
    second = stage(photos, work, again)
    assert again.asked.count("make") == 5
    assert second == whole
    assert storage.sha256(work.path("staged", FILE)) == whole["sha256"]
    assert json.loads(storage.read_text(work.path("staged", f"{FILE}.json"))) == second


def test_what_follows_from_the_bytes_is_tried_again_with_other_limits_only(photos, work):
    """With other limits too: a decoder that gets no memory may call its image damaged."""
    first = stage(photos, work, Here({"cat/1.png": "undecodable"}))
    same, longer, larger = Here(), Here({"cat/1.png": "undecodable"}), Here()
    assert stage(photos, work, same) == first
    assert kept(same)
    assert stage(photos, work, longer, image_timeout=99.0)["records"] == 4
    assert not kept(longer)
    assert stage(photos, work, larger, image_timeout=99.0, image_memory=2 << 30)["records"] == 6
    assert not kept(larger)


def test_a_kept_shard_has_the_paths_of_this_run(photos, work, tmp_path, monkeypatch):
    faults = {"bee/2.png": "undecodable"}
    first = stage(photos, work, Here(faults))
    staged = os.stat(work.path("staged", FILE)).st_mtime_ns
    photos.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)

    for folder in (str(tmp_path / "moved"), "moved"):
        again = Here(faults)
        account = stage(folder, work, again)
        assert again.asked == []
        ledger = [json.loads(line) for line in storage.read_text(work.path("ledger", f"{FILE}.jsonl")).splitlines()]
        assert [line["uri"] for line in ledger] == [
            f"{folder}/{key}" for key in ("bee/0.png", "cat/1.png", "cat/3.png", "bee/4.png", "cat/1.png")
        ]
        assert [line["copy"] for line in ledger] == [0, 0, 0, 0, 1]
        assert [r["uri"] for r in account["rejects"]] == [f"{folder}/bee/2.png"]
        assert [t["uri"] for t in account["thumbnails"]] == [f"{folder}/bee/0.png", *[f"{folder}/cat/1.png"] * 2]
        assert account["ledger_sha256"] == storage.sha256(work.path("ledger", f"{FILE}.jsonl"))
        assert json.loads(storage.read_text(work.path("staged", f"{FILE}.json"))) == account
        assert account["sha256"] == first["sha256"]
    assert os.stat(work.path("staged", FILE)).st_mtime_ns == staged


@pytest.mark.parametrize("edit", [flip, cut_a_record, lambda data: data[:-3], lambda data: data * 2])
def test_a_staged_shard_that_has_changed_is_made_anew(photos, work, edit):
    first = stage(photos, work, Here())
    change(work.path("staged", FILE), edit)
    again = Here()
    assert stage(photos, work, again) == first
    assert not kept(again)
    assert storage.sha256(work.path("staged", FILE)) == first["sha256"]


def test_a_ledger_that_has_changed_is_written_anew(photos, work):
    first = stage(photos, work, Here())
    change(work.path("ledger", f"{FILE}.jsonl"), flip)
    assert stage(photos, work, Here()) == first
    assert storage.sha256(work.path("ledger", f"{FILE}.jsonl")) == first["ledger_sha256"]


@pytest.mark.parametrize("encoding", ["float32", "uint8"])
def test_a_finished_shard_that_has_changed_is_finished_anew(photos, work, encoding):
    account = stage(photos, work, Here())
    first = finish(account, work, Here(), encoding)
    finished = work.path("shards", FILE)
    assert storage.sha256(finished) == first["sha256"]
    before = os.stat(finished).st_ino
    assert finish(account, work, Here(), encoding).items() >= first.items()
    assert os.stat(finished).st_ino == before  # nothing was written
    os.unlink(finished)  # a shard of 8-bit pixels is the staged file under another name
    pathlib.Path(finished).write_bytes(flip(bytearray(pathlib.Path(work.path("staged", FILE)).read_bytes())))
    assert finish(account, work, Here(), encoding) == first
    assert storage.sha256(finished) == first["sha256"]


@pytest.mark.parametrize("encoding", ["float32", "uint8"])
def test_a_finished_shard_of_a_staged_one_that_was_made_anew_is_finished_anew(photos, work, encoding):
    """The options and the inputs are the same, and one image more could be read."""
    finish(stage(photos, work, Here({"cat/1.png": "timeout"})), work, Here(), encoding)
    second = finish(stage(photos, work, Here()), work, Here(), encoding)
    assert second["records"] == 6
    read_shard.check(work.path("shards", FILE), 6)


@pytest.mark.parametrize(
    ("byte", "told"), [(100, "its bytes are damaged"), (3, "its length is damaged by one flipped bit")]
)
def test_a_staged_record_that_has_changed_is_named_before_it_is_normalized(photos, work, byte, told):
    account = stage(photos, work, Here())
    change(work.path("staged", FILE), lambda data: data[:byte] + bytes([data[byte] ^ 1]) + data[byte + 1 :])
    with pytest.raises(
        IncompleteError, match=rf"staged/{FILE} has changed .*record at byte 0: {told}.*again: it makes"
    ):
        finish(account, work, Here())
    assert not storage.exists(work.path("shards", FILE))


def test_a_staged_record_that_is_gone_is_noticed_before_it_is_normalized(photos, work):
    account = stage(photos, work, Here())
    change(work.path("staged", FILE), cut_a_record)
    with pytest.raises(IncompleteError, match="it should hold 6 records and holds 5"):
        finish(account, work, Here())
    assert not storage.exists(work.path("shards", FILE))
