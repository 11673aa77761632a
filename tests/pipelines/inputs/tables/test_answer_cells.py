"""Labels and numbers are read from the tables that people have; what is not plain is refused by name."""

from __future__ import annotations

import json
import re

import pytest

from pipelines.core.elements import Source
from pipelines.core.errors import ConfigError, TableError
from pipelines.core.summary import Rejected
from pipelines.inputs import listing
from pipelines.inputs.classes_file import Classes
from pipelines.inputs.rules import InputSpec, TableSpec
from pipelines.inputs.tables import manifest


def listed(path, **options) -> list[Source | Rejected]:
    classes = options.pop("classes", None)
    spec = InputSpec(str(path), allow_outside=True, table=TableSpec(**options))
    if classes is not None:
        spec = InputSpec(str(path), allow_outside=True, table=TableSpec(**options), classes=classes)
    return list(listing.list_sources(spec))


def answers(path, **options) -> dict[str, str]:
    """Name -> text of the answer."""
    return {source.key: source.label for source in listed(path, **options) if isinstance(source, Source)}


def write(tmp_path, text: str, name: str = "t.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("image,labels\na.jpg,cat|dog\nb.jpg,\nc.jpg,dog\n", {}, {"a.jpg": "cat|dog", "b.jpg": "|", "c.jpg": "dog"}),
        ("image;labels\na.jpg;dog,cat\nb.jpg;cat\n", {}, {"a.jpg": "cat|dog", "b.jpg": "cat"}),
        ("image,tags\na.jpg,haze primary\nb.jpg,primary\nc.jpg,haze\n", {},
         {"a.jpg": "haze|primary", "b.jpg": "primary", "c.jpg": "haze"}),
        ("image,labels\na.jpg,red car\nb.jpg,van\n", {"label_separator": "none"}, {"a.jpg": "red car", "b.jpg": "van"}),
        ("image,labels\na.jpg,red car\nb.jpg,van\n", {"label_separator": "space"},
         {"a.jpg": "car|red", "b.jpg": "van"}),
        ("Image Index,Finding Labels\na.png,Mass|No Finding\n", {"label_column": "Finding Labels"},
         {"a.png": "Mass|No Finding"}),
        ('image,labels\na.jpg,"[""cat"", ""dog""]"\nb.jpg,"[\'owl\']"\nc.jpg,[]\n', {},
         {"a.jpg": "cat|dog", "b.jpg": "owl", "c.jpg": "|"}),
        ("filename, cat, dog\na.jpg, 1, 0\nb.jpg, 1, 1\nc.jpg, 0, 0\n", {},
         {"a.jpg": "cat", "b.jpg": "cat|dog", "c.jpg": "|"}),
        ("image,cat,dog\na.jpg,-1,1\nb.jpg,1,1\n", {}, {"a.jpg": "dog", "b.jpg": "cat|dog"}),
        ("image,cat,flipped,dog\na.jpg,1,1,0\n", {"label_columns": ("dog", "cat")}, {"a.jpg": "cat"}),
        ("image,label\na.jpg,cat\nb.jpg,dog\na.jpg,dog\na.jpg,cat\n", {}, {"a.jpg": "cat|dog", "b.jpg": "dog"}),
    ],
)  # fmt: skip
def test_labels_of_tables_of_text(tmp_path, text, options, expected):
    assert answers(write(tmp_path, text), labels="multi", **options) == expected


def test_lists_of_json_lines_and_of_parquet(tmp_path):
    rows = [{"file_name": "a.jpg", "labels": ["cat", "dog"]}, {"file_name": "b.jpg", "labels": []}]
    lines = write(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "metadata.jsonl")
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")

    expected = {"a.jpg": "cat|dog", "b.jpg": "|"}
    assert answers(lines, labels="multi") == expected
    assert answers(tmp_path / "t.parquet", labels="multi") == expected


def test_numbers(tmp_path):
    path = write(tmp_path, "image,age,group,label\na.jpg,31,g,x\nb.jpg,0.1,g,y\nc.jpg,old,h,z\n")

    found = listed(path, targets=("age",))

    assert [(s.key, s.label, s.group) for s in found if isinstance(s, Source)] == [
        ("a.jpg", "31", "g"), ("b.jpg", "0.1", "g"),
    ]  # fmt: skip
    assert [(r.reason, r.detail) for r in found if isinstance(r, Rejected)] == [
        ("bad-row", "Row 3 should have a number as its age. Received: 'old'.")
    ]
    assert answers(path, targets=("2", "age ")[:1]) == {"a.jpg": "31", "b.jpg": "0.1"}


def test_a_target_may_have_the_heading_of_a_role(tmp_path):
    path = write(tmp_path, "image,weight\na.jpg,81.5\n")

    assert [(s.label, s.weight) for s in listed(path, targets=("weight",))] == [("81.5", 1.0)]


def test_rows_that_contradict_each_other_in_more_than_labels_are_rejects(tmp_path):
    path = write(tmp_path, "image,label,split\na.jpg,cat,train\na.jpg,dog,test\nb.jpg,cat,train\n")

    found = listed(path, labels="multi")

    assert [item.reason for item in found if isinstance(item, Rejected)] == ["contradictory-rows"] * 2
    assert [item.key for item in found if isinstance(item, Source)] == ["b.jpg"]


def test_columns_of_flags_do_not_add_up(tmp_path):
    path = write(tmp_path, "image,cat,dog\na.jpg,1,0\na.jpg,0,1\nb.jpg,1,0\nb.jpg,1,0\n")

    assert [getattr(item, "reason", "") for item in listed(path, labels="multi")] == [
        "contradictory-rows", "contradictory-rows", "", "repeated-row",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("image,labels\na.jpg,cat|dog\nb.jpg,cat;owl\n", {"labels": "multi"},
         "It is not plain what separates the labels in the column 'labels' of"),
        ("image,labels\na.jpg,red car\nb.jpg,van\n", {"labels": "multi"},
         "It is not plain whether blanks separate the labels in the column 'labels' of"),
        ("image,cat,dog\na.jpg,1,-1\nb.jpg,,1\n", {"labels": "multi", "label_columns": ("cat", "dog")},
         "have both empty cells and -1, -1 for example in 'dog'"),
        ("image,cat,dog\na.jpg,1,0\nb.jpg,-1,1\n", {"labels": "multi"}, "have both 0 and -1, -1 for example in 'cat'"),
        ("image,cat,dog\na.jpg,x,y\n", {"labels": "multi"}, "No column of"),
        ("image,cat,cat\na.jpg,1,0\n", {"labels": "multi", "label_columns": ("2", "3")}, "each another one"),
        ("image,cat,dog\na.jpg,1,0\n", {"labels": "multi", "label_columns": ("cat", "owl")},
         "--label-columns 'owl':"),
        ("image,cat,dog\na.jpg,1,0\n", {"labels": "multi", "label_columns": ("cat", "2")}, "names a column of"),
        ("image,age\na.jpg,1\n", {"targets": ("size",)}, "--target 'size':"),
        ("image,cat,dog\na.jpg,1,1\nb.jpg,0,0\n", {}, "--labels multi reads them all"),
        ("image,labels\na.jpg,[1]\n", {}, "If an image may have several labels: --labels multi."),
        ("image,label\n" + "".join(f"{i}.jpg,{i}.5\n" for i in range(30)), {}, "--target label"),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_refused_by_name(tmp_path, text, options, said):
    with pytest.raises(TableError, match=re.escape(said)):
        listed(write(tmp_path, text), **options)


def test_a_flag_that_is_neither_is_a_reject(tmp_path):
    many = "".join(f"{i}.jpg,1,0\n" for i in range(300))
    [reject] = [r for r in listed(write(tmp_path, f"image,cat,dog\n{many}a.jpg,2,0\n"), labels="multi")
                if isinstance(r, Rejected)]  # fmt: skip
    assert reject.detail == "Row 301 should have 1 or 0 as its cat. Received: '2'."


def test_classes_change_the_labels_of_a_set(tmp_path):
    path = write(tmp_path, "image,labels\na.jpg,tabby|dog\nb.jpg,none\n")
    rows = (("tabby", "cat"), ("dog", "dog"), ("none", ""))

    assert answers(path, labels="multi", classes=Classes("c.csv", ("cat", "dog"), rows)) == {
        "a.jpg": "cat|dog", "b.jpg": "|",
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"It does not have 'none' \(1 image\)"):
        answers(path, labels="multi", classes=Classes("c.csv", ("cat", "dog"), rows[:2]))


def test_it_is_said_how_a_table_is_read(tmp_path):
    def told(text, **options):
        spec = InputSpec(str(write(tmp_path, text)), allow_outside=True, table=TableSpec(**options))
        return manifest.look(spec, 10).told[0].partition("comma-separated, ")[2]

    assert told("image,labels,note\na.jpg,a|b,x\n", labels="multi") == (
        "columns 'image' as path and 'labels' as labels, separated by '|' (not read: 'note'); 1 row."
    )
    assert told("image,cat,dog\na.jpg,1,0\n", labels="multi") == (
        "columns 'image' as path and 2 labels from columns of 1 and 0: 'cat', 'dog'; 1 row."
    )
    assert told("image,x,y\na.jpg,1,0\n", targets=("x", "y")) == (
        "columns 'image' as path and the numbers 'x', 'y' as target; 1 row."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image;age;x\na.jpg;3,5;1\nb.jpg;12;-2,25\n", {"a.jpg": "3.5,1", "b.jpg": "12,-2.25"}),
        ('image,age,x\na.jpg,"3,5",1.5\nb.jpg,"0,125",7\n', {"a.jpg": "3.5,1.5", "b.jpg": "0.125,7"}),
        ("image;age;x\na.jpg;1,250;1\nb.jpg;7;1\n", {"b.jpg": "7,1"}),  # thousands, perhaps
        ("image;age;x\na.jpg;3,5;1\nb.jpg;7.5;1\n", {"b.jpg": "7.5,1"}),
    ],
)
def test_numbers_with_a_decimal_comma(tmp_path, text, expected):
    assert answers(write(tmp_path, text), targets=("age", "x")) == expected


def test_a_decimal_comma_is_said(tmp_path):
    spec = InputSpec(str(write(tmp_path, "image;age\na.jpg;3,5\n")), table=TableSpec(targets=("age",)))
    assert manifest.open_table(spec)[0].told.endswith(
        "the number 'age' as target, with a comma as the decimal sign of 'age'"
    )


ONE_HOT = """\
image,MEL,NV,"a, b",age
a.jpg,1.0,0.0,0.0,50
b.jpg,0,0,1,60
c.jpg,1,1,0,70
d.jpg,0,0,0,7
e.jpg,x,1,0,7
"""


def test_the_column_that_has_the_one_is_the_class(tmp_path):
    """As ISIC and the contests of plant pathology publish their classes."""
    found = listed(write(tmp_path, ONE_HOT), label_columns=("MEL", "NV", "a, b"))
    assert [(item.label, getattr(item, "detail", "")) for item in found] == [
        ("MEL", ""),
        ("a, b", ""),
        ("", "Row 3 should have 1 in one of the columns of its class. It has it in 'MEL', 'NV'."),
        ("", "Row 4 should have 1 in one of the columns of its class. It has it in none."),
        ("", "Row 5 should have 1 or 0 as its MEL. Received: 'x'."),
    ]


def test_columns_of_one_class_are_proposed_and_said(tmp_path):
    path = write(tmp_path, "".join(ONE_HOT.splitlines(keepends=True)[:3]))
    with pytest.raises(TableError, match="Take its heading as the class: --label-columns 'MEL,NV,a\\\\, b'"):
        listed(path)
    spec = InputSpec(str(path), table=TableSpec(label_columns=("MEL", "NV", "a, b")))
    assert manifest.open_table(spec)[0].told.endswith(
        "columns 'image' as path and the class from columns of 1 and 0: 'MEL', 'NV', 'a, b' (not read: 'age')"
    )


CELEBA = """\
3
Bald Male  Young
000001.jpg -1  1 -1
000002.jpg  1  1 -1
000003.jpg -1 -1  1
"""


def test_a_table_as_celeba_has_it(tmp_path):
    path = write(tmp_path, CELEBA, "list_attr.txt")

    assert answers(path, labels="multi") == {"000001.jpg": "Male", "000002.jpg": "Bald|Male", "000003.jpg": "Young"}
    told = manifest.open_table(InputSpec(str(path), table=TableSpec(labels="multi")))[0].told
    assert told == (
        f"Reads {str(path)!r} as UTF-8, blank-separated, after a line with the number of rows, whose first column has "
        "no heading and is called 'path', columns 'path' as path and 3 labels from columns of 1 and -1: 'Bald', "
        "'Male', 'Young'"
    )


def test_a_first_line_of_another_number_is_no_count(tmp_path):
    path = write(tmp_path, CELEBA.replace("3\n", "7\n", 1), "list_attr.txt")
    with pytest.raises(TableError, match=r"No column of .* is plainly the path of an image\. It has '7'"):
        answers(path, labels="multi")


def test_rows_of_confidence_0_and_a_separator_in_no_cell_are_told(tmp_path):
    path = write(tmp_path, "image,LabelName,Confidence\na.jpg,/m/01,1\na.jpg,/m/02,0\nb.jpg,/m/02,1\n")
    spec = InputSpec(str(path), table=TableSpec(labels="multi", label_separator="|", label_column="LabelName"))
    assert manifest.open_table(spec)[0].told.endswith(
        "'LabelName' as labels, separated by '|', which stands in no cell, (0 stands as 'Confidence' in 1 row, and the "
        "labels of such rows are read like the others: if 0 says that an image has not the label, take these rows out) "
        "(not read: 'Confidence')"
    )


def test_one_other_cell_among_columns_of_0_and_1_is_named(tmp_path):
    path = write(tmp_path, "image,cat,dog\na.jpg,1,0\nb.jpg,0,maybe\nc.jpg,1,1\nd.jpg,0,1\n")
    with pytest.raises(TableError, match=r"'cat', 'dog' of .* have 1 and 0, but row 2 has 'maybe' as 'dog'\. Mend it"):
        answers(path, labels="multi")
    found = listed(path, labels="multi", label_columns=("cat", "dog"))
    assert [item.reason for item in found if isinstance(item, Rejected)] == ["bad-row"]
