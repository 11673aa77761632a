"""Publishing: a reader finds the old dataset, the new one, or a directory that says that it is incomplete."""

import dataclasses
import errno
import fcntl
import hashlib
import io
import json
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys

import pytest

from pipelines import contract, storage
from pipelines.contract import tfrecord
from pipelines.core.errors import BusyError, ConfigError, IncompleteError, SourceError
from pipelines.job import prepare
from pipelines.job.results import publish
from tests.support import object_stores

ROOT = pathlib.Path(__file__).parents[4]

# Publishes again and again in processes of its own, each killed right after one more change of the file system than
# the one before, and prints what a reader finds then. Beside the test: forking needs a process without threads.
KILLED = """
import hashlib, os, pathlib, pickle, shutil, signal, sys
from pipelines import storage
from pipelines.job.results import publish

old, work, out = map(pathlib.Path, sys.argv[1:4])
arguments = pickle.loads(pathlib.Path(sys.argv[4]).read_bytes())

def content(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file() and ".shardmill" not in p.parts)
    return [(str(p.relative_to(folder)), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]

def kill_after(number):
    made = 0
    for module, name in ((os, "replace"), (os, "unlink"), (os, "link"), (shutil, "rmtree")):
        def counted(*args, _call=getattr(module, name), **more):
            nonlocal made
            _call(*args, **more)
            made += 1
            if made == number:
                os.kill(os.getpid(), signal.SIGKILL)
        setattr(module, name, counted)

texts = publish._texts(*arguments[2:4])  # the same each time, and most of the time it takes
publish._texts = lambda *_: dict(texts)
number, states, last = 0, [], None
before = content(old)
while last != 0:
    number += 1
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(old, out, copy_function=os.link)
    shutil.copytree(work, out / ".shardmill", copy_function=os.link)
    process = os.fork()
    if not process:
        kill_after(number)
        publish.publish(*arguments)
        os._exit(0)
    last = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if last not in (0, -signal.SIGKILL):
        sys.exit(f"publishing failed: {last}")
    found = content(out)
    states.append("old" if found == before else "incomplete" if not (out / "contract.json").exists() else found)
after = content(out)
print(" ".join(s if isinstance(s, str) else "new" if s == after else "mix" for s in states))
"""


class StoppedError(Exception):
    """Instead of publishing."""


class EndedError(BaseException):
    """The end of a process, for a store that is in it."""


@pytest.fixture(scope="module")
def stopped(prepared, tmp_path_factory):
    """(output that holds `prepared`'s dataset and a finished run of another one, what its contract would be made of,
    what it would be published with).

    The other one has other shards and classes balanced otherwise.
    """
    old, _, config = prepared
    out = tmp_path_factory.mktemp("publish") / "insects"
    shutil.copytree(old, out)
    new = dataclasses.replace(config, output=str(out), balance="none", shards=3, encoding="uint8")
    make_contract, asked = publish.make_contract, []

    def noted(*args):
        asked.append(args)
        return make_contract(*args)

    def instead(*args):
        asked.append(args)
        raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare.publish, "make_contract", noted)
        patch.setattr(prepare.publish, "publish", instead)
        with pytest.raises(StoppedError):
            prepare.prepare(new)
    return out, *asked


@pytest.fixture(scope="module")
def unpublished(stopped):
    """(output as in `stopped`, what the dataset would be published with)."""
    return stopped[0], stopped[2]


@pytest.fixture(scope="module")
def uncontracted(stopped):
    """(output as in `stopped`, what the contract would be made of)."""
    return stopped[0], stopped[1]


def shard_digests(folder):
    return {
        file: storage.sha256(str(folder / file))
        for split in contract.load(folder).splits.values()
        for file in (shard.file for shard in split.shards)
    }


@pytest.mark.slow
def test_killed_after_any_change_a_reader_finds_the_old_or_the_new_or_nothing_usable(prepared, unpublished, tmp_path):
    unfinished, (_, work, *others) = unpublished
    out = tmp_path / "out"
    work = dataclasses.replace(work, root=str(out / ".shardmill"))
    (tmp_path / "arguments").write_bytes(pickle.dumps((str(out), work, *others)))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, prepared[0], unfinished / ".shardmill", out, tmp_path / "arguments"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    states = done.stdout.split()
    phases = list(dict.fromkeys(states))
    assert phases == ["old", "incomplete", "new"]
    assert states == sorted(states, key=phases.index)  # never back
    shards = sum(len(split.shards) for split in contract.load(prepared[0]).splits.values())
    assert states.count("incomplete") > 2 * shards  # each old one's removal, each new one's move
    assert sorted(p.name for p in out.glob("*.tfrecord-*")) == sorted(shard_digests(out))  # and no old one beside them


@pytest.mark.slow
def test_ended_after_any_change_of_an_object_store_a_reader_finds_no_mixture(prepared, unpublished, monkeypatch):
    """There nothing is renamed: each object is copied and deleted, and a listing shows what is done."""
    unfinished, (_, work, *others) = unpublished
    out = "gs://b/out"
    work = dataclasses.replace(work, root=f"{out}/.shardmill")
    files = {f"{out}/{p.relative_to(unfinished)}": p.read_bytes() for p in unfinished.rglob("*") if p.is_file()}
    left, ended, found = 0, True, []
    texts = publish._texts(*others[:2])
    monkeypatch.setattr(publish, "_texts", lambda *_: dict(texts))

    def change():
        nonlocal left
        left -= 1
        if left < 0:
            raise EndedError

    def dataset(objects):
        return {name: content for name, content in objects.items() if not name.startswith(work.root)}

    with object_stores.in_memory(change) as store:
        while ended:
            left, store.objects = len(found), dict(files)
            try:
                publish.publish(out, work, *others)
                ended = False
            except EndedError:
                pass
            found.append(dataset(store.objects))
        assert dataset(store.objects) == store.objects  # nothing is left of the work
    old, new = dataset(files), found[-1]
    name = f"{out}/contract.json"
    states = ["old" if f == old else "new" if f == new else "mixed" if name in f else "incomplete" for f in found]
    phases = list(dict.fromkeys(states))
    assert phases == ["old", "incomplete", "new"]
    assert states == sorted(states, key=phases.index)  # never back
    made = contract.from_json(new[name].decode())
    expected = {f"{out}/{s.file}": s.sha256 for split in made.splits.values() for s in split.shards}
    shards = {n: hashlib.sha256(c).hexdigest() for n, c in new.items() if re.search(r"out/[^/]*tfrecord-[0-9-of]*$", n)}
    assert shards == expected  # and no old one beside them
    assert states.count("incomplete") > 2 * len(shards)


def flipped(data):
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


def without_the_last_record(data):
    return data[: [frame.offset for frame in tfrecord.frames(io.BytesIO(data).read, 1 << 20)][-1]]


@pytest.mark.parametrize(
    ("folder", "ending", "edit", "told"),
    [
        ("shards", "", flipped, "record at byte 0: its bytes are damaged"),
        ("shards", "", lambda data: data[:-1], "the file ends inside it"),
        ("shards", "", without_the_last_record, r"it should hold \d+ records and holds \d+"),
        ("shards", "", lambda data: data + data, r"it should hold \d+ records and holds \d+"),
        ("ledger", ".jsonl", flipped, "has changed since it was written"),
    ],
)
def test_what_changed_on_the_disk_is_not_published(prepared, unpublished, tmp_path, folder, ending, edit, told):
    unfinished, (_, work, *others) = unpublished
    out = tmp_path / "out"
    shutil.copytree(unfinished, out)
    file = next(path for path in sorted((out / ".shardmill" / folder).iterdir()) if "-train.tfrecord-" in path.name)
    file = file.with_name(file.name.removesuffix(".json").removesuffix(".jsonl") + ending)
    data = file.read_bytes()
    file.unlink()  # it has several names
    file.write_bytes(edit(data))
    with pytest.raises(IncompleteError, match=f"{file.name}.*{told}.*Nothing was published.*Run the same command"):
        publish.publish(str(out), dataclasses.replace(work, root=str(out / ".shardmill")), *others)
    assert contract.load(out) == contract.load(prepared[0])
    assert shard_digests(out) == shard_digests(prepared[0])


def test_a_finished_shard_of_another_number_of_records_is_not_published(uncontracted, tmp_path):
    unfinished, (config, work, *others) = uncontracted
    work = dataclasses.replace(work, root=str(tmp_path / "work"))
    shutil.copytree(unfinished / ".shardmill", work.root)
    shards = publish.make_contract(config, work, *others).splits["test"].shards
    note = tmp_path / "work/shards" / f"{shards[1].file}.json"
    wrong = json.loads(note.read_text()) | {"records": shards[1].records + 1}
    note.write_text(json.dumps(wrong))
    with pytest.raises(IncompleteError, match=rf"should hold {shards[1].records} records. It holds {wrong['records']}"):
        publish.make_contract(config, work, *others)


@pytest.mark.parametrize("place", ["gs://b/out", ""])
def test_of_two_runs_that_cannot_be_locked_the_earlier_one_publishes_nothing(place, unpublished, tmp_path):
    unfinished, (_, work, *others) = unpublished
    out = place or str(tmp_path / "out")
    work = dataclasses.replace(work, root=f"{out}/.shardmill")
    with object_stores.in_memory():
        for path in unfinished.rglob("*"):
            if path.is_file():
                with storage.writing(f"{out}/{path.relative_to(unfinished)}") as file:
                    file.write(path.read_bytes())
        later = json.loads(storage.read_text(work.path("run.json"))) | {"run": "later"}
        storage.write_text(work.path("run.json"), json.dumps(later))
        before = storage.read_text(f"{out}/contract.json")
        with pytest.raises(BusyError, match=r"Another run has begun in .*shardmill' after"):
            publish.publish(out, work, *others)
        assert storage.read_text(f"{out}/contract.json") == before


@pytest.mark.parametrize("file", ["contract.json", "report.html", "schema.pbtxt"])
def test_a_disk_that_fills_while_publishing_leaves_the_old_dataset(prepared, unpublished, tmp_path, monkeypatch, file):
    unfinished, (_, work, *others) = unpublished
    out = tmp_path / "out"
    shutil.copytree(unfinished, out)
    write = storage.write_text

    def full(path, text):
        if os.path.basename(path) == file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        write(path, text)

    monkeypatch.setattr(storage, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        prepare.publish.publish(
            str(out),
            dataclasses.replace(work, root=str(out / ".shardmill")),
            *others,
        )
    assert contract.load(out) == contract.load(prepared[0])
    assert shard_digests(out) == shard_digests(prepared[0])


def test_a_contract_that_no_reader_would_take_leaves_the_old_dataset(prepared, unpublished, tmp_path, monkeypatch):
    unfinished, (_, work, *others) = unpublished
    out = tmp_path / "out"
    shutil.copytree(unfinished, out)
    monkeypatch.setattr(contract, "MAX_CONTRACT_BYTES", 1 << 10)
    with pytest.raises(ConfigError, match=r"contract\.json would have .* MiB and be refused.*larger --shard-size"):
        prepare.publish.publish(
            str(out),
            dataclasses.replace(work, root=str(out / ".shardmill")),
            *others,
        )
    monkeypatch.undo()
    assert contract.load(out) == contract.load(prepared[0])
    assert shard_digests(out) == shard_digests(prepared[0])


def test_two_runs_do_not_share_an_output(prepared, tmp_path):
    out, _, config = prepared
    descriptor = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match=r"Another run is writing to '.*insects'. Wait"):
            prepare.prepare(config)
    finally:
        os.close(descriptor)
    assert not (out / ".shardmill").exists()


def test_an_input_that_vanishes_leaves_the_old_dataset(prepared, tmp_path, monkeypatch):
    old, _, config = prepared
    out, photos = tmp_path / "out", tmp_path / "photos"
    shutil.copytree(old, out)
    gone = dataclasses.replace(config, input=str(photos), output=str(out), name="other")
    with pytest.raises(SourceError, match="There is nothing at"):
        prepare.prepare(gone)
    shutil.copytree(config.input, photos)
    check = prepare.listing.check

    def vanishes_after_the_check(spec, allow_lost_classes):
        reading = check(spec, allow_lost_classes)
        shutil.rmtree(photos)
        return reading

    monkeypatch.setattr(prepare.listing, "check", vanishes_after_the_check)
    with pytest.raises(Exception, match="cannot be read"):  # as Beam wraps it
        prepare.prepare(gone)
    assert contract.load(out) == contract.load(old)
    assert shard_digests(out) == shard_digests(old)


@pytest.mark.slow
def test_a_read_only_output_is_one_sentence_and_keeps_its_dataset(prepared, tmp_path):
    old, _, config = prepared
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", out], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        shutil.copytree(old, out, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", out], check=True)
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", "prepare", "--input", config.input, "--output", out],
            cwd=ROOT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert "Read-only file system" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert shard_digests(out) == shard_digests(old)
    finally:
        subprocess.run(["umount", out], check=True)
