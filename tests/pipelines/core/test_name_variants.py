"""Names that differ in case only, and images that a manifest forgets: counted exactly, and nothing chosen silently."""

from __future__ import annotations

import json
import pathlib

import pytest

from pipelines import storage
from pipelines.cli import summary_table
from pipelines.config import PrepareConfig
from pipelines.core import name_variants
from pipelines.inputs.rules import InputSpec
from pipelines.inputs.tables import unlisted
from pipelines.inputs.tables.unlisted import Unlisted
from pipelines.job import prepare
from tests.support.files.images import draw_photo


def config(path: pathlib.Path, **options) -> PrepareConfig:
    return PrepareConfig(input=str(path), output=str(path.parent / "out"), **options)


def test_variants():
    names = ["cat", "Cat", "dog", "CAT", "é", "e\u0301", "straße", "STRASSE", "cats"]
    assert name_variants.variants(names) == [["CAT", "Cat", "cat"], ["STRASSE", "straße"], ["e\u0301", "é"]]
    assert name_variants.variants(["cat", "dog"]) == []
    assert name_variants.variants(["red apple", "red  apple", "Red\u00a0apple", "redapple"]) == [
        ["Red\u00a0apple", "red  apple", "red apple"]
    ]


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ("a.jpg", "A.JPG"),
        ("a.JPG", "A.JPG"),
        ("sub/Deep/x.png", "Sub/deep/X.png"),
        ("größe.jpg", "gro\u0308ße.jpg"),
        ("b.jpg", ""),
        ("sub/deep", ""),  # a folder is no image
        ("nothing/at/all.jpg", ""),
    ],
)
def test_the_file_that_was_meant_is_named(tmp_path, asked, there):
    (tmp_path / "Sub/deep").mkdir(parents=True)
    for name in ("A.JPG", "Sub/deep/X.png", "gro\u0308ße.jpg"):
        (tmp_path / name).touch()
    assert name_variants.nearby(str(tmp_path / asked)) == (str(tmp_path / there) if there else "")
    with pytest.raises(storage.StorageError) as raised:
        storage.read_input(str(tmp_path / asked), 10)
    if (tmp_path / asked).is_dir() or raised.value.reason != "missing":
        return
    assert (f"There is {str(tmp_path / there)!r}" in str(raised.value)) == bool(there)


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Relative").mkdir()
    (tmp_path / "Relative/One.jpg").touch()
    assert name_variants.nearby("relative/one.JPG") == "Relative/One.jpg"
    assert name_variants.nearby("absent") == ""


def test_images_that_no_row_names(tmp_path):
    hidden = (".hidden/5.jpg", ".6.jpg")
    for name in ("1.jpg", "2.JPEG", "more/3.png", "more/4.tiff", "more/notes.txt", "out/7.png", *hidden):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    path = tmp_path / "m.csv"
    path.write_text("path,label\n1.jpg,cat\n./more//3.png,cat\nabsent.jpg,cat\n,cat\ngs://b/x.jpg,cat\n")
    assert unlisted.find(InputSpec(str(path)), str(tmp_path / "out")) == Unlisted(2, f"{tmp_path}/2.JPEG", True)
    path.write_text(f"path,label\n{tmp_path}/2.JPEG,cat\n")
    assert unlisted.find(InputSpec(str(path)), str(tmp_path / "out")) == Unlisted(3, f"{tmp_path}/1.jpg", True)
    path.write_text("path,label\n/elsewhere/1.jpg,cat\n")  # the images are not where the manifest is
    assert unlisted.find(InputSpec(str(path)), str(tmp_path / "out")) == Unlisted()
    path.unlink()
    assert unlisted.find(InputSpec(str(path)), str(tmp_path / "out")) == Unlisted()


def test_looking_for_them_has_an_end(tmp_path, monkeypatch):
    for i in range(5):
        (tmp_path / f"{i}").mkdir()
        (tmp_path / f"{i}/{i}.jpg").touch()
    path = tmp_path / "m.csv"
    path.write_text("path,label\n0/0.jpg,cat\n")
    monkeypatch.setattr(unlisted, "MOST_LOOKED_AT", 2)
    assert unlisted.find(InputSpec(str(path)), str(tmp_path / "out")) == Unlisted(1, f"{tmp_path}/1/1.jpg", False)


@pytest.mark.slow
def test_every_disagreement_of_a_manifest_is_counted_in_a_whole_run(tmp_path):
    for i in range(12):
        draw_photo(tmp_path / f"{i}.png", i, (8, 8))
    draw_photo(tmp_path / "B.PNG", 50, (8, 8))
    for name in ("spare.png", "other/Spare<b>.jpg"):
        draw_photo(tmp_path / name, 60, (8, 8))
    rows = [
        *((f"{i}.png", "Cat" if i < 3 else "cat" if i < 8 else "dog") for i in range(10)),
        ("0.png", "Cat"),
        ("./1.png", "Cat"),  # repeated
        ("10.png", "cat"),
        ("10.png", "Cat"),
        ("11.png", "cat"),
        ("11.png", "dog"),  # contradictory
        ("b.png", "cat"),
        ("gone.png", "dog"),
    ]  # missing, one by its case
    (tmp_path / "m.csv").write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))

    result = prepare.prepare(config(tmp_path / "m.csv", size=(8, 8), max_reject_rate=0.9))

    out, s = tmp_path / "out", result.summary
    rejected = {"contradictory-rows": 4, "missing": 2, "repeated-row": 2}
    assert s.rejected == result.contract.rejected == rejected
    assert (s.read, s.unlisted) == (18, 3)
    first = tmp_path / "B.PNG"
    warnings = [
        "These classes differ only in case, blanks or Unicode form, and are kept as 2 classes: 'Cat' (3 images), "
        "'cat' (5 images).",
        f"3 images in the manifest's folder are not listed in it; the first is {first}.",
    ]
    assert [w for w in s.warnings if not w.startswith("Split")] == warnings
    details = {pathlib.Path(r.uri).name: r.detail for r in s.rejects if r.reason == "missing"}
    assert details == {
        "b.png": f"There is no such file. There is '{first}': the case of its name differs, or its Unicode form.",
        "gone.png": "There is no such file.",
    }
    shown = summary_table.summary_table(result.contract, s)
    assert "rejected 8 (contradictory-rows 4, missing 2, repeated-row 2)" in shown
    assert all(f"warning: {w}" in shown for w in warnings)
    data = json.loads((out / "stats/summary.json").read_text())
    assert (data["rejected"], data["unlisted"]) == (rejected, 3)
    page = (out / "report.html").read_text()
    assert "3 images in the manifest's folder are not listed in it." in " ".join(page.split())
    assert "and are kept as 2 classes" in page
