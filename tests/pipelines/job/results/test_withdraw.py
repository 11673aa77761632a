"""What is removed when a dataset takes the place of an earlier one, and what is left alone."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import shutil

import pytest

from pipelines import contract, storage, work_dir
from pipelines.core.errors import ConfigError
from pipelines.job.results import publish, withdraw
from tests.support import object_stores

OLD = pathlib.Path(__file__).parents[3] / "data/format_1/uint8"


@pytest.fixture
def out(tmp_path):
    """An output with a dataset of 6 shards and 24 other files."""
    shutil.copytree(OLD, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def work(out):
    return work_dir.open_work(str(out), "a", {"size": 1}, ("size",), {})


def renamed(name: str) -> contract.Contract:
    """The contract of the same dataset under another name."""
    made = json.loads((OLD / "contract.json").read_text().replace("eggs-", f"{name}-"))
    return contract.from_json(json.dumps(made | {"name": name}))


def below(folder: pathlib.Path) -> list[str]:
    """The files and links of a folder, but for those of the work."""
    found = (p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    return sorted(str(p.relative_to(folder)) for p in found if ".shardmill" not in p.parts)


STRANGERS = ["notes.txt", "other-train.tfrecord-00000-of-00001", "photos/eggs-train.tfrecord-00000-of-00002",
             "stats/mine.csv", "transform_fn/variables/mine"]  # fmt: skip


def test_the_earlier_dataset_goes_and_all_else_stays_and_is_told(out, work, caplog):
    for name in STRANGERS:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")

    withdraw.withdraw(str(out), work, renamed("birds"))

    assert below(out) == STRANGERS
    assert not (out / "ledger").exists()
    assert caplog.messages == [
        f"Left alone in {out}, because the earlier dataset has no such files: other-train.tfrecord-00000-of-00001, "
        "stats/mine.csv, transform_fn/variables/mine."
    ]


def test_a_contract_does_not_have_removed_what_prepare_never_writes(out, work, caplog):
    """It names a folder, a text, and another program's shards."""
    told = json.loads((out / "contract.json").read_text())
    shards = [shard for split in told["splits"].values() for shard in split["shards"]]
    names = ["photos", "notes.txt", "other-train.tfrecord-00000-of-00001", "eggs-train.tfrecord-00000-of-00009"]
    for shard, name in zip(shards, names, strict=False):
        shard["file"] = name
    victims = ["photos/1.jpg", "notes.txt", names[2], "mine/2.jpg"]
    told["files"] |= dict.fromkeys(["photos/1.jpg", "notes.txt", "mine/2.jpg"], "0" * 64)
    for name in victims:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    for shard in shards:
        shard["bytes"] = 4 if shard["file"] in names else shard["bytes"]
    (out / names[3]).symlink_to("notes.txt")
    (out / "contract.json").write_text(json.dumps(told))
    assert len(contract.load(out).files) == 24 + 3  # it is one that a reader takes

    withdraw.withdraw(str(out), work, renamed("birds"))

    stay = {*victims, names[3], *(s.file for split in contract.load(OLD).splits.values() for s in split.shards[:2])}
    assert set(victims) < set(below(out)) <= stay
    assert (out / names[3]).is_symlink()


@pytest.mark.parametrize("change", ["size", "folder", "link"])
def test_a_shard_that_is_not_as_the_contract_says_stays_and_is_told(out, work, caplog, change):
    shard = out / "eggs-test.tfrecord-00001-of-00002"
    content = shard.read_bytes()
    shard.unlink()
    if change == "size":
        shard.write_bytes(content + b"x")
    elif change == "folder":
        shard.mkdir()
    else:
        (out.parent / "elsewhere").write_bytes(content)
        shard.symlink_to(out.parent / "elsewhere")

    withdraw.withdraw(str(out), work, renamed("birds"))

    assert [p.name for p in out.iterdir() if p.name != ".shardmill"] == [shard.name]
    assert shard.name in caplog.text
    assert change != "link" or (out.parent / "elsewhere").read_bytes() == content


def test_a_folder_in_the_way_of_a_new_file_is_told_before_anything_is_touched(out, work):
    for name in ("birds-train.tfrecord-00000-of-00002", "report.html", "contract.json"):
        before = below(out)
        kept = out / name if (out / name).exists() else None
        content = kept.read_bytes() if kept else b""
        if kept:
            kept.unlink()
        (out / name).mkdir()
        (out / name / "mine").touch()
        with pytest.raises(ConfigError, match=rf"{name}' should be a file of the dataset and is a folder"):
            withdraw.withdraw(str(out), work, renamed("birds"))
        assert sorted({*below(out), name} - {f"{name}/mine"}) == sorted({*before, name})
        shutil.rmtree(out / name)
        if kept:
            kept.write_bytes(content)
    for name in ("transform_fn/variables", "stats"):
        (out / name).rename(out.parent / "elsewhere")
        (out / name).symlink_to(out.parent / "elsewhere")
        with pytest.raises(ConfigError, match=f"{name}' should be a folder of the dataset and is none"):
            withdraw.withdraw(str(out), work, renamed("birds"))
        assert (out / "contract.json").exists()
        (out / name).unlink()
        (out.parent / "elsewhere").rename(out / name)


@pytest.mark.parametrize("options", ["same", "other"])
def test_what_a_run_that_ended_while_publishing_left_goes_with_the_next(out, work, monkeypatch, options):
    """Of the old dataset and of the one that was moved in, whatever the names of the third."""
    with monkeypatch.context() as patch:
        patch.setattr(storage, "remove_files", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            withdraw.withdraw(str(out), work, renamed("birds"))
    assert not (out / "contract.json").exists()
    moved = out / "birds-train.tfrecord-00000-of-00002"
    shutil.copy(OLD / "eggs-train.tfrecord-00000-of-00002", moved)
    (out / "moths-train.tfrecord-00000-of-00002").write_text("nobody's")
    again = work_dir.open_work(str(out), "a" if options == "same" else "b", {"size": 2}, ("size",), {})

    withdraw.withdraw(str(out), again, renamed("wasps"))

    assert below(out) == ["moths-train.tfrecord-00000-of-00002"]


def test_a_damaged_note_of_what_was_begun_removes_nothing(out, work):
    (out / "contract.json").unlink()
    for note in ("{", "[1]", '["{}"]', "{}"):
        storage.write_text(work.path(work_dir.REPLACED), note)
        withdraw.withdraw(str(out), work, renamed("birds"))
        assert "eggs-train.tfrecord-00000-of-00002" in below(out)


def test_an_old_contract_that_names_no_files_beside_the_shards(out, work):
    told = json.loads((out / "contract.json").read_text())
    (out / "contract.json").write_text(json.dumps(told | {"files": {}}))
    withdraw.withdraw(str(out), work, renamed("birds"))
    assert below(out) == []


def test_in_a_bucket_what_the_contract_does_not_name_stays_too():
    with object_stores.in_memory() as store:
        store.objects = {f"gs://b/out/{p.relative_to(OLD)}": p.read_bytes() for p in OLD.rglob("*") if p.is_file()}
        store.objects |= {f"gs://b/out/{name}": b"mine" for name in STRANGERS}
        work = work_dir.open_work("gs://b/out", "a", {}, (), {})
        withdraw.withdraw("gs://b/out", work, renamed("birds"))
        left = [name.removeprefix("gs://b/out/") for name in store.objects if ".shardmill" not in name]
        assert sorted(left) == STRANGERS


def test_the_contract_goes_first_and_comes_last(out, work, monkeypatch):
    """A reader that finds it finds all files that it names."""
    finished = renamed("birds")
    files = [shard.file for split in finished.splits.values() for shard in split.shards]
    for path in OLD.rglob("*"):
        name = str(path.relative_to(OLD)).replace("eggs-", "birds-")
        if path.is_file():
            top = name.partition("/")[0]
            room = "shards" if name in files else "transform" if top.startswith("transform") else "beside"
            target = pathlib.Path(work.path(room, name))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    changes = []

    def changed(call, *args):
        call(*args)
        if ".shardmill" not in str(args[-1]):
            changes.append((os.path.relpath(args[-1], out), (out / "contract.json").exists()))

    for call in ("unlink", "replace"):
        monkeypatch.setattr(os, call, functools.partial(changed, getattr(os, call)))
    withdraw.withdraw(str(out), work, finished)
    publish._move_in(work, ["contract.json", "stats", *withdraw.FILES], files, str(out))

    names, exists = zip(*changes, strict=True)
    assert names[0] == names[-1] == "contract.json"
    assert names.count("contract.json") == 2
    assert exists == (*[False] * (len(names) - 1), True)
    assert below(out) == sorted(name.replace("eggs-", "birds-") for name in below(OLD))
