"""When a staged or finished shard of an earlier run is taken, and when it is made again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipelines import storage
from pipelines.core.elements import Item, Made, Ref
from pipelines.images import histogram
from pipelines.images.image_spec import ImageSpec
from pipelines.images.limits import Limits
from pipelines.records import shard_writer
from pipelines.records.record_spec import RecordSpec
from pipelines.records.shard_writer import Shard
from pipelines.tasks.kind import Answers
from pipelines.tasks.kinds import ONE_CLASS
from pipelines.work_dir import Work
from pipelines.workers.pool import Outcome

LEVELS = histogram.histogram(np.zeros((2, 2, 3), np.uint8)).tobytes()
SPEC = RecordSpec(ImageSpec(2, 2), Limits(), "float16", 95, {}, 0)
REF = Ref("bee/1", "in/bee/1", "bee", "train", "", 1.0, "1" * 64, 9, ("png", 2, 2, 1, (), True))
ITEMS = (Item(5, REF, 0),)
AFFINE = (1 / 64,) * 3, (-2.0,) * 3


class Counting:
    """Workers whose records are short texts, and what was asked of them."""

    count = 1

    def __init__(self) -> None:
        self.asked: list[str] = []

    def submit(
        self, task: str, shared: tuple[Any, ...], items: Any, deadline: float | None = None, again: Any = None
    ) -> list[Outcome]:
        outcomes = [self._done(task, shared, item) for item in items]
        self.asked += [task] * len(outcomes)
        return outcomes

    def _done(self, task: str, shared: tuple[Any, ...], item: tuple[Any, ...]) -> Outcome:
        outcome: Outcome = Outcome()
        if task in ("make", "make_copy"):
            ref, copy, label_id = item[:3] if task == "make" else item[1:]
            outcome.set_result(Made(f"{ref.digest[:4]} {label_id} {copy};".encode(), LEVELS, bytes(12)))
        else:
            source, target, records = item
            storage.write_text(target, f"{storage.read_text(source)} by {shared[0]}, {records} record")
            outcome.set_result((storage.sha256(target), 7))
        return outcome


def written(work: Work, items=ITEMS, labels=("ant", "bee"), digest="3" * 64) -> tuple[list[str], str]:
    """(what was asked of the workers, the staged shard)."""
    workers = Counting()
    shard_writer.write_shard(Shard("a", "train"), items, Answers(ONE_CLASS, labels), SPEC, digest, work, workers)
    return workers.asked, storage.read_text(work.path("staged", "a"))


@pytest.fixture
def work(tmp_path) -> Work:
    made = Work(str(tmp_path))
    assert written(made) == (["make"], "1111 1 0;")
    return made


def test_a_shard_of_the_same_items_labels_and_options_is_not_made_again(work):
    assert written(work) == ([], "1111 1 0;")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"items": [Item(5, REF._replace(digest="9" * 64), 0)]}, "9999 1 0;"),  # another content, the same name
        ({"items": [Item(5, REF._replace(weight=2.0), 0)]}, "1111 1 0;"),
        ({"items": [Item(5, REF._replace(label="ant"), 0)]}, "1111 0 0;"),
        ({"items": [Item(5, REF, 0), Item(6, REF, 1)]}, "1111 1 0;1111 1 1;"),
        ({"labels": ["ant", "bat", "bee"]}, "1111 2 0;"),  # the same items, whose label has another id now
        ({"digest": "4" * 64}, "1111 1 0;"),
    ],
    ids=["content", "weight", "label", "copies", "labels", "options"],
)
def test_it_is_made_again_for(work, change, text):
    asked = ["make"] + ["make_copy"] * (text.count(";") - 1)
    assert written(work, **change) == (asked, text)


@pytest.mark.parametrize("place", ["staged/a", "staged/a.json"])
def test_it_is_made_again_without(work, place):
    storage.remove(work.path(*place.split("/")))
    assert written(work) == (["make"], "1111 1 0;")


def test_its_ledger_is_written_again_without_it(work):
    before = storage.read_text(work.path("ledger", "a.jsonl"))
    storage.remove(work.path("ledger", "a.jsonl"))
    assert written(work) == ([], "1111 1 0;")
    assert storage.read_text(work.path("ledger", "a.jsonl")) == before


def test_a_shard_is_finished_again_for_other_statistics(work):
    account, workers = shard_writer.read_account("a", work), Counting()
    for affine in (AFFINE, AFFINE, (AFFINE[0], (-1.0,) * 3)):
        found = shard_writer.finish_shard(account, affine, "float16", work, workers)
        assert (found["records"], found["bytes"], found["sha256"]) == (1, 7, storage.sha256(work.path("shards", "a")))
        assert storage.read_text(work.path("shards", "a")) == f"1111 1 0; by {affine}, 1 record"
    assert workers.asked == ["finish", "finish"]  # for the first and the third
