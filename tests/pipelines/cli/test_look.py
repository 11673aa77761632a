"""`look`: what it prints of an input, and its status, on small inputs and on inputs as people have them."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipelines.cli import look_output, main
from pipelines.inputs import listing
from pipelines.inputs.rules import InputSpec
from tests.support.cases import CASES
from tests.support.files import tiffs
from tests.support.files.images import draw_photo


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
    for split, number in (("train", 3), ("val", 1)):
        for label in ("cat", "dog"):
            for i in range(number):
                path = tmp_path / "in" / split / label / f"{i}.jpg"
                draw_photo(path, seed=i, size=(40, 30))
    (tmp_path / "in/train/cat/Thumbs.db").write_bytes(b"x")
    return tmp_path / "in"


def test_the_table_is_exact(photos, capsys):
    assert main.main(["look", str(photos)]) == 0
    assert capsys.readouterr().out == (
        f"Reads '{photos}' as split/class/file: train is 'train' (6 images), validation is 'val' (2 images); 8 images "
        "of 2 classes.\n\n"
        "class  train  validation\n"
        "-----  -----  ----------\n"
        "cat        3           1\n"
        "dog        3           1\n"
        "all        6           2\n\n"
        f"Not used: 1 system-file; the first is {photos}/train/cat/Thumbs.db. The system or a program made it; "
        "it is no image of the input.\n"
        "No image was read. prepare with the same options reads the input in this way.\n"
    )


def test_json_and_a_contact_sheet(photos, tmp_path, capsys):
    assert main.main(["look", str(photos), "--exclude", "dog", "--json", "--images", str(tmp_path / "sheet.png")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == {"cat": {"train": 3, "validation": 1}}
    assert found["not_used"] == {"system-file": 1}
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * 136 + 8, 158 + 8)  # one row of four images


def test_the_sheet_shows_the_bands_that_are_named(tmp_path, capsys):
    """Near infrared that a file calls alpha (tag 338) is a band like the others."""
    values = np.empty((40, 40, 4), np.uint8)
    values[:] = (10, 20, 30, 200)
    for label in ("field", "wood"):
        (tmp_path / "in" / label).mkdir(parents=True)
        (tmp_path / "in" / label / "1.tif").write_bytes(tiffs.tiff(values, t338=2))
    command = ["look", str(tmp_path / "in"), "--images", str(tmp_path / "sheet.png")]
    assert main.main([*command, "--bands", "4,1,2"]) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.getpixel((8 + 64, 8 + 64)) == (200, 10, 20)
    assert main.main([*command, "--bit-depth", "data"]) == 2
    assert "State the range: --bit-depth LOW..HIGH." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--label-from", "(a)(b)"], "--label-from: should be auto, top, leaf"),
        (["--label-from", "("], "should be a regular expression"),
        (["--split-names", "train"], "should be NAME=VALUE"),
        (["--split-names", "train=a b"], "a split's name should be letters"),
        (["--split-names", "train=train", "--layout", "split"], "Leave out --layout split"),
        (["--exclude", "a,,b"], "without empty parts"),
    ],
)
def test_bad_use_is_one_sentence(photos, option, message, capsys):
    try:
        status = main.main(["look", str(photos), *option])
    except SystemExit as e:
        status = e.code
    error = capsys.readouterr().err
    assert (status, error.count("\n")) == (2, 1)
    assert message in error


def test_a_class_that_would_be_missing_is_named_and_is_no_success(photos, capsys):
    (photos / "train/empty").mkdir()
    (photos / "train/away").symlink_to("/nowhere/at/all")
    (photos / "val/away").symlink_to("/etc")
    (photos / "train/gone").symlink_to("/nowhere/else")
    (photos / "train/hidden").mkdir()
    (photos / "train/hidden/.1.jpg").touch()
    assert main.main(["look", str(photos)]) == 1
    out = capsys.readouterr().out
    assert "The class 'empty' would be missing: The folder is empty." in out
    assert "The class 'away' would be missing: The symbolic link leaves the input" in out
    assert "The class 'gone' would be missing: The symbolic link leads nowhere." in out
    assert "The class 'hidden' would be missing: The folder is empty." in out
    assert main.main(["look", str(photos), "--allow-lost-classes"]) == 0
    out = capsys.readouterr().out
    assert "would be missing" not in out
    assert main.main(["prepare", "--input", str(photos), "--output", str(photos.parent / "out")]) == 1
    error = capsys.readouterr().err
    assert "would give no image, so their classes would be missing: 'away' (The symbolic link leaves the input" in error
    assert ", 'empty' (The folder is empty), 'gone' (The symbolic link leads nowhere), 'hidden' (The fol" in error
    assert not (photos.parent / "out").exists()


def test_a_long_table_is_cut(tmp_path, capsys):
    for i in range(50):
        (tmp_path / f"class_{i:02}").mkdir()
        (tmp_path / f"class_{i:02}/1.jpg").touch()
    found = look_output.count(listing.check(InputSpec(str(tmp_path))), False)
    assert (len(found.images), len(found.examples)) == (50, look_output.MOST_CLASSES)  # examples: rows of the sheet
    assert main.main(["look", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert (
        "class_39                        1\n10 more classes                10\nall                            50\n"
        in out
    )


@pytest.mark.parametrize(("case", "below", "options", "status", "text"), CASES)
def test_inputs_as_people_have_them(case, below, options, status, text, real_data, tmp_path, capsys):
    [folder] = (real_data / "cases").glob(case)
    subprocess.run([sys.executable, str(folder / "make.py"), str(tmp_path)], check=True)
    assert main.main(["look", str(tmp_path / below), *options]) == status
    told = capsys.readouterr()
    assert text in (told.err if status else told.out)


def test_classes_are_shown_in_the_order_of_their_ids(photos, tmp_path, capsys):
    table = tmp_path / "c.csv"
    table.write_text("label,class\ndog,hound\nbird,bird\ncat,\n")
    assert main.main(["look", str(photos), "--classes", str(table)]) == 0
    said = capsys.readouterr().out
    assert "\nhound      3           1\nbird       0           0\nall        3           1\n" in said
    assert f"Takes the ids of 2 classes from '{table}': hound, bird.\n" in said
    assert "Not used: 4 class-left-out; the first is" in said
    assert main.main(["look", str(photos), "--classes", str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == ["hound", "bird"]


def test_numbered_classes_are_shown_in_the_order_of_their_numbers(tmp_path, capsys):
    for label in ("class2", "class10"):
        draw_photo(tmp_path / label / "1.jpg", seed=1, size=(40, 30))
    assert main.main(["look", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.index("class2   ") < said.index("class10  ")
    assert "The ids of the classes follow the numbers in their names: class2, class10. --classes gives" in said


def test_a_label_that_the_file_does_not_have_ends_with_status_2(photos, tmp_path, capsys):
    table = tmp_path / "c.txt"
    table.write_text("dog\n")
    assert main.main(["look", str(photos), "--classes", str(table)]) == 2
    assert "It does not have 'cat' (4 images). Add a line" in capsys.readouterr().err


def test_numbers_to_predict_are_no_classes_that_could_be_missing(tmp_path, capsys):
    for name in "ab":
        draw_photo(tmp_path / f"{name}.jpg", seed=1, size=(40, 30))
    (tmp_path / "t.csv").write_text("file,age\na.jpg,1\nb.jpg,2\nb.jpg,3\n")
    assert main.main(["look", str(tmp_path / "t.csv"), "--target", "age"]) == 0
    said = capsys.readouterr().out
    assert "Not used: 2 contradictory-rows" in said
    assert "would be missing" not in said


def test_a_label_of_several_that_only_rejects_have_would_be_missing(tmp_path, capsys):
    for name in "ab":
        draw_photo(tmp_path / f"{name}.jpg", seed=1, size=(40, 30))
    (tmp_path / "t.csv").write_text("file,label,split\na.jpg,x|y,train\nb.jpg,x|z,train\nb.jpg,x|z,test\n")
    assert main.main(["look", str(tmp_path / "t.csv"), "--labels", "multi"]) == 1
    said = capsys.readouterr().out
    assert "The class 'z' would be missing" in said
    assert "The class 'x" not in said


def test_what_a_stranger_could_not_see(tmp_path, capsys):
    """Too many bad rows, and a label whose name says that there is none, are said."""
    for name in "abc":
        draw_photo(tmp_path / f"{name}.jpg", seed=1, size=(40, 30))
    (tmp_path / "t.csv").write_text("file,tags\na.jpg,Mass|Nodule\nb.jpg,No Finding\nc.jpg,Mass\n,Mass\n")
    assert main.main(["look", str(tmp_path / "t.csv"), "--labels", "multi"]) == 0
    said = capsys.readouterr().out
    assert "The label 'No Finding' never stands beside another one. If it says that an image has none" in said
    assert "1 of 4 inputs cannot be used. prepare publishes nothing if these are more than 1%, or than what" in said

    (tmp_path / "t.csv").write_text("file,tags\na.jpg,Mass|No Finding\nb.jpg,Nodule\n")
    assert main.main(["look", str(tmp_path / "t.csv"), "--labels", "multi"]) == 0
    said = capsys.readouterr().out
    assert "never stands beside" not in said
    assert "cannot be used" not in said


def test_one_folder_of_images_beside_a_text_table_is_asked_about(tmp_path, capsys):
    (tmp_path / "img").mkdir()
    draw_photo(tmp_path / "img/a.jpg", seed=1, size=(40, 30))
    (tmp_path / "list_attr_celeba.txt").write_text("1\nBald Male\na.jpg 1 -1\n")
    assert main.main(["look", str(tmp_path)]) == 2
    assert "Tables that are there: list_attr_celeba.txt." in capsys.readouterr().err
