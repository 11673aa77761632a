"""What was not written, in one sorted file; and the accounts of shards in sum."""

from __future__ import annotations

import dataclasses
import json
import random

from pipelines.core.summary import Rejected, Thumbnail
from pipelines.job.results import rejects_file
from pipelines.job.results.shard_totals import Totals
from pipelines.storage import external_sort


def rejected(
    uri: str, label: str = "bee", stage: str = "decode", reason: str = "truncated", split: str = ""
) -> Rejected:
    return Rejected(uri, label, split, "", stage, reason, f"{uri} is {reason}")


def test_the_file_is_in_order_and_what_is_told_of_it_is_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(external_sort.ordered, "__defaults__", (7, 2))  # runs and blocks: far fewer than there are
    monkeypatch.setattr(rejects_file, "MAX_LISTED", 3)
    rows = [
        rejected(f"in/{i:03d}", "bee" if i % 3 else "cat", reason="empty" if i % 2 else "truncated") for i in range(40)
    ]
    mixed = random.Random(1).sample(rows, len(rows))
    for number in range(3):  # as a job leaves them
        (tmp_path / "parts").mkdir(exist_ok=True)
        lines = [json.dumps(dataclasses.asdict(row)) for row in mixed[number::3]]
        (tmp_path / "parts" / f"part-{number}.jsonl").write_text("".join(f"{line}\n" for line in lines))

    told = rejects_file.write(rejects_file.read(str(tmp_path / "parts")), str(tmp_path / "all.jsonl"))

    assert [Rejected(**json.loads(line)) for line in (tmp_path / "all.jsonl").read_text().splitlines()] == rows
    assert (told.total, told.reasons) == (40, {"empty": 20, "truncated": 20})
    assert told.classes == {("", "cat"): 14, ("", "bee"): 26}
    assert told.first == tuple(rows[:3])


def test_a_source_that_several_shards_could_not_decode_is_told_once_and_repeated_rows_each_time(tmp_path):
    rows = [rejected("b"), rejected("a"), rejected("b"), rejected("b", "cat")]
    rows += [rejected("b", stage="list", reason="repeated-row")] * 2
    told = rejects_file.write(rows, str(tmp_path / "all.jsonl"))
    found = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    decoded = [("a", "bee", "decode"), ("b", "bee", "decode"), ("b", "cat", "decode")]
    assert [(r["uri"], r["label"], r["stage"]) for r in found] == [*decoded, *[("b", "bee", "list")] * 2]
    assert told.reasons == {"truncated": 3, "repeated-row": 2}


def test_nothing_is_an_empty_file(tmp_path):
    told = rejects_file.write(rejects_file.read(str(tmp_path / "none")), str(tmp_path / "all.jsonl"))
    assert (told.total, told.first, (tmp_path / "all.jsonl").read_bytes()) == (0, (), b"")


def account(file: str, split: str, **changes) -> dict:
    return {
        "file": file, "split": split, "records": 2, "stored": {"bee": 2}, "copies": {}, "formats": {"jpeg": 2},
        "conversions": {"enlarged": 1}, "widths": {"16": 2}, "heights": {"16": 2}, "file_bytes": {"512": 2},
        "levels": [[1] * 256, [2] * 256, [0] * 256], "rejects": [], "thumbnails": [], "source_digest": f"{3:064x}",
        "weighted": False, "ledger_sha256": f"{9:064x}", "depth": [], "metadata": [], **changes,
    }  # fmt: skip


def test_accounts_in_sum():
    picture = {"uri": "a", "label": "bee", "split": "test", "copy": 0, "width": 9, "height": 8}
    picture |= {"source_jpeg": "s", "stored_jpeg": "t"}
    bad = rejected("in/bad", split="test")
    totals = Totals()
    undecoded = totals.take([
        account("a", "train", stored={"bee": 1, "cat": 1}, copies={"cat": 1}),
        account("b", "test", source_digest="f" * 64, rejects=[dataclasses.asdict(bad)], thumbnails=[picture]),
        account("c", "train", records=5, weighted=True, formats={"png": 1}),
    ])  # fmt: skip

    assert list(undecoded) == [bad]
    assert totals.records == {"a": 2, "b": 2, "c": 5}
    assert totals.stored == {"train": {"bee": 3, "cat": 1}, "test": {"bee": 2}}
    assert totals.copies == {"train": {"cat": 1}, "test": {}}
    assert totals.counted["formats"] == {"jpeg": 4, "png": 1}
    assert totals.counted["conversions"] == {"enlarged": 3}
    assert {split: levels[:, 9].tolist() for split, levels in totals.levels.items()} == {
        "train": [2, 4, 0], "test": [1, 2, 0],
    }  # fmt: skip
    assert totals.thumbnails == [Thumbnail(**picture)]
    assert (totals.weighted, totals.source_digest) == (True, 5)  # 3 + 3 - 1, modulo 2 ** 256
