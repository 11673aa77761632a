"""What was rejected once: tried again in the same run."""

from __future__ import annotations

import hashlib
import pathlib

import pytest

from pipelines.config import PrepareConfig
from pipelines.job import prepare
from pipelines.workers import pool
from pipelines.workers.pool import Workers
from tests.support.images import draw_photo

pytestmark = pytest.mark.slow


def digests(directory: pathlib.Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(directory.glob("*.tfrecord-*"))}


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """Has decoders do what the names of pictures ask for."""
    done = tmp_path / "done"
    done.mkdir()
    workers = Workers(2, "tests.support.faulty_tasks", (("FAULTS_DONE", str(done)),))
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
