"""Lists that are joined by ids, as CUB-200-2011 has them, are one table; other tables are joined by --join."""

from __future__ import annotations

import pytest

from pipelines.core.elements import Source
from pipelines.core.errors import TableError
from pipelines.core.summary import Rejected
from pipelines.inputs import listing
from pipelines.inputs.rules import InputSpec, TableSpec

CUB = {
    "images.txt": "1 001.Albatross/a 1.jpg\n2 002.Finch/b.jpg\n3 002.Finch/c.jpg\n",
    "image_class_labels.txt": "1 1\n2 2\n3 2\n",
    "classes.txt": "1 001.Albatross\n2 002.Finch, small\n",
    "train_test_split.txt": "1 1\n2 0\n3 1\n",
}


def write(folder, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def listed(path, **options) -> list[Source | Rejected]:
    return list(listing.list_sources(InputSpec(str(path), table=TableSpec(**options))))


def test_paths_classes_names_and_splits_are_joined(tmp_path):
    write(tmp_path, CUB)
    found = listed(tmp_path / "images.txt")
    assert [(s.key, s.label, s.split) for s in found] == [
        ("001.Albatross/a 1.jpg", "001.Albatross", "train"),
        ("002.Finch/b.jpg", "002.Finch, small", "test"),
        ("002.Finch/c.jpg", "002.Finch, small", "train"),
    ]
    assert found[0].uri == f"{tmp_path}/001.Albatross/a 1.jpg"


def test_the_paths_begin_in_the_folder_images(tmp_path):
    write(tmp_path, CUB | {f"images/{name}.jpg": "x" for name in ("001.Albatross/a 1", "002.Finch/b", "002.Finch/c")})
    spec = InputSpec(str(tmp_path / "images.txt"))
    assert [s.uri for s in listing.list_sources(spec)][1] == f"{tmp_path}/images/002.Finch/b.jpg"
    assert listing.bounds(spec) == f"{tmp_path}/images"
    assert listing.check(spec).told == (
        f"Reads '{tmp_path}/images.txt' as a list of paths by ids, with 'image_class_labels.txt' as label, "
        "'classes.txt' as the names of the classes, 'train_test_split.txt' as split, where 1 is train and 0 is test, "
        "columns 'path' as path and 'label' as label and 'split' as split (not read: 'id'); 3 rows.",
    )


def test_without_names_and_splits_the_ids_are_the_labels_and_splits_are_drawn(tmp_path):
    write(tmp_path, {name: CUB[name] for name in ("images.txt", "image_class_labels.txt")})
    assert [(s.label, s.split) for s in listed(tmp_path / "images.txt")] == [("1", ""), ("2", ""), ("2", "")]


def test_an_image_that_a_list_lacks_is_a_reject(tmp_path):
    lists = {"image_class_labels.txt": "2 7\n3 2\n", "train_test_split.txt": "1 1\n2 1\n3 2\n"}
    write(tmp_path, CUB | lists)
    assert [(r.reason, r.detail) for r in listed(tmp_path / "images.txt")] == [
        ("bad-row", "Row 1 has the id '1', which has no class in 'image_class_labels.txt'."),
        ("bad-row", "Row 2 has the class '7', which has no name in 'classes.txt'."),
        ("bad-row", "Row 3 should have 1 or 0 in 'train_test_split.txt'. Received: '2'."),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.txt", "1 Finch\n2 Finch\n", r"gives the classes '1' and '2' the name 'Finch'\. Each class needs"),
        ("image_class_labels.txt", "1 1\n1 2\n", r"Line 2 of .* has '2' for the id '1', and an earlier line has '1'"),
    ],
)
def test_two_values_where_one_is_right_are_refused(tmp_path, name, text, message):
    write(tmp_path, CUB | {name: text})
    with pytest.raises(TableError, match=message):
        listed(tmp_path / "images.txt")


def test_the_folder_of_such_lists_names_them(tmp_path):
    images = {f"images/{name}.jpg": "x" for name in ("001.Albatross/a 1", "002.Finch/b", "002.Finch/c")}
    write(tmp_path, CUB | images)
    told = listing.check(InputSpec(str(tmp_path))).told
    assert f"Read them with --input {tmp_path}/images.txt" in told[1]


# ---- --join


TABLE = "image,age\na.jpg,3\nb.jpg,4\nc.jpg,5\n"


def test_the_columns_of_another_table_are_joined_by_its_first_column(tmp_path):
    write(tmp_path, {"t.csv": TABLE, "meta/m.tsv": "Image\tlesion\tdx\nb.jpg\tL2\tmole\na.jpg\tL1\tnevus\n"})
    spec = {"join": (str(tmp_path / "meta/m.tsv"),), "label_column": "dx", "group_column": "lesion"}
    *found, last = listed(tmp_path / "t.csv", **spec)
    assert [(s.key, s.label, s.group) for s in found] == [("a.jpg", "nevus", "L1"), ("b.jpg", "mole", "L2")]
    assert last.detail == f"Row 3 has the id 'c.jpg', which no row of '{tmp_path}/meta/m.tsv' has."


def test_columns_of_tables_without_headings_are_counted_on(tmp_path):
    write(tmp_path, CUB | {"images.txt": "1 1/a.jpg\n2 2/b.jpg\n3 2/c.jpg\n"})
    lists = tuple(str(tmp_path / name) for name in ("image_class_labels.txt", "train_test_split.txt"))
    spec = {"heading": False, "join": lists, "label_column": "4"}
    assert [(s.key, s.label) for s in listed(tmp_path / "images.txt", **spec)][1:] == [
        ("2/b.jpg", "0"),
        ("2/c.jpg", "1"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,dx\na.jpg,x\n", r"The first column of '.*m.csv', 'file', should have the ids that a column of the same"),
        ("image,dx\na.jpg,x\na.jpg,y\n", r"Row 2 of '.*m.csv' and an earlier one have the id 'a.jpg' and differ"),
        ("image\na.jpg\n", "should have an id and other columns. It has one column"),
        ("image,dx\na.jpg,x,y\nb.jpg,x\n", r"Row 1 of '.*m.csv', a table of --join, has 3 cells"),
    ],
)
def test_a_table_that_cannot_be_joined_is_refused(tmp_path, text, message):
    write(tmp_path, {"t.csv": TABLE, "m.csv": text})
    with pytest.raises(TableError, match=message):
        listed(tmp_path / "t.csv", join=(str(tmp_path / "m.csv"),), label_column="age")
