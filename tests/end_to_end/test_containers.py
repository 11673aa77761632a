"""The whole of `prepare` with a zip or a tar as input: the shards of the folder, a ledger, verify and look."""

from __future__ import annotations

import collections
import dataclasses
import io
import pathlib
import shutil
import tarfile
import zipfile

import pytest
from PIL import Image

from pipelines.cli import look_output
from pipelines.config import PrepareConfig
from pipelines.contract import ledger
from pipelines.dataset import contact_sheet, source_changes
from pipelines.inputs import listing
from pipelines.inputs.rules import InputSpec
from pipelines.job import prepare

pytestmark = pytest.mark.slow


def shards(c):
    return {(shard.file, shard.sha256) for split in c.splits.values() for shard in split.shards}


@pytest.fixture(scope="module", params=["zip", "tar"])
def container(request, photos, tmp_path_factory):
    return shutil.make_archive(str(tmp_path_factory.mktemp("containers") / "photos"), request.param, photos)


@pytest.fixture(scope="module")
def published(container, prepared, tmp_path_factory):
    out = tmp_path_factory.mktemp("of-container") / "insects"
    config = dataclasses.replace(prepared[2], input=container, output=str(out))
    return out, prepare.prepare(config)


def test_the_shards_are_those_of_the_folder(container, published, prepared):
    out, result = published

    assert shards(result.contract) == shards(prepared[1].contract)
    assert result.contract.rejected == {"not-an-image": 1}
    assert [r.uri.startswith(f"{container}://") for r in result.summary.rejects] == [True]
    assert result.summary.rejects[0].uri.endswith("/bee/notes.jpg")
    uris = {
        line.uri
        for split in result.contract.splits.values()
        for shard in split.shards
        for line in ledger.lines(str(out), shard.file)
    }
    assert all(uri.startswith(f"{container}://") for uri in uris)


def test_the_inputs_are_compared_in_the_container_and_in_a_folder_of_the_same(published, photos, container, tmp_path):
    out = str(published[0])
    for source in ("", container, str(photos)):
        assert source_changes.find(out, source) == source_changes.Drift([], 41, 0)

    with zipfile.ZipFile(tmp_path / "other.zip", "w", zipfile.ZIP_STORED) as other:  # each member lies elsewhere
        for path in sorted(photos.rglob("*.*"), reverse=True):
            if path.name != "00.jpg":
                other.writestr(str(path.relative_to(photos)), path.read_bytes() + b"." * (path.name == "clear.png"))
    found = source_changes.find(out, str(tmp_path / "other.zip")).changes

    assert [(change.kind, change.input) for change in found] == [
        ("changed", "ant/clear.png"),
        ("gone", "ant/00.jpg"),
        ("gone", "bee/00.jpg"),
        ("gone", "cat/00.jpg"),
    ]


def test_look_counts_and_draws_the_members(container, tmp_path, monkeypatch):
    monkeypatch.chdir(pathlib.Path(container).parent)  # workers may have started in another folder

    reading = listing.check(InputSpec(pathlib.Path(container).name))
    found = look_output.count(reading, False)
    drawn = contact_sheet.load_sources(found.examples["cat"])

    assert {label: counts[""] for label, counts in found.images.items()} == {"ant": 27, "bee": 9, "cat": 5}
    assert len(drawn) == 5
    assert all(isinstance(picture, Image.Image) for picture in drawn)


def test_shards_of_webdataset_are_prepared_and_compared(photos, tmp_path):
    pictures = sorted(photos.glob("*/[01]*.jpg"))
    for number in range(2):
        with tarfile.open(tmp_path / f"part-{number}.tar", "w") as tar:
            for index, path in enumerate(pictures[number::2]):
                tar.add(path, f"{index:04d}.jpg")
                label = tarfile.TarInfo(f"{index:04d}.cls")
                label.size = len(path.parent.name)
                tar.addfile(label, io.BytesIO(path.parent.name.encode()))
    out = str(tmp_path / "out")
    config = PrepareConfig(input=f"{tmp_path}/part-{{0..1}}.tar", output=out, size=(8, 8), workers=1)
    found = prepare.prepare(config)

    by_class = collections.Counter(path.parent.name for path in pictures)
    assert found.contract.labels == ("ant", "bee", "cat")
    natural = collections.Counter()
    for split in found.contract.splits.values():
        natural.update(split.natural)
    assert natural == by_class
    assert source_changes.find(out) == source_changes.Drift([], len(pictures), 0)
    (tmp_path / "part-1.tar").write_bytes((tmp_path / "part-0.tar").read_bytes())
    assert {change.kind for change in source_changes.find(out).changes} == {"changed"}
