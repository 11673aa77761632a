"""What was rejected once: tried again in the same run, and in the next one; and a run that goes on elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import sys

import pytest

from pipelines.config import PrepareConfig
from pipelines.dataset import source_changes, verify
from pipelines.job import prepare, worker_versions
from pipelines.workers import pool
from pipelines.workers.pool import Workers
from tests.support.files import images
from tests.support.files.images import draw_photo

pytestmark = pytest.mark.slow


class StoppedError(Exception):
    """Instead of publishing."""


def digests(directory: pathlib.Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(directory.glob("*.tfrecord-*"))}


def stopped(config: PrepareConfig) -> None:
    """Runs all but publishing, as a run does that is killed then."""

    def instead(*_):
        raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare.publish, "publish", instead)
        with pytest.raises(StoppedError):
            prepare.prepare(config)


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """Has decoders do what the names of pictures ask for."""
    done = tmp_path / "done"
    done.mkdir()
    workers = Workers(2, "tests.support.workers.faulty_tasks", (("FAULTS_DONE", str(done)),))
    shared = pool.shared

    def chosen(count, role, *paths):
        return workers if role == "decoders" else shared(count, role, *paths)

    monkeypatch.setattr(pool, "shared", chosen)
    return done


def test_what_fails_once_is_written_and_the_shards_are_those_of_a_run_without_faults(tmp_path, faulty, monkeypatch):
    faults = ("hangs", "crashes", "surprises", "lacks-memory", "is-missing", "is-unreadable")
    names = [f"{fault}-once-in-{stage}" for fault in faults for stage in ("fingerprint", "make")]
    for i, name in enumerate([*names, *(f"good-{i}" for i in range(8))]):
        draw_photo(tmp_path / "in" / "ab"[i // 2 % 2] / f"{name}.jpg", i, (40, 30))
    config = PrepareConfig(
        input=str(tmp_path / "in"), output=str(tmp_path / "out"), name="x", size=(8, 8), image_timeout=5.0,
        shards=2, balance="uniform", encoding="uint8", max_reject_rate=0.0, splits={"train": 0.7, "test": 0.3},
    )  # fmt: skip
    result = prepare.prepare(config)
    assert sorted(path.name for path in faulty.iterdir()) == sorted(f"{name}.jpg" for name in names)
    assert result.summary.rejects == ()
    assert sum(sum(split.natural.values()) for split in result.contract.splits.values()) == 20
    monkeypatch.undo()
    prepare.prepare(PrepareConfig(**{**vars(config), "output": str(tmp_path / "undisturbed")}))
    assert digests(tmp_path / "out") == digests(tmp_path / "undisturbed")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a process's writable memory")
def test_a_run_that_goes_on_with_more_memory_and_elsewhere_writes_what_it_rejected(tmp_path, monkeypatch):
    """The shards in which nothing was rejected stay, under the paths of this run."""
    for i in range(24):
        draw_photo(tmp_path / "in" / "ab"[i % 2] / f"{i:02d}.jpg", i, (40, 30))
    (tmp_path / "in/a/large.png").write_bytes(images.flat_png(6000, 6000))  # 100 million bytes of pixels
    options = {"size": (8, 8), "name": "x", "shards": 3, "splits": {"train": 1.0}, "max_reject_rate": 1.0}
    config = PrepareConfig(input=str(tmp_path / "in"), output=str(tmp_path / "out"), image_memory=64 << 20, **options)
    stopped(config)
    work = tmp_path / "out/.shardmill"
    assert json.loads((work / "run.json").read_text())["versions"] == worker_versions.here()
    told = [json.loads(line) for line in (work / "rejected.jsonl").read_text().splitlines()]
    assert [(os.path.basename(r["uri"]), r["stage"], r["reason"]) for r in told] == [
        ("large.png", "decode", "out-of-memory")
    ]

    (tmp_path / "in").rename(tmp_path / "moved")
    (tmp_path / "mount").symlink_to("moved")
    elsewhere = str(tmp_path / "mount")
    submit, asked = Workers.submit, []

    def counts(self, task, shared, items, *more):
        items = list(items)
        asked.extend(item[0].key for item in items if task == "make")
        return submit(self, task, shared, items, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Workers, "submit", counts)
        result = prepare.prepare(PrepareConfig(input=elsewhere, output=str(tmp_path / "out"), **options))
    assert result.summary.rejects == ()
    assert "a/large.png" in asked
    assert len(asked) == len(set(asked)) < 24  # those of one shard
    assert verify.verify(str(tmp_path / "out")) == []
    found = source_changes.find(str(tmp_path / "out"))
    assert (found.changes, found.compared) == ([], 25)
    lines = [line for path in (tmp_path / "out/ledger").iterdir() for line in path.read_text().splitlines()]
    assert {os.path.dirname(json.loads(line)["uri"]) for line in lines} == {f"{elsewhere}/a", f"{elsewhere}/b"}
    prepare.prepare(PrepareConfig(input=elsewhere, output=str(tmp_path / "undisturbed"), **options))
    assert digests(tmp_path / "out") == digests(tmp_path / "undisturbed")
