"""A table of labels that people gave or mended: what it changes, and what is refused."""

from __future__ import annotations

import pathlib

import pytest

from pipelines.config import PrepareConfig
from pipelines.core import hashing
from pipelines.core.elements import UNLABELLED, Source
from pipelines.core.errors import ConfigError
from pipelines.core.summary import Rejected
from pipelines.inputs import listing
from pipelines.inputs.classes_file import Classes
from pipelines.inputs.rules import InputSpec, TableSpec


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "new/1.jpg", "new/2.jpg", "new/3.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "photos"


def listed(photos: pathlib.Path, text: str, **options) -> dict[str, Source | Rejected]:
    """Key of a source, or name of a reject -> what it is."""
    file = photos.parent / "mended.csv"
    file.write_text(text)
    options = {"unlabelled": ("new",), **options}
    items = listing.list_sources(InputSpec(str(photos), corrections=str(file), **options))
    return {i.key if isinstance(i, Source) else i.uri.removeprefix(f"{photos}/"): i for i in items}


def labels(found: dict[str, Source | Rejected]) -> dict[str, tuple[str, str]]:
    return {key: (item.label, item.split) for key, item in found.items() if isinstance(item, Source)}


def test_labels_are_filled_in_and_overridden_by_path_and_by_key(photos):
    key = hashing.record_key("new/2.jpg", 0)
    text = f"key,path,label\n,new/1.jpg,dog\n{key},elsewhere/2.jpg,cat\n,{photos}/cat/2.jpg,dog\n"

    found = labels(listed(photos, text))

    assert found == {
        "cat/1.jpg": ("cat", ""), "cat/2.jpg": ("dog", ""), "dog/1.jpg": ("dog", ""),
        "new/1.jpg": ("dog", ""), "new/2.jpg": ("cat", ""), "new/3.jpg": ("", UNLABELLED),
    }  # fmt: skip


def test_answers_that_are_not_sure_are_left_out_but_not_what_a_person_changed(photos):
    text = (
        "path;label;answer;confidence;split\n"
        "new/1.jpg;cat;cat;0,6;train\n"  # below, with the comma of a spreadsheet
        "new/2.jpg;dog;cat;0,6;train\n"  # changed
        "new/3.jpg;dog;dog;0,95;train\n"
    )
    found = labels(listed(photos, text, min_confidence=0.9))
    assert found["new/1.jpg"] == ("", UNLABELLED)
    assert found["new/2.jpg"] == found["new/3.jpg"] == ("dog", "train")
    spec = InputSpec(
        str(photos), unlabelled=("new",), corrections=str(photos.parent / "mended.csv"), min_confidence=0.9
    )
    assert listing.check(spec).told[-1] == (
        f"Takes labels from {spec.corrections!r}: 3 rows, 2 give a label, 1 are less sure than 0.9 and count as empty. "
        "Of these labels, 1 are answers of a model that nobody changed."
    )


def test_without_a_column_answer_the_confidence_decides(photos):
    found = labels(listed(photos, "path,label,confidence\nnew/1.jpg,cat,0.5\nnew/2.jpg,cat,\n", min_confidence=0.9))
    assert found["new/1.jpg"] == ("", UNLABELLED)
    assert found["new/2.jpg"] == ("cat", "")


def test_keep_says_what_is_done_with_a_label(photos):
    text = (
        "path,label,suggested,keep\ncat/1.jpg,cat,dog,no\ncat/2.jpg,cat,dog,\ndog/1.jpg,dog,cat,yes\n"
        "new/1.jpg,,dog,drop\nnew/2.jpg,,dog,No\n"
    )
    found = listed(photos, text)
    assert labels(found) == {
        "cat/1.jpg": ("dog", ""), "cat/2.jpg": ("cat", ""), "dog/1.jpg": ("dog", ""), "new/2.jpg": ("dog", ""),
        "new/3.jpg": ("", UNLABELLED),
    }  # fmt: skip
    dropped = found["new/1.jpg"]
    assert isinstance(dropped, Rejected)
    assert dropped.reason == "dropped"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "path,label\nnew/9.jpg,cat\nnew/1.jpg,cat\n",
            r"1 row that names no image of the input: 'new/9.jpg' \(row 1\)",
        ),
        ("path,label\nnew/1.jpg,cat\n./new/1.jpg,cat\n", "Row 2 .* names the image 'new/1.jpg' again, after row 1"),
        ("path,label\nnew/1.jpg,cart\n", r"no class of the input: 'cart' \(row 1; did you mean 'cat'\?\)"),
        (
            "path,label,split\ncat/1.jpg,dog,test\n",
            "Row 1 .* states the split 'test' for 'cat/1.jpg', which has a label",
        ),
        ("path,label,split\nnew/1.jpg,dog,a b\n", "Row 1 .* should have a split of letters"),
        ("path,label,keep\nnew/1.jpg,dog,maybe\n", "Row 1 .* yes, no, drop or nothing as its keep. Received: 'maybe'"),
        ("path,label,suggested,keep\nnew/1.jpg,dog,,no\n", "says no to the label, and suggests none"),
        ("path,label,confidence\nnew/1.jpg,dog,sure\n", "should have a number as its confidence"),
        ("path,label\n,dog\n", "Row 1 .* should name an image"),
        ("path,class\nnew/1.jpg,dog\n", r"should have the columns path \(or key\) and label, each once. It has 'path'"),
        ("path,label,label\nnew/1.jpg,dog,cat\n", "each once"),
    ],
)
def test_what_cannot_be_used_is_named_and_refused(photos, text, why):
    with pytest.raises(ConfigError, match=why):
        listed(photos, text)


def test_two_rows_of_one_image_by_key_and_by_path_are_refused(photos):
    key = hashing.record_key("new/1.jpg", 0)
    with pytest.raises(ConfigError, match=r"one row for each image. 'new/1.jpg' has the rows 1, 2"):
        listed(photos, f"key,path,label\n{key},,dog\n,new/1.jpg,dog\n")


def test_classes_of_the_file_and_of_an_earlier_dataset_are_known(photos):
    of = Classes("c.csv", ("feline", "bird", "dog"), (("cat", "feline"), ("dog", "dog"), ("ufo", "")))
    found = labels(listed(photos, "path,label\nnew/1.jpg,cat\nnew/2.jpg,bird\nnew/3.jpg,feline\n", classes=of))
    assert [found[f"new/{i}.jpg"][0] for i in (1, 2, 3)] == ["feline", "bird", "feline"]
    dropped = listed(photos, "path,label\nnew/1.jpg,ufo\n", classes=of)["new/1.jpg"]
    assert isinstance(dropped, Rejected)
    found = labels(listed(photos, "path,label\nnew/1.jpg,owl\n", known_labels=("cat", "owl")))
    assert found["new/1.jpg"][0] == "owl"


def test_an_input_without_any_label_gets_its_classes_from_the_table(photos):
    text = "path,label\nnew/1.jpg,owl\ncat/1.jpg,bee\n"
    found = labels(listed(photos, text, unlabelled=(".",)))
    assert found["new/1.jpg"] == ("owl", "")
    assert found["cat/2.jpg"] == ("", UNLABELLED)


def table_of(tmp_path: pathlib.Path, text: str, mended: str, spec: TableSpec) -> dict[str, tuple[str, str]]:
    (tmp_path / "in.csv").write_text(text)
    (tmp_path / "mended.csv").write_text(mended)
    items = listing.list_sources(
        InputSpec(str(tmp_path / "in.csv"), table=spec, unlabelled=("rows",), corrections=str(tmp_path / "mended.csv"))
    )
    return {item.key: (item.label, item.split) for item in items if isinstance(item, Source)}


def test_several_labels(tmp_path):
    text = "path,labels\na.jpg,cat|dog\nb.jpg,\nc.jpg,owl\nd.jpg,\n"
    mended = "path,label\na.jpg,dog\nb.jpg,owl|cat\nc.jpg,|\n"
    assert table_of(tmp_path, text, mended, TableSpec(labels="multi")) == {
        "a.jpg": ("dog", ""), "b.jpg": ("cat|owl", ""), "c.jpg": ("|", ""), "d.jpg": ("", UNLABELLED),
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"no class of the input: 'bee' \(row 1"):
        table_of(tmp_path, text, "path,label\nb.jpg,cat|bee\n", TableSpec(labels="multi"))


def test_numbers(tmp_path):
    text, spec = "path,x,y\na.jpg,1,2\nb.jpg,,\nc.jpg,,\n", TableSpec(targets=("x", "y"))
    assert table_of(tmp_path, text, 'path,label\na.jpg,"3,4.5"\nb.jpg,"-1,0"\n', spec) == {
        "a.jpg": ("3,4.5", ""), "b.jpg": ("-1,0", ""), "c.jpg": ("nan,nan", UNLABELLED),
    }  # fmt: skip
    for cell in ("1", "1;2", '"1,nan"', '"1,2,3"'):
        with pytest.raises(ConfigError, match="should have 2 numbers, separated by commas as its label"):
            table_of(tmp_path, text, f"path,label\nb.jpg,{cell}\n", spec)


def test_groups_and_lists_count_for_what_gets_a_label(photos):
    lists = photos.parent / "test.txt"
    lists.write_text("new/1.jpg\ncat/1.jpg\n")
    options = {"group_from": r"(\d)\.jpg", "split_lists": ((str(lists), "test"),)}
    found = listed(photos, "path,label\nnew/1.jpg,dog\nnew/2.jpg,dog\n", **options)
    assert found["new/1.jpg"] == Source("new/1.jpg", f"{photos}/new/1.jpg", "dog", "test", "1", 1.0)
    assert isinstance(found["new/2.jpg"], Rejected)  # no list names it
    assert found["new/2.jpg"].reason == "left-aside"


def test_what_is_in_the_file_decides_about_the_digest(tmp_path):
    file = tmp_path / "mended.csv"

    def digest(text: str, **options) -> str:
        file.write_text(text)
        return PrepareConfig(input="photos", output="out", corrections=str(file), **options).digest()

    one = digest("path,label\na.jpg,cat\n")
    assert one == digest("path,label\na.jpg,cat\n")
    assert one != digest("path,label\na.jpg,dog\n")
    assert one != digest("path,label\na.jpg,cat\n", min_confidence=0.5)
    with pytest.raises(ConfigError, match="--min-confidence is about the answers in the table of --corrections"):
        PrepareConfig(input="photos", output="out", min_confidence=0.5)


def test_a_row_of_an_input_that_is_rejected_says_so(photos):
    (photos / "new/notes.txt").touch()
    with pytest.raises(ConfigError, match=r"notes.txt' \(row 1, which is rejected as other-file\)"):
        listed(photos, f"path,label\n{photos}/new/notes.txt,dog\n")
