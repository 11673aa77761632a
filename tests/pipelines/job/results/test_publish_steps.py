"""What a reader finds after each step of publishing, on a finished job that is made by hand."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil

import pytest

from pipelines import contract as contracts
from pipelines import storage
from pipelines.contract import Shard, ledger, tfrecord
from pipelines.core.errors import BusyError, IncompleteError
from pipelines.job.results import publish
from pipelines.work_dir import Work
from tests.support import reports

OLD, NEW = [reports.TEST, reports.TRAIN], ["new-test.tfrecord-00000-of-00001", "new-train.tfrecord-00000-of-00001"]
LEDGERS = dict.fromkeys(NEW, hashlib.sha256(b"").hexdigest())
OTHER = "other-train.tfrecord-00003-of-00004"  # of another program


@pytest.fixture
def job(tmp_path):
    """(output that holds a dataset and two files that are not of it; the finished job of another dataset)."""
    out = tmp_path / "out"
    old = reports.write_dataset(out)
    (out / OTHER).write_text("mine")
    (out / "README.mine").write_text("keep me")
    work = Work(str(out / Work.DIRECTORY), "this")
    splits = {}
    for (name, split), file in zip(sorted(old.splits.items()), NEW, strict=True):
        data = tfrecord.framed(b"new") * split.records
        splits[name] = dataclasses.replace(split, shards=(Shard(file, split.records, len(data), "f" * 64),))
        with storage.writing(work.path("shards", file)) as shard:
            shard.write(data)
        storage.write_text(work.path("ledger", f"{file}.jsonl"), "")
    for place in ("transform/transform_fn/saved_model.pb", "transform/transformed_metadata/schema.pbtxt"):
        storage.write_text(work.path(*place.split("/")), "graph")
    for name in (ledger.REJECTED, ledger.UNUSED):
        storage.write_text(work.path(name), "")
    storage.write_text(work.path("run.json"), json.dumps({"run": "this"}))
    return out, work, dataclasses.replace(old, name="new", splits=splits)


def shards_of(files) -> set[str]:
    return {file for file in files if ".tfrecord-" in file and "/" not in file}


def watched(out, monkeypatch):
    """The list of (name of the dataset that a reader finds, files that are there), which grows with each step."""
    found = []

    def look():
        try:
            name = contracts.load(out).name
        except contracts.ContractError:
            name = None
        found.append((name, {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}))

    def then_look(call):
        def step(*args, **more):
            call(*args, **more)
            look()

        return step

    for module, name in ((os, "replace"), (os, "unlink"), (shutil, "rmtree")):
        monkeypatch.setattr(module, name, then_look(getattr(module, name)))
    return found


def test_the_old_contract_goes_first_and_the_new_one_comes_last(job, monkeypatch):
    out, work, contract = job
    with monkeypatch.context() as patch:
        found = watched(out, patch)
        published = publish.publish(str(out), work, contract, reports.summary(), LEDGERS)
    names = [name for name, _ in found]
    phases = list(dict.fromkeys(names))
    assert phases == ["tiny", None, "new"]
    assert names == sorted(names, key=phases.index)  # never back
    for name, files in found:
        if name == "tiny":
            assert shards_of(files) == {*OLD, OTHER}
        if name == "new":
            assert shards_of(files) == {*NEW, OTHER}
            assert set(published.files) <= files
    assert (out / "README.mine").read_text() == "keep me"
    assert not (out / ".shardmill").exists()


def test_the_earlier_of_two_runs_changes_nothing(job):
    out, work, contract = job
    storage.write_text(work.path("run.json"), json.dumps({"run": "later"}))
    with pytest.raises(BusyError, match="Another run has begun"):
        publish.publish(str(out), work, contract, reports.summary(), LEDGERS)
    assert contracts.load(out).name == "tiny"
    assert sorted(file for file in os.listdir(out) if ".tfrecord-" in file) == sorted([*OLD, OTHER])


@pytest.mark.parametrize(
    ("place", "data", "told"),
    [
        (("shards", NEW[1]), tfrecord.framed(b"new")[:-1] + b"?", "record at byte 0: its bytes are damaged"),
        (("shards", NEW[1]), tfrecord.framed(b"new"), r"it should hold \d+ records and holds 1"),
        (("ledger", f"{NEW[0]}.jsonl"), b"{}", "has changed since it was written"),
    ],
)
def test_what_changed_since_it_was_written_is_not_published(job, place, data, told):
    out, work, contract = job
    with storage.writing(work.path(*place)) as file:
        file.write(data)
    with pytest.raises(IncompleteError, match=f"{place[1]}.*{told}.*Nothing was published"):
        publish.publish(str(out), work, contract, reports.summary(), LEDGERS)
    assert contracts.load(out).name == "tiny"
