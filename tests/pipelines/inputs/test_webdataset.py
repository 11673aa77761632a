"""Shards of webdataset: which inputs they are, and which samples they hold."""

from __future__ import annotations

import io
import json
import os
import tarfile

import pytest

from pipelines.config import PrepareConfig
from pipelines.core.elements import Source
from pipelines.core.errors import ConfigError, SourceError
from pipelines.core.summary import Rejected
from pipelines.inputs import listing, webdataset
from pipelines.inputs.rules import InputSpec, TableSpec


def write(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def listed(path, **options):
    """(key, label, split) of each source, and (end of the path, reason) of each reject."""
    spec = InputSpec(str(path), **options)
    found = list(listing.list_sources(listing.check(spec).spec))
    sources = [(item.key, item.label, item.split) for item in found if isinstance(item, Source)]
    rejects = [(item.uri.rpartition("/")[2], item.reason) for item in found if isinstance(item, Rejected)]
    return sources, rejects


CATS = {"1.jpg": b"one", "1.cls": b"0\n", "2.jpg": b"two", "2.cls": b"1", "2.txt": b"a dog on a sofa"}


def test_a_shard_is_its_images_with_their_labels(tmp_path):
    assert listed(write(tmp_path / "a.tar", CATS)) == ([("1.jpg", "0", ""), ("2.jpg", "1", "")], [])


def test_the_bytes_of_a_sample_are_those_in_the_shard(tmp_path):
    path = write(tmp_path / "a.tar", CATS)
    first = next(iter(listing.list_sources(InputSpec(str(path)))))
    assert first.uri == f"{path}://plain@512+3/1.jpg"
    assert webdataset.storage.read_input(first.uri, 100) == b"one"


def test_a_folder_of_shards_has_the_splits_of_their_names(tmp_path):
    write(tmp_path / "d/train-000000.tar", CATS)
    write(tmp_path / "d/train-000001.tar", CATS)
    write(tmp_path / "d/val-000000.tar", CATS)
    (tmp_path / "d/sizes.json").write_text("{}")
    sources, rejects = listed(tmp_path / "d")
    assert rejects == []
    assert sources == [
        (f"{shard}.tar/{key}.jpg", label, split)
        for shard, split in (("train-000000", "train"), ("train-000001", "train"), ("val-000000", "validation"))
        for key, label in (("1", "0"), ("2", "1"))
    ]
    said = listing.check(InputSpec(str(tmp_path / "d"))).told
    assert said == (
        f"Reads {str(tmp_path / 'd')!r} as webdataset: 3 shards, the label from .cls. Splits, by the names of the "
        "shards: train, validation.",
    )


def test_folders_of_shards_are_splits_and_equal_names_stay_apart(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"d/{split}/0.tar", CATS)
    assert listed(tmp_path / "d")[0] == [
        (f"{split}/0.tar/{key}.jpg", label, split)
        for split in ("test", "train")
        for key, label in (("1", "0"), ("2", "1"))
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("s-{000..001}.tar", ["s-000.tar", "s-001.tar"]),
        ("s-{1..1}{0..1}.tar", ["s-10.tar", "s-11.tar"]),
        ("s-00*.tar", ["s-000.tar", "s-001.tar", "s-002.tar"]),
    ],
)
def test_patterns_name_shards(tmp_path, pattern, names):
    for name in ("s-000", "s-001", "s-002", "s-10", "s-11"):
        write(tmp_path / f"{name}.tar", CATS)
    assert [os.path.basename(path) for path in webdataset.shards(str(tmp_path / pattern))] == names
    assert len(listed(tmp_path / pattern)[0]) == 2 * len(names)


def test_a_shard_that_is_not_there_is_named(tmp_path):
    write(tmp_path / "s-0.tar", CATS)
    with pytest.raises(SourceError, match=r"There is no shard '.*s-1.tar' to read"):
        listed(tmp_path / "s-{0..2}.tar")


def test_the_label_may_be_a_key_of_json(tmp_path):
    about = {"label": "cat", "width": 30, "extra": None, "sure": True}
    path = write(tmp_path / "a.tar", {"1.png": b"", "1.json": json.dumps(about).encode()})
    assert listed(path, table=TableSpec(label_column="label"))[0] == [("1.png", "cat", "")]
    assert listed(path, table=TableSpec(label_column="width"))[0] == [("1.png", "30", "")]
    with pytest.raises(SourceError, match="Name the key of it that holds the label"):
        listed(path)
    for key, why in (("absent", "KeyError"), ("extra", "NoneType"), ("sure", "bool")):
        spec = InputSpec(str(path), table=TableSpec(label_column=key))
        [item] = listing.list_sources(spec)
        assert (item.reason, why in item.detail) == ("no-label", True)


def test_what_cannot_be_used_is_accounted_for(tmp_path):
    members = {
        "ok.jpg": b"", "ok.cls": b"0",
        "no-label.jpg": b"",
        "bad.jpg": b"", "bad.cls": b"\xff\xfe",
        "empty.jpg": b"", "empty.cls": b" \n",
        "alone.cls": b"0",
        "two.left.jpg": b"", "two.right.jpg": b"", "two.cls": b"1",
        "../out.jpg": b"",
    }  # fmt: skip
    path = write(tmp_path / "a.tar", members)
    sources, rejects = listed(path)
    assert sources == [("ok.jpg", "0", ""), ("two.left.jpg", "1", "")]
    assert sorted(rejects) == [
        ("alone.cls", "other-file"), ("bad.jpg", "no-label"), ("empty.jpg", "no-label"), ("no-label.jpg", "no-label"),
        ("out.jpg", "outside-input"), ("two.right.jpg", "several-images"),
    ]  # fmt: skip
    assert ("two.right.jpg", "1", "") in listed(path, include=("*.right.jpg", "ok.jpg"))[0]


@pytest.mark.parametrize(
    ("members", "options"),
    [
        ({"cat/1.jpg": b"", "dog/2.jpg": b""}, {}),
        ({"cat/1.jpg": b"", "cat/1.json": b"{}", "dog/2.jpg": b""}, {}),  # annotations beside class folders
        ({"cat/1.jpg": b"", "cat/1.cls": b"0", "dog/2.jpg": b""}, {"label_from": "top", "include": ("*.jpg",)}),
    ],
)
def test_a_tar_of_class_folders_is_none(tmp_path, members, options):
    sources, _ = listed(write(tmp_path / "a.tar", members), **options)
    assert sources == [("cat/1.jpg", "cat", ""), ("dog/2.jpg", "dog", "")]


def test_a_folder_with_pictures_is_none(tmp_path):
    write(tmp_path / "d/backup.tar", CATS)
    for name in ("cat/1.jpg", "dog/1.jpg"):
        (tmp_path / "d" / name).parent.mkdir()
        (tmp_path / "d" / name).write_bytes(b"")
    assert webdataset.shards(str(tmp_path / "d")) == []
    assert sorted(source[1] for source in listed(tmp_path / "d")[0]) == ["cat", "dog"]


def test_other_options_of_tables_are_refused(tmp_path):
    path = str(write(tmp_path / "a.tar", CATS))
    PrepareConfig(input=path, output="o", label_column="label")
    with pytest.raises(ConfigError, match="--path-column is about tables"):
        PrepareConfig(input=path, output="o", path_column="file", label_column="label")
    with pytest.raises(ConfigError, match="--label-column is about tables"):
        PrepareConfig(input=str(tmp_path / "x.zip"), output="o", label_column="label")
