"""The file of --classes: what it says, what it may not say, and what becomes of labels that it does not have."""

from __future__ import annotations

import collections
import pathlib

import pytest

from pipelines.core.elements import Source
from pipelines.core.errors import ConfigError, SourceError
from pipelines.core.summary import Rejected
from pipelines.inputs import classes_file, listing
from pipelines.inputs.classes_file import Classes
from pipelines.inputs.rules import InputSpec


def read(folder: pathlib.Path, text: str | bytes, name: str = "c.csv") -> Classes:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return classes_file.read(str(path))


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
    """Three cats, two dogs, a snake, and a file that is no picture in the snakes' folder."""
    root = tmp_path / "in"
    for label, count in {"cat": 3, "dog": 2, "snake": 1}.items():
        (root / label).mkdir(parents=True)
        for i in range(count):
            (root / label / f"{i}.jpg").write_bytes(b"")
    (root / "snake" / "notes.txt").write_bytes(b"")
    return root


def counted(root: pathlib.Path, of: Classes) -> dict[str, int]:
    """Class -> images."""
    items = listing.list_sources(InputSpec(str(root), classes=of))
    return dict(collections.Counter(i.label for i in items if isinstance(i, Source)))


def test_a_list_states_the_ids_and_takes_every_line_as_it_is(tmp_path):
    made = read(tmp_path, "tench, Tinca tinca\r\na=b\r\n*\r\n# no comment\r\n\r\n", "c.txt")
    assert made.names == ("tench, Tinca tinca", "a=b", "*", "# no comment")
    assert made.class_of("*") == "*"
    assert made.class_of("cat") is None


def test_a_table_renames_merges_and_leaves_out(tmp_path):
    made = read(tmp_path, 'label,class\ndog,pet\n"red, ""ripe""",apple\ncat,pet\nsnake,\n')
    assert made.names == ("pet", "apple")
    assert made.rows == (("dog", "pet"), ('red, "ripe"', "apple"), ("cat", "pet"), ("snake", ""))
    assert [made.class_of(label) for label in ("cat", 'red, "ripe"', "snake", "bird")] == ["pet", "apple", "", None]
    assert made.noted() == {
        "labels": {"dog": "pet", 'red, "ripe"': "apple", "cat": "pet", "snake": ""},
        "others": None,
    }


@pytest.mark.parametrize(
    ("row", "of_bird", "names"),
    [("*,", "", ("cat",)), ("*,rest", "rest", ("rest", "cat")), ("*,*", "bird", ("cat",))],
)
def test_a_row_for_all_other_labels(tmp_path, row, of_bird, names):
    made = read(tmp_path, f"label,class\n{row}\ncat,cat\n")
    assert (made.class_of("bird"), made.class_of("cat"), made.names) == (of_bird, "cat", names)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("c.csv", "\ufefflabel;class\nKäse;Milch, süß\n".encode()),
        ("c.csv", 'Class, Label ,notes\n"Milch, süß",Käse,x\n\n'.encode("cp1252")),
        ("c.tsv", "label\tclass\nKäse\tMilch, süß\n".encode("utf-16")),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, name, data):
    assert read(tmp_path, data, name).rows == (("Käse", "Milch, süß"),)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "cat,pet\n", "its first line should name the columns label and class. It is 'cat,pet'"),
        ("c.csv", "label,class\ncat\n", "line 2 should have a label and a class"),
        ("c.csv", "label,class\ncat,a\ncat,b\n", "line 3 has the label 'cat' once more"),
        ("c.csv", "label,class\n*,a\ncat,b\n*,\n", "line 4 has the label '*' once more"),
        ("c.csv", "label,class\ncat,\n", "it has no class"),
        ("c.csv", "label,class\n,a\n", "line 2 should have a label"),
        ("c.csv", "label,class\ncat,\u202eab\n", "line 2 should have a label without control characters"),
        ("c.csv", 'label,class\n"cat,a\n', "unexpected end of data"),
        ("c.txt", "cat\n\ndog\n", "line 2 should have a label"),
        ("c.txt", "cat\ncat\n", "line 2 has the label 'cat' once more"),
        ("c.txt", "", "it has no class"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=r"^should be a file with one label a line") as raised:
        read(tmp_path, text, name)
    assert message in str(raised.value)


def test_there_is_no_file(tmp_path):
    assert classes_file.read("") == Classes()
    with pytest.raises(ValueError, match="cannot be used"):
        classes_file.read(str(tmp_path / "none.csv"))


def test_images_get_their_class_and_those_left_out_are_rejects(tmp_path, photos):
    found = counted(photos, read(tmp_path, "label,class\ncat,pet\ndog,pet\nsnake,\n"))
    assert found == {"pet": 5}
    items = listing.list_sources(InputSpec(str(photos), classes=read(tmp_path, "label,class\n*,pet\nsnake,\n")))
    gone = {pathlib.Path(i.uri).name: (i.reason, i.label) for i in items if isinstance(i, Rejected)}
    assert gone == {"0.jpg": ("class-left-out", "snake"), "notes.txt": ("other-file", "")}


def test_labels_that_the_file_does_not_have_are_refused_by_name(tmp_path, photos):
    path = tmp_path / "c.txt"
    path.write_text("Cat\ndgo\nbird\n")
    wanted = (
        f"--classes '{path}' should have every label of the input. It does not have 'cat' (3 images; 'Cat' differs "
        "from it in case, blanks or Unicode form only), 'dog' (2 images; did you mean 'dgo'?), 'snake' (1 image). "
        "Add a line for each; a .csv with the columns label and class can also leave labels out."
    )
    of = classes_file.read(str(path))
    with pytest.raises(ConfigError) as raised:  # at the end of the listing, as where labels are not folders
        list(listing.list_sources(InputSpec(str(photos), classes=of)))
    assert str(raised.value) == wanted
    with pytest.raises(ConfigError) as raised:  # before anything is listed
        listing.check(InputSpec(str(photos), classes=of))
    assert str(raised.value) == wanted


def test_the_file_is_told(tmp_path, photos):
    of = read(tmp_path, "label,class\ncat,pet\nbird,bird\ndog,pet\nsnake,\n")
    reading = listing.check(InputSpec(str(photos), classes=of))
    assert reading.told[-4:] == (
        f"Takes the ids of 2 classes from '{of.path}': pet, bird.",
        "The class 'pet' is 'cat', 'dog'.",
        "Leaves out the images of 'snake'.",
        f"The input has no images of these labels of '{of.path}': 'bird'.",
    )
    assert dict(reading.images) == {"pet": 5}
    all_but_one = read(tmp_path, "label,class\nsnake,\n*,*\n")
    assert listing.check(InputSpec(str(photos), classes=all_but_one)).told[-3:] == (
        f"Takes the ids of 0 classes from '{of.path}': none.",
        "Other labels are classes of their own name, with the ids behind these.",
        "Leaves out the images of 'snake'.",
    )
    assert counted(photos, all_but_one) == {"cat": 3, "dog": 2}
    others = read(tmp_path, "label,class\n*,pet\nsnake,\n")
    assert listing.check(InputSpec(str(photos), classes=others)).told[-2:] == (
        "The class 'pet' is any other label.",
        "Leaves out the images of 'snake'.",
    )


def test_an_empty_folder_loses_no_class_that_has_other_images(tmp_path, photos):
    (photos / "puppy").mkdir()
    for said in ("dog", ""):  # merged with a class that has images, or left out
        of = read(tmp_path, f"label,class\npuppy,{said}\n*,*\n")
        assert listing.check(InputSpec(str(photos), classes=of)).lost == {}
    with pytest.raises(SourceError, match=r"would give no image, .*: 'young' \(The folder is empty\)"):
        listing.check(InputSpec(str(photos), classes=read(tmp_path, "label,class\npuppy,young\n*,*\n")))
