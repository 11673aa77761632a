"""The types of the columns that --keep names: decided once, for all rows, and said."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from pipelines.config import PrepareConfig
from pipelines.core.elements import Source
from pipelines.core.errors import ConfigError, TableError
from pipelines.core.summary import Rejected
from pipelines.inputs import listing
from pipelines.inputs.rules import InputSpec, TableSpec
from pipelines.inputs.tables import kept_columns, manifest


def look(tmp_path, cells, name="x", heading=None):
    """Looks at a table with a column of these cells."""
    rows = "".join(f'{i}.jpg,cat,"{cell}"\n' for i, cell in enumerate(cells))
    path = tmp_path / "t.csv"
    path.write_text(f"path,label,{heading or name}\n{rows}")
    spec = InputSpec(str(path), allow_outside=True, table=TableSpec(keep=(name,)))
    return manifest.look(spec, 1000)


@pytest.mark.parametrize(
    ("cells", "dtype", "values"),
    [
        (["3", "-4", "", "+0"], "int64", [3, -4, None, 0]),
        (["3", "4.5", " "], "float32", [3.0, 4.5, None]),
        (["1e3", "-.5", "2."], "float32", [1000.0, -0.5, 2.0]),
        (["3", "x", ""], "string", ["3", "x", None]),
        (["01", "12"], "string", ["01", "12"]),  # a postal code keeps its zero
        (["1_000", "2"], "string", ["1_000", "2"]),
        (["nan", "1.5"], "string", ["nan", "1.5"]),
        (["12345678901234567890", "1"], "string", ["12345678901234567890", "1"]),  # beyond int64: an identifier
        (["-9223372036854775808", "1"], "string", ["-9223372036854775808", "1"]),  # stands for a missing value
        (["9223372036854775807"], "int64", [2**63 - 1]),
        (["1e39", "1.5"], "string", ["1e39", "1.5"]),  # beyond float32
        (["", ""], "string", [None, None]),
        ([" a b ", "ü"], "string", ["a b", "ü"]),
        (["3,5", "-0,125", "7", ""], "float32", [3.5, -0.125, 7.0, None]),  # decimal commas
        (["1,125", "7"], "string", ["1,125", "7"]),  # or thousands
        (["3,5", "4.5"], "string", ["3,5", "4.5"]),
        (["3,5", "1,2,3"], "string", ["3,5", "1,2,3"]),
    ],
)
def test_a_column_has_one_type(tmp_path, cells, dtype, values):
    looked = look(tmp_path, cells)

    [column] = looked.metadata
    assert (column.name, column.dtype) == ("x", dtype)
    assert [item.metadata[0] for item in looked.items] == values


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["3", ""], "Keeps 'x' as integer (1 cell empty)."),
        (["3", "4.5"], "Keeps 'x' as float."),
        (["A", "B", "A", "", ""], "Keeps 'x' as text (2 values, 2 cells empty)."),
        (["3", "4", "n/a"], "Keeps 'x' as text (3 values, 1 of 3 cells is no number, such as 'n/a')."),
        (["", ""], "Keeps 'x' as text (2 cells empty)."),
        (["3,5", "7"], "Keeps 'x' as float (with a comma as the decimal sign)."),
        (
            ["1,125", "7"],
            "Keeps 'x' as text (2 values, the comma of '1,125' may be a decimal sign, or separate thousands: write "
            "such numbers with a point, or without a comma).",
        ),
        (
            ["3,5", "4.5"],
            "Keeps 'x' as text (2 values, some cells have a decimal point, and others a comma, such as '3,5': write "
            "all with a point).",
        ),
    ],
)
def test_it_is_said_how_a_column_is_read(tmp_path, cells, said):
    reads, keeps = look(tmp_path, cells).told
    assert keeps == said
    assert "not read" not in reads


def test_the_last_of_many_rows_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "MAX_LOOKED_AT", 100)
    [column] = look(tmp_path, [*map(str, range(2000)), "x"]).metadata
    assert column.dtype == "string"


def test_many_texts_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_columns, "MOST_DIFFERENT", 3)
    *_, keeps, many = look(tmp_path, ["a", "b", "c", "d", "e"]).told
    assert keeps == "Keeps 'x' as text (more than 3 values)."
    assert many.startswith("The text column 'x' has more than 3 different values: it travels along, and evaluation")


def test_values_of_json_and_parquet_keep_their_sense(tmp_path):
    rows = [
        {"path": "0.jpg", "label": "cat", "n": 3, "f": 2.0, "t": "07", "b": True},
        {"path": "1.jpg", "label": "cat", "n": None, "f": 1, "t": 8, "b": False},
        {"path": "2.jpg", "label": "dog"},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pyarrow.parquet.write_table(
        pyarrow.table({"path": ["0.jpg", "1.jpg", "2.jpg"], "label": ["cat", "cat", "dog"], "n": [3, None, None],
                       "f": [2.0, 1.0, None], "t": ["07", "8", None], "b": [True, False, None]}),
        tmp_path / "t.parquet",
    )  # fmt: skip
    for name in ("t.jsonl", "t.parquet"):
        spec = InputSpec(str(tmp_path / name), allow_outside=True, table=TableSpec(keep=("n", "f", "t", "b")))
        looked = manifest.look(spec, 10)
        assert [column.dtype for column in looked.metadata] == ["int64", "float32", "string", "string"]
        assert [item.metadata for item in looked.items] == [
            (3, 2.0, "07", "true"), (None, 1.0, "8", "false"), (None,) * 4,
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("keep", "heading", "said"),
    [
        (("size",), "x", "--keep 'size': "),
        (("x", "x"), "x", "--keep names a column of "),
        (("x", "3"), "x", "--keep names a column of "),
        (("label",), "x", "--keep label: a record has a feature of this name already."),
        (("key",), "key", "--keep key: a record has a feature of this name already."),
        (("3",), " ", "--keep needs columns with a heading of plain text."),
        (("x",), "x,x", "--keep 'x': 2 columns of "),
    ],
)
def test_what_cannot_be_kept_is_one_sentence(tmp_path, keep, heading, said):
    path = tmp_path / "t.csv"
    path.write_text(f"path,label,{heading}\n0.jpg,cat,{'1,2' if ',' in heading else '1'}\n")
    with pytest.raises(TableError) as caught:
        manifest.look(InputSpec(str(path), table=TableSpec(keep=keep)), 10)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_and_very_long_texts_are_refused_with_their_row(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"path": "0.jpg", "label": "cat", "x": 1}\n{"path": "1.jpg", "label": "cat", "x": [1]}\n')
    spec = InputSpec(str(path), table=TableSpec(keep=("x",)))
    with pytest.raises(TableError, match=r"--keep x: Row 2 has a list in it, and only texts and numbers"):
        manifest.look(spec, 10)
    with pytest.raises(TableError, match=r"--keep x: Row 1 has 5,000 characters in it, and at most 4,096"):
        look(tmp_path, ["a" * 5000])


@pytest.mark.parametrize("place", ["folder", "images.zip", "*/*.jpg"])
def test_an_input_without_a_table_is_refused_by_name(tmp_path, place):
    (tmp_path / "folder" / "cat").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"--keep names columns of a table, and --input .* is none\. Write a"):
        PrepareConfig(input=str(tmp_path / place), output="out", keep=("age",))


def test_rows_of_one_image_that_differ_in_a_kept_column_contradict_each_other(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("path,label,x\na.jpg,cat,1\na.jpg,cat,2\nb.jpg,cat,1\nb.jpg,cat,1\nc.jpg,cat,\nc.jpg,cat,\n")
    spec = InputSpec(str(path), allow_outside=True, table=TableSpec(keep=("x",)))

    found = list(listing.list_sources(spec))

    assert [(s.key, s.metadata) for s in found if isinstance(s, Source)] == [("b.jpg", (1,)), ("c.jpg", (None,))]
    rejects = [r for r in found if isinstance(r, Rejected)]
    assert [r.reason for r in rejects] == ["contradictory-rows"] * 2 + ["repeated-row"] * 2
    assert "2 different combinations of label, split, group, weight and kept columns, such as" in rejects[0].detail


def test_several_tables_are_one_column(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "train.csv").write_text("path,label,x\na.jpg,cat,1\n")
    (tmp_path / "test.csv").write_text("path,label,x\nb.jpg,dog,2.5\n")
    spec = InputSpec(str(tmp_path / "*.csv"), allow_outside=True, table=TableSpec(keep=("x",)))

    reading = listing.check(spec)

    assert [(column.name, column.dtype) for column in reading.spec.metadata] == [("x", "float32")]
    found = {s.key: (s.split, s.metadata) for s in listing.list_sources(reading.spec) if isinstance(s, Source)}
    assert found == {"a.jpg": ("train", (1.0,)), "b.jpg": ("test", (2.5,))}
