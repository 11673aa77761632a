"""A pattern of tables is one input, each table with its own folder and, by its name, its own split."""

from __future__ import annotations

import pytest

from pipelines.core.elements import Source
from pipelines.core.errors import LayoutError, SourceError, TableError
from pipelines.core.summary import Rejected
from pipelines.inputs import listing
from pipelines.inputs.rules import InputSpec, TableSpec


def write(folder, tables: dict[str, str]) -> None:
    for name, text in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def listed(path, **options) -> list[Source | Rejected]:
    return list(listing.list_sources(InputSpec(str(path), table=TableSpec(**options))))


ROBOFLOW = {
    "train/_classes.csv": "filename, cat, dog\na.jpg, 1, 0\nb.jpg, 1, 1\n",
    "valid/_classes.csv": "filename, cat, dog\na.jpg, 0, 1\n",
    "test/_classes.csv": "filename, cat, dog\nc.jpg, 0, 0\n",
}


def test_each_table_has_its_folder_and_its_split(tmp_path):
    write(tmp_path, ROBOFLOW)
    found = listed(tmp_path / "*/_classes.csv", labels="multi")

    assert [(s.key, s.uri, s.label, s.split) for s in found] == [
        ("test/c.jpg", f"{tmp_path}/test/c.jpg", "|", "test"),
        ("train/a.jpg", f"{tmp_path}/train/a.jpg", "cat", "train"),
        ("train/b.jpg", f"{tmp_path}/train/b.jpg", "cat|dog", "train"),
        ("valid/a.jpg", f"{tmp_path}/valid/a.jpg", "dog", "validation"),
    ]


def test_the_names_of_tables_beside_the_images_tell_the_split(tmp_path):
    write(tmp_path, {"train.csv": "Filename,Label\nRiver/1.jpg,3\n", "test.csv": "Filename,Label\nLake/2.jpg,1\n"})
    found = listed(tmp_path / "*.csv")
    assert [(s.key, s.label, s.split) for s in found] == [("Lake/2.jpg", "1", "test"), ("River/1.jpg", "3", "train")]


def test_without_names_of_splits_they_are_drawn(tmp_path):
    write(tmp_path, {"a/t.csv": "path,label\n1.jpg,x\n", "b/t.csv": "path,label\n1.jpg,y\n"})
    assert [(s.key, s.split) for s in listed(tmp_path / "*/t.csv")] == [("a/1.jpg", ""), ("b/1.jpg", "")]


def test_a_column_of_splits_comes_before_the_names(tmp_path):
    write(tmp_path, {f"{s}/t.csv": "path,label,split\n1.jpg,x,train\n" for s in ("train", "test")})
    assert [s.split for s in listed(tmp_path / "*/t.csv")] == ["train", "train"]
    assert [s.split for s in listed(tmp_path / "*/t.csv", split_column="none")] == ["", ""]


def test_with_an_image_root_all_paths_begin_there(tmp_path):
    write(tmp_path, {f"{s}/t.csv": f"path,label\n{s}.jpg,x\n" for s in ("train", "test")})
    found = listed(tmp_path / "*/t.csv", image_root=str(tmp_path / "img"))
    assert [s.uri for s in found] == [f"{tmp_path}/img/test.jpg", f"{tmp_path}/img/train.jpg"]


def test_a_bad_row_says_of_which_table_it_is(tmp_path):
    write(tmp_path, {"a/t.csv": "path,label\n1.jpg,x\n", "b/t.csv": "path,label\n2.jpg,y\n,z\n"})
    rejects = [item for item in listed(tmp_path / "*/t.csv") if isinstance(item, Rejected)]
    assert [(r.uri, r.detail) for r in rejects] == [
        ("row 2 of 'b/t.csv'", "Row 2 of 'b/t.csv' should have a path and a label.")
    ]


def test_tables_of_other_columns_are_refused(tmp_path):
    write(tmp_path, ROBOFLOW | {"test/_classes.csv": "filename, cat, owl\nc.jpg, 0, 0\n"})
    with pytest.raises(TableError, match=r"should have the same columns.*Only one of them has ' dog', ' owl'\."):
        listed(tmp_path / "*/_classes.csv", labels="multi")


def test_a_pattern_that_finds_nothing_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"There is no table of the pattern '.*/\*/t\.csv'\."):
        listed(tmp_path / "*/t.csv")


def test_the_reading_is_said_and_a_folder_of_such_tables_names_the_pattern(tmp_path):
    write(tmp_path, ROBOFLOW)
    for name in ("train/a", "train/b", "valid/a", "test/c"):
        (tmp_path / f"{name}.jpg").write_text("x")
    reading = listing.check(InputSpec(f"{tmp_path}/*/_classes.csv", table=TableSpec(labels="multi")))
    assert reading.told == (
        f"Reads 3 tables of '{tmp_path}/*/_classes.csv' as UTF-8, comma-separated, 'test/_classes.csv' as test, "
        "'train/_classes.csv' as train, 'valid/_classes.csv' as validation, columns 'filename' as path and 2 labels "
        "from columns of 1 and 0: 'cat', 'dog'; 4 rows.",
    )
    with pytest.raises(LayoutError, match=r"Several are read as one by a pattern: --input '.*/\*/_classes\.csv'\."):
        listing.check(InputSpec(str(tmp_path)))
