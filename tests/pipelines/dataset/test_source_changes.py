"""Inputs that changed, vanished or came since a dataset was made of them are named, each of them and no other."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil

import pytest

from pipelines.cli import main
from pipelines.contract import Shard, Split
from pipelines.core.errors import SourceError
from pipelines.dataset import source_changes
from tests.support import reports


def changes(dataset: pathlib.Path, source: object = "") -> list[tuple[str, str]]:
    return [(change.kind, change.input) for change in source_changes.find(str(dataset), str(source)).changes]


@pytest.fixture
def moved(photos, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(photos, tmp_path / "elsewhere"))


def test_nothing_has_changed_here_or_elsewhere(prepared, moved):
    for source in ("", moved, f"{moved}/"):
        assert source_changes.find(str(prepared[0]), str(source)) == source_changes.Drift([], 41, 0)


def test_every_kind_of_change_is_named(prepared, moved):
    same = moved / "bee/01.jpg"
    before, data = same.stat(), bytearray(same.read_bytes())
    data[len(data) // 2] ^= 1
    same.write_bytes(data)
    os.utime(same, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (same.stat().st_size, same.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    (moved / "bee/notes.jpg").write_text("still not an image")  # a reject is known by its content too
    (moved / "cat/00.jpg").rename(moved / "ant/cat.jpg")
    (moved / "ant/00.jpg").unlink()
    os.mkfifo(moved / "ant/00.jpg")
    (moved / "cat/new.jpg").write_bytes((moved / "cat/01.jpg").read_bytes())
    (moved / "cat/.hidden.jpg").touch()
    (moved / "readme.txt").touch()

    found = source_changes.find(str(prepared[0]), str(moved))

    assert [(c.kind, c.input) for c in found.changes] == [
        ("changed", "ant/00.jpg"),
        ("changed", "bee/01.jpg"),
        ("changed", "bee/notes.jpg"),
        ("gone", "cat/00.jpg"),
        ("new", "ant/cat.jpg"),
        ("new", "cat/new.jpg"),
    ]
    details = {c.input: c.detail for c in found.changes}
    assert details["ant/00.jpg"] == "it is rejected now: not-a-file"
    assert details["cat/00.jpg"] == "of class cat"
    was, now = (hashlib.sha256(d).hexdigest()[:12] for d in (data_before(prepared, "bee/01.jpg"), bytes(data)))
    assert details["bee/01.jpg"] == f"its content was {was}… and is {now}…"


def data_before(prepared, key: str) -> bytes:
    return (pathlib.Path(prepared[2].input) / key).read_bytes()


def test_an_input_that_is_gone_altogether(prepared, tmp_path):
    with pytest.raises(SourceError, match=r"There is|No such file.*name it: --source PATH"):
        source_changes.find(str(prepared[0]), str(tmp_path / "nothing"))


def manifest_dataset(root: pathlib.Path, rows: list[tuple[str, str]], rejected: list[dict[str, str]]) -> pathlib.Path:
    """A dataset that says it was made of root/m.csv; `rows` are (path, label) of records."""
    out = root / "out"
    (out / "ledger").mkdir(parents=True)
    (out / "rejects").mkdir()
    (out / "stats").mkdir()
    settings = {"input": str(root / "m.csv"), "allow_outside": False}
    (out / "stats/summary.json").write_text(json.dumps({"settings": settings}))
    entry = {"label": "cat", "split": "", "digest": "", "stage": "fingerprint", "detail": "So it is."}
    lines = [json.dumps({**entry, **r, "uri": str(root / r["uri"])}) + "\n" for r in rejected]
    (out / "rejects/rejected.jsonl").write_text("".join(lines))
    (out / "rejects/unused.jsonl").touch()
    records = [
        {"key": f"{i}", "uri": str(root / path), "label": label, "copy": copy,
         "digest": hashlib.sha256((root / path).read_bytes()).hexdigest()}
        for i, (path, label) in enumerate(rows) for copy in (0, 1)
    ]  # fmt: skip
    (out / "ledger/x.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    n = {"sound": len(records)}
    made = reports.contract(splits={"train": Split(n, n, {}, (Shard("x", len(records), 1, "0" * 64),))})
    (out / "contract.json").write_text(made.to_json())
    return out


def test_manifests_and_what_could_not_be_read(tmp_path):
    for name in "abcdefg":
        (tmp_path / f"{name}.jpg").write_text(name)
    rejected = [
        {"uri": "late.jpg", "reason": "missing"},
        {"uri": "never.jpg", "reason": "missing"},
        {"uri": "d.jpg", "reason": "timeout"},
        {"uri": "e.jpg", "reason": "unreadable"},
        {"uri": "f.jpg", "reason": "contradictory-rows", "stage": "list"},
        {"uri": "a.jpg", "reason": "repeated-row", "stage": "list"},
    ]
    out = manifest_dataset(tmp_path, [("a.jpg", "cat"), ("b.jpg", "cat"), ("c.jpg", "dog")], rejected)
    manifest = "path,label\na.jpg,cat\na.jpg,cat\nb.jpg,dog\nlate.jpg,cat\nnever.jpg,cat\nd.jpg,cat\n{}g.jpg,cat\n"
    (tmp_path / "m.csv").write_text(manifest.format("e.jpg,cat\nf.jpg,cat\nf.jpg,dog\n"))
    (tmp_path / "late.jpg").touch()
    (tmp_path / "b.jpg").rename(tmp_path / "B.jpg")

    found = source_changes.find(str(out))

    assert [(c.kind, c.input, c.detail.split(":")[0]) for c in found.changes] == [
        ("changed", "e.jpg", "it can be used now; it was rejected as unreadable"),
        ("gone", "b.jpg", f"it was {hashlib.sha256(b'b').hexdigest()[:12]}… of class cat"),
        ("gone", "c.jpg", "of class dog"),
        ("new", "g.jpg", "of class cat"),
        ("new", "late.jpg", "it can be used now; it was rejected as missing"),
    ]
    assert (found.compared, found.not_comparable) == (7, 2)  # d and never
    (tmp_path / "B.jpg").rename(tmp_path / "b.jpg")
    (tmp_path / "m.csv").write_text(manifest.format("f.jpg,cat\n"))
    assert ("changed", "f.jpg") in changes(out)  # its rows agree now
    assert [c.detail for c in source_changes.find(str(out)).changes if c.input == "b.jpg"] == [
        "its class was cat and is dog"
    ]


def test_the_command_tells_all_and_exits_with_1(prepared, moved, capsys):
    out = str(prepared[0])
    assert main.main(["verify", out, "--source"]) == 0
    assert "Compared 41 inputs with what the dataset was made of: all have the same SHA-256." in (
        capsys.readouterr().out
    )
    for i in range(150):
        (moved / f"cat/new\n{i:03d}.jpg").touch()
    assert main.main(["verify", out, "--source", str(moved)]) == 1
    shown = capsys.readouterr()
    assert "new: cat/new\\u000a000.jpg (of class cat)" in shown.out.splitlines()
    assert "and 50 more: --json prints all." in shown.out.splitlines()
    assert shown.err.splitlines()[-1] == "The inputs have changed since: 150 new."
    assert main.main(["verify", out, "--source", str(moved), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["problems"], len(data["changes"]), data["compared"]) == ([], 150, 191)
    assert data["changes"][0] == {"kind": "new", "input": "cat/new\n000.jpg", "detail": "of class cat"}
    assert main.main(["verify", out, "--source", str(moved / "nothing")]) == 1
    assert "name it: --source PATH" in capsys.readouterr().err


def test_another_class_folder_layout_of_globs(tmp_path):
    """A glob's paths are compared below its fixed part."""
    (tmp_path / "in/cat").mkdir(parents=True)
    (tmp_path / "in/cat/1.jpg").write_text("one")
    out = manifest_dataset(tmp_path, [("in/cat/1.jpg", "cat")], [])
    settings = {"settings": {"input": f"{tmp_path}/in/*/*.jpg"}}
    (out / "stats/summary.json").write_text(json.dumps(settings))
    shutil.copytree(tmp_path / "in", tmp_path / "there")
    (tmp_path / "there/cat/2.jpg").touch()

    assert changes(out) == []
    assert changes(out, tmp_path / "there") == [("new", "cat/2.jpg")]
    assert changes(out, f"{tmp_path}/there/*/1*") == []


def test_a_dataset_that_does_not_say_where_its_input_is(tmp_path):
    (tmp_path / "1.jpg").write_text("one")
    out = manifest_dataset(tmp_path, [("1.jpg", "cat")], [])
    for text in ("", "{}", '{"settings": {"input": 5}}', '{"settings": [', "[" * 10_000):
        (out / "stats/summary.json").write_text(text)
        with pytest.raises(SourceError, match=r"does not say where the input is\. Name it: --source PATH"):
            source_changes.find(str(out))


def test_settings_that_this_version_does_not_know_are_refused(tmp_path):
    (tmp_path / "1.jpg").write_text("one")
    out = manifest_dataset(tmp_path, [("1.jpg", "cat")], [])
    (out / "stats/summary.json").write_text(json.dumps({"settings": {"input": str(tmp_path), "layout": "deep"}}))
    with pytest.raises(SourceError, match=r"should name a layout of auto, class, split\. Received: 'deep'"):
        source_changes.find(str(out))
    (out / "stats/summary.json").write_text("{}")
    with pytest.raises(SourceError, match=r"cannot be listed: .*hdfs:// cannot be read or written"):
        source_changes.find(str(out), "hdfs://host/in")


def test_a_table_with_an_image_root_that_was_moved_with_its_images(tmp_path):
    (tmp_path / "old/img").mkdir(parents=True)
    for name in "ab":
        (tmp_path / f"old/img/{name}.jpg").write_text(name)
    (tmp_path / "old/m.csv").write_text("id,label\na,cat\nb,cat\n")
    out = manifest_dataset(tmp_path / "old", [("img/a.jpg", "cat"), ("img/b.jpg", "cat")], [])
    settings = {"input": str(tmp_path / "old/m.csv"), "image_root": str(tmp_path / "old/img"), "suffix": ".jpg",
                "path_column": "id", "path_prefix": [["x", "y"]]}  # fmt: skip
    (out / "stats/summary.json").write_text(json.dumps({"settings": settings}))
    assert source_changes.find(str(out)).changes == []

    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new/img/b.jpg").write_text("other")
    found = source_changes.find(str(tmp_path / "new/out"), str(tmp_path / "new/m.csv"))

    assert [(c.kind, c.input) for c in found.changes] == [("changed", "b.jpg")]
    assert found.compared == 2


def test_a_relative_image_root_is_the_one_that_prepare_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "img").mkdir()
    for name in "ab":
        (tmp_path / f"img/{name}.jpg").write_text(name)
    (tmp_path / "m.csv").write_text("path,label\na.jpg,cat\nb.jpg,cat\n")
    out = manifest_dataset(tmp_path, [("img/a.jpg", "cat"), ("img/b.jpg", "cat")], [])  # with complete paths
    settings = {"input": "m.csv", "image_root": "img/"}
    (out / "stats/summary.json").write_text(json.dumps({"settings": settings}))

    assert source_changes.find(str(out)) == source_changes.Drift([], 2, 0)
    assert source_changes.find(str(out), str(tmp_path / "m.csv")).changes == []


def test_a_changed_value_of_a_kept_column_is_told(tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.jpg").write_text(name)
    (tmp_path / "m.csv").write_text("path,label,age,site\na.jpg,cat,3,A\nb.jpg,cat,,B\nc.jpg,cat,5,C\nd.jpg,cat,6,D\n")
    read = {"uri": "d.jpg", "reason": "corrupt", "digest": hashlib.sha256(b"d").hexdigest()}  # its values are not kept
    out = manifest_dataset(tmp_path, [(f"{name}.jpg", "cat") for name in "abc"], [read])
    kept = {"a.jpg": {"age": 3, "site": "A"}, "b.jpg": {"age": None, "site": "B"}, "c.jpg": {"age": 5, "site": "C"}}
    lines = [json.loads(line) for line in (out / "ledger/x.jsonl").read_text().splitlines()]
    made = [line | {"metadata": kept[pathlib.Path(line["uri"]).name]} for line in lines]
    (out / "ledger/x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in made))
    contract = json.loads((out / "contract.json").read_text())
    contract["metadata"] = [
        {"name": "age", "dtype": "int64", "missing": 1}, {"name": "site", "dtype": "string", "missing": 0},
    ]  # fmt: skip
    (out / "contract.json").write_text(json.dumps(contract))
    settings = {"input": str(tmp_path / "m.csv"), "allow_outside": False, "keep": ["age", "site"]}
    (out / "stats/summary.json").write_text(json.dumps({"settings": settings}))

    assert source_changes.find(str(out)).changes == []
    changed = "path,label,age,site\na.jpg,cat,4,Z\nb.jpg,cat,7,B\nc.jpg,cat,five,C\nd.jpg,cat,7,E\n"
    (tmp_path / "m.csv").write_text(changed)
    found = source_changes.find(str(out)).changes
    assert [(c.kind, c.input, c.detail) for c in found] == [
        ("changed", "a.jpg", "its column 'age' was 3 and is 4, 'site' was A and is Z"),
        ("changed", "b.jpg", "its column 'age' was empty and is 7"),
        ("changed", "c.jpg", "it is rejected now: bad-row"),
    ]
