"""Paths of a table that are made of several columns."""

from __future__ import annotations

import pytest

from pipelines.config import PrepareConfig
from pipelines.core.elements import Source
from pipelines.core.errors import ConfigError, TableError
from pipelines.core.summary import Rejected
from pipelines.inputs import listing
from pipelines.inputs.rules import InputSpec, TableSpec


def read(tmp_path, text, keys, **options):
    """([(key, label)], rejects, what is said) of a table beside empty files of these names."""
    for key in keys:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).touch()
    path = tmp_path / options.pop("name", "t.csv")
    path.write_text(text)
    spec = InputSpec(str(path), table=TableSpec(**options))
    [told] = listing.check(spec).told
    items = list(listing.list_sources(spec))
    return (
        [(i.key, i.label) for i in items if isinstance(i, Source)],
        [i for i in items if isinstance(i, Rejected)],
        told,
    )


def test_a_folder_and_a_name(tmp_path):
    """As State Farm's drivers have them."""
    text = "subject,classname,img\np1,c0,1.jpg\np2,c1,1.jpg\n"
    template = "imgs/{classname}/{img}"
    found, _, told = read(
        tmp_path, text, ["imgs/c0/1.jpg", "imgs/c1/1.jpg"], path_from=template, label_column="classname"
    )
    assert found == [("imgs/c0/1.jpg", "c0"), ("imgs/c1/1.jpg", "c1")]
    assert "columns 'imgs/{classname}/{img}' as path and 'classname' as label (not read: 'subject', 'img')" in told


def test_a_template_that_ends_like_an_image_is_no_row_of_the_table(tmp_path):
    found, _, _ = read(
        tmp_path, "Patient ID,view,label\n7,L,cat\n", ["p/7-L.png"], path_from="p/{Patient ID}-{view}.png"
    )
    assert found == [("p/7-L.png", "cat")]


def test_a_name_without_its_ending_and_without_a_heading(tmp_path):
    """As of RAF-DB; the third row has no name, and a joined table has the label."""
    options = {"name": "list.txt", "heading": False, "path_from": "{1.stem}_aligned.jpg"}
    found, _, _ = read(
        tmp_path, "a.jpg 5\nb.c.jpg 7\n", ["a_aligned.jpg", "b.c_aligned.jpg"], **options, label_column="2"
    )
    assert found == [("a_aligned.jpg", "5"), ("b.c_aligned.jpg", "7")]


def test_columns_of_a_joined_table_and_empty_cells(tmp_path):
    (tmp_path / "more.csv").write_text("id,folder\n1,x\n2,\n")
    options = {"join": (str(tmp_path / "more.csv"),), "path_from": "{folder}/{id}"}
    found, [rejected], _ = read(tmp_path, "id,label\n1,cat\n2,dog\n", ["x/1.jpg"], **options, suffix=".jpg")
    assert found == [("x/1.jpg", "cat")]
    assert rejected.detail == "Row 2 has an empty cell in a column of --path-from."


def test_a_column_that_is_not_there(tmp_path):
    with pytest.raises(TableError, match=r"--path-from 'img': .* has no such column"):
        read(tmp_path, "a,label\n1,cat\n", [], path_from="{img}.jpg")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a.jpg", "--path-from should name a column in braces"),
        ("{a", "--path-from should have a column in each pair of braces"),
        ("{}", "should have the heading or the number of a column in braces"),
        ("{a!r}", "should have the heading or the number of a column in braces"),
    ],
)
def test_what_is_no_template(template, said):
    with pytest.raises(ConfigError, match=said):
        PrepareConfig(input="t.csv", output="out", path_from=template)


def test_one_of_two_options():
    with pytest.raises(ConfigError, match="Leave one of them out"):
        PrepareConfig(input="t.csv", output="out", path_from="{a}", path_column="b")
    with pytest.raises(ConfigError, match="--path-from is about tables"):
        PrepareConfig(input="folder", output="out", path_from="{a}")
