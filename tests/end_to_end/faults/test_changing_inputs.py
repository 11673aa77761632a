"""Inputs that others change while a run works: between survey, listing, the first reading and the second."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable

import pytest

from pipelines.config import PrepareConfig
from pipelines.core.errors import DataRejectedError
from pipelines.dataset import source_changes, verify
from pipelines.job import pipeline, prepare
from pipelines.workers.pool import Workers
from tests.support.files.images import draw_photo

pytestmark = pytest.mark.slow
KINDS = ("gone", "grown", "other", "folder", "fifo", "linked", "linked-inside")


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
    """Two classes of ten photographs, one for each kind of change in each, and photographs outside of the input."""
    for i, kind in enumerate([*KINDS, "a", "b", "c"]):
        for label in ("cat", "dog"):
            draw_photo(tmp_path / "in" / label / f"{kind}.jpg", 2 * i + (label == "dog"), (40, 30))
    for i in range(3):
        draw_photo(tmp_path / "in" / "eel" / f"{i}.jpg", 100 + i, (40, 30))
    shutil.copytree(tmp_path / "in", tmp_path / "outside")
    return tmp_path / "in"


def change(photos: pathlib.Path, label: str) -> None:
    """Changes the files of a class as their names say, and makes the folder eel a link to the same files outside."""
    folder, outside = photos / label, photos.parent / "outside"
    for kind in KINDS:
        if kind not in ("grown", "other"):
            (folder / f"{kind}.jpg").unlink()
    with (folder / "grown.jpg").open("ab") as file:
        file.write(b"more")
    draw_photo(folder / "other.jpg", 1000, (40, 30))
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "fifo.jpg")
    (folder / "linked.jpg").symlink_to(outside / label / "linked.jpg")
    (folder / "linked-inside.jpg").symlink_to(folder / "a.jpg")
    shutil.rmtree(photos / "eel")
    (photos / "eel").symlink_to(outside / "eel")


def run(photos: pathlib.Path, monkeypatch, task: str, act: Callable[[], None], **options) -> prepare.Result:
    """Prepares, and acts just before the first request of a task."""
    submit, done = Workers.submit, []

    def submitted(self, name, *rest, **more):
        if name == task and not done:
            done.append(name)
            act()
        return submit(self, name, *rest, **more)

    config = PrepareConfig(
        input=str(photos), output=str(photos.parent / "out"), name="x", size=(8, 8), encoding="uint8",
        max_reject_rate=1.0, allow_lost_classes=True, image_timeout=30.0, **options,
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(Workers, "submit", submitted)
        result = prepare.prepare(config)
    assert done
    assert verify.verify(config.output) == []
    return result


def reasons(result: prepare.Result) -> dict[str, str]:
    return {"/".join(r.uri.split("/")[-2:]): r.reason for r in result.summary.rejects}


EELS = {f"eel/{i}.jpg": "changed" for i in range(3)}


def test_between_the_listing_and_the_first_reading(photos, monkeypatch):
    """What is there when it is read counts, and nothing of it lies outside."""
    result = run(photos, monkeypatch, "fingerprint", lambda: change(photos, "cat"))
    assert reasons(result) == EELS | {
        "cat/gone.jpg": "missing",
        "cat/folder.jpg": "not-a-file",
        "cat/fifo.jpg": "not-a-file",
        "cat/linked.jpg": "changed",
    }


def test_between_the_first_reading_and_the_second(photos, monkeypatch):
    result = run(photos, monkeypatch, "make", lambda: change(photos, "cat"))
    assert reasons(result) == EELS | {
        "cat/gone.jpg": "missing",
        "cat/folder.jpg": "not-a-file",
        "cat/fifo.jpg": "not-a-file",
        "cat/linked.jpg": "changed",
        "cat/grown.jpg": "changed",
        "cat/other.jpg": "changed",
        "cat/linked-inside.jpg": "changed",
    }
    found = source_changes.find(str(photos.parent / "out"))
    assert {c.input for c in found.changes} >= {"cat/gone.jpg", "cat/grown.jpg", "cat/other.jpg"}


def test_links_that_lead_outside_are_read_where_that_is_permitted(photos, monkeypatch):
    result = run(photos, monkeypatch, "make", lambda: change(photos, "cat"), allow_outside=True)
    assert "cat/linked.jpg" not in reasons(result)  # the bytes are the same
    assert not EELS.keys() & reasons(result).keys()


def test_a_class_that_vanishes_after_the_survey_is_not_lost_in_silence(photos, monkeypatch):
    write = pipeline.write

    def later(*given):
        shutil.rmtree(photos / "eel")
        write(*given)

    monkeypatch.setattr(prepare.pipeline, "write", later)
    config = PrepareConfig(input=str(photos), output=str(photos.parent / "out"), name="x", size=(8, 8))
    with pytest.raises(DataRejectedError, match=r"the classes would be missing: eel \(3\)\."):
        prepare.prepare(config)
    assert not (photos.parent / "out/contract.json").exists()
