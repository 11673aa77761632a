"""The counters of a job agree with the report, which is made of the shards' accounts and not of counters."""

from __future__ import annotations

import collections

import pytest

from pipelines import contract
from pipelines.config import PrepareConfig
from pipelines.job import counters, prepare
from pipelines.runners.runner import Engine
from tests.support.files.images import draw_photo


@pytest.mark.slow
def test_counters_agree_with_the_report(tmp_path, monkeypatch):
    for i in range(12):
        draw_photo(tmp_path / "in" / "ab"[i % 2] / f"{i:02d}.jpg", i, (40, 30))
    (tmp_path / "in/a/notes.jpg").write_text("not an image")
    whole = (tmp_path / "in/b/01.jpg").read_bytes()
    (tmp_path / "in/b/cut.jpg").write_bytes(whole[:-100])
    (tmp_path / "in/a/again.jpg").write_bytes((tmp_path / "in/a/00.jpg").read_bytes())
    found = collections.Counter()
    begin = Engine._begin

    def noted(engine, job):
        result = begin(engine, job)
        for metric in result.metrics().query()["counters"]:
            if metric.key.metric.namespace == counters.NAMESPACE:
                found[metric.key.metric.name] += metric.result
        return result

    monkeypatch.setattr(Engine, "_begin", noted)
    out = tmp_path / "out"
    result = prepare.prepare(
        PrepareConfig(
            input=str(tmp_path / "in"), output=str(out), size=(8, 8), workers=1, max_reject_rate=0.5, duplicates="drop"
        )
    )
    summary, splits = result.summary, contract.load(out).splits.values()
    rejected = {f"rejected_{reason.replace('-', '_')}": n for reason, n in summary.rejected.items()}
    assert summary.read == 15
    assert len(rejected) == 3
    accepted = [p for p in (tmp_path / "in").rglob("*.jpg") if p.name != "notes.jpg"]
    assert found == {
        "images_read": 15,
        "bytes_read": sum(p.stat().st_size for p in accepted),
        "rejected": 3,
        **rejected,
        "records_written": summary.written,
        "bytes_written": sum(shard.bytes for split in splits for shard in split.shards),
    }
