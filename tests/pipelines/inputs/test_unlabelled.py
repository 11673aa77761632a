"""Images without a label: rows with an empty label, and folders that the user names."""

from __future__ import annotations

import pathlib

import pytest

from pipelines.config import PrepareConfig
from pipelines.core.elements import UNLABELLED, Source
from pipelines.core.errors import ConfigError, LayoutError, SourceError
from pipelines.core.summary import Rejected
from pipelines.inputs import classes_file, listing
from pipelines.inputs.rules import InputSpec, TableSpec


def touch(root: pathlib.Path, *names: str) -> pathlib.Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def listed(path: object, **options) -> tuple[dict[str, Source], dict[str, Rejected]]:
    """(key -> source, uri -> reject)."""
    items = list(listing.list_sources(InputSpec(str(path), **options)))
    return (
        {i.key: i for i in items if isinstance(i, Source)},
        {i.uri: i for i in items if isinstance(i, Rejected)},
    )


def table(root: pathlib.Path, text: str) -> pathlib.Path:
    path = root / "labels.csv"
    path.write_text(text)
    return path


ROWS = "path,label,split,weight\na.jpg,cat,train,2\nb.jpg,,test,2\nc.jpg,  ,,\nd.jpg,dog,,\n"


def test_rows_without_a_label_are_a_split_of_their_own(tmp_path):
    sources, rejects = listed(table(tmp_path, ROWS), unlabelled=("rows",))

    assert not rejects
    assert sources["b.jpg"] == Source("b.jpg", f"{tmp_path}/b.jpg", "", UNLABELLED, "", 1.0)  # no split, no weight
    assert sources["c.jpg"].split == UNLABELLED
    assert sources["a.jpg"] == Source("a.jpg", f"{tmp_path}/a.jpg", "cat", "train", "", 2.0)


def test_without_the_option_such_rows_are_rejects_and_the_option_is_named(tmp_path):
    path = table(touch(tmp_path, "a.jpg", "d.jpg"), ROWS)

    _, rejects = listed(path)

    assert {uri: r.reason for uri, r in rejects.items()} == {"b.jpg": "bad-row", "c.jpg": "bad-row"}
    [told] = listing.check(InputSpec(str(path))).told
    assert "2 rows have no label, and cannot be used. --unlabelled rows takes such rows" in told
    [told] = listing.check(InputSpec(str(path), unlabelled=("rows",))).told
    assert told.endswith("4 rows. 2 rows without a label are the split unlabelled.")


FLAGS = TableSpec(labels="multi", label_columns=("cat", "dog"))


@pytest.mark.parametrize(
    ("text", "spec", "unknown", "known"),
    [
        ("path,labels\na.jpg,cat|dog\nb.jpg,\nc.jpg,[]\n", TableSpec(labels="multi"), "", "|"),
        ("path,cat,dog\na.jpg,1,1\nb.jpg,,\nc.jpg,0,0\n", FLAGS, "", "|"),
        ("path,x,y\na.jpg,1,2\nb.jpg,,\nc.jpg,0,0\n", TableSpec(targets=("x", "y")), "nan,nan", "0,0"),
    ],
)  # fmt: skip
def test_other_tasks_tell_an_empty_cell_from_no_label_and_from_zero(tmp_path, text, spec, unknown, known):
    sources, rejects = listed(table(tmp_path, text), unlabelled=("rows",), table=spec)

    assert not rejects
    assert (sources["b.jpg"].label, sources["b.jpg"].split) == (unknown, UNLABELLED)
    assert (sources["c.jpg"].label, sources["c.jpg"].split) == (known, "")


def test_a_number_of_several_that_is_missing_stays_a_reject(tmp_path):
    path = table(tmp_path, "path,x,y\na.jpg,1,2\nb.jpg,1,\n")
    _, rejects = listed(path, unlabelled=("rows",), table=TableSpec(targets=("x", "y")))
    assert rejects["b.jpg"].reason == "bad-row"


def test_a_row_that_has_a_label_and_another_that_has_none_contradict_each_other(tmp_path):
    _, rejects = listed(table(tmp_path, "path,label\na.jpg,cat\na.jpg,\nb.jpg,dog\n"), unlabelled=("rows",))
    assert [r.reason for r in rejects.values()] == ["contradictory-rows"]


def test_a_labelled_row_of_a_split_called_so_is_refused_with_the_option_alone(tmp_path):
    path = table(tmp_path, "path,label,split\na.jpg,cat,unlabelled\nb.jpg,cat,train\n")
    assert listed(path)[0]["a.jpg"].split == "unlabelled"
    with pytest.raises(SourceError, match="states that split and has the label 'cat': give its split another name"):
        listed(path, unlabelled=("rows",))


def test_folders_of_images_without_a_label(tmp_path):
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg", "more/new/1.jpg", "more/new/deep/2.jpg", "more/new/notes.txt")

    sources, rejects = listed(tmp_path, unlabelled=("more/new/",))

    assert {key: s.label for key, s in sources.items() if s.split == ""} == {"cat/1.jpg": "cat", "dog/1.jpg": "dog"}
    assert {key for key, s in sources.items() if s.split == UNLABELLED} == {"more/new/1.jpg", "more/new/deep/2.jpg"}
    assert {r.reason for r in rejects.values()} == {"other-file"}
    told = listing.check(InputSpec(str(tmp_path), unlabelled=("more/new",))).told
    assert "Takes the images of 'more/new' as the split unlabelled, without a label: 2 images." in told


def test_the_whole_input_may_have_no_label(tmp_path):
    sources, _ = listed(touch(tmp_path, "1.jpg", "a/2.jpg"), unlabelled=(".",))
    assert {s.split for s in sources.values()} == {UNLABELLED}


def test_a_folder_that_is_not_there_is_named(tmp_path):
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    with pytest.raises(LayoutError, match=r"--unlabelled names 'newer', and there is no such folder .*'cat', 'dog'"):
        listed(tmp_path, unlabelled=("newer",))


@pytest.mark.parametrize("name", ["unlabeled", "unlabelled", "unsup"])
def test_a_folder_called_so_is_asked_about_and_the_option_answers(tmp_path, name):
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg", f"{name}/1.jpg")

    with pytest.raises(LayoutError, match=f"take them as a split of their own with --unlabelled {name};"):
        listing.check(InputSpec(str(tmp_path)))

    sources, _ = listed(tmp_path, unlabelled=(name,))
    assert {key for key, s in sources.items() if s.split == UNLABELLED} == {f"{name}/1.jpg"}


def test_beside_splits_the_folder_is_taken(tmp_path):
    touch(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "test/cat/1.jpg", "test/dog/2.jpg", "unlabeled/1.jpg")
    sources, _ = listed(tmp_path, unlabelled=("unlabeled",))
    assert sources["unlabeled/1.jpg"].split == UNLABELLED
    assert sources["train/cat/1.jpg"].split == "train"


def test_classes_groups_and_lists_do_not_ask_for_what_has_no_label(tmp_path):
    touch(tmp_path, "cat7/1.jpg", "dog8/1.jpg", "new/1.jpg")
    (tmp_path / "train.txt").write_text("cat7/1.jpg\ndog8/1.jpg\nnew/1.jpg\n")
    of = classes_file.Classes("c.txt", ("cat7", "dog8"), (("cat7", "cat7"), ("dog8", "dog8")))

    sources, rejects = listed(
        tmp_path, unlabelled=("new",), classes=of, group_from=r"(cat\d|dog\d)",
        split_lists=((str(tmp_path / "train.txt"), "train"),), exclude=("*.txt",),
    )  # fmt: skip

    assert not rejects
    assert (sources["new/1.jpg"].split, sources["new/1.jpg"].group) == (UNLABELLED, "")
    assert (sources["cat7/1.jpg"].split, sources["cat7/1.jpg"].group) == ("train", "cat7")


@pytest.mark.parametrize(
    ("given", "value", "why"),
    [
        ("in.csv", ("new",), "--unlabelled should be rows for a table"),
        ("photos", ("rows",), "--unlabelled rows is about tables, and --input 'photos' is none"),
        ("photos/*/*.jpg", ("new",), "--unlabelled names folders below the input, and a glob or shards have none"),
    ],
)
def test_a_value_that_does_not_fit_the_input_is_refused(given, value, why):
    with pytest.raises(ConfigError, match=why.replace("*", r"\*")):
        PrepareConfig(input=given, output="out", unlabelled=value)


def test_without_the_options_nothing_of_them_is_in_the_digest_or_noted():
    plain = PrepareConfig(input="photos", output="out", name="d")
    assert not {"unlabelled", "corrections", "min_confidence"} & set(plain.noted())
    # As of the version before these options.
    assert plain.digest() == DIGEST
    assert PrepareConfig(input="photos", output="out", name="d", unlabelled=("new",)).digest() != DIGEST


DIGEST = "f6da2448f196ba5cd192e1f3cfdc7f02f6df9b166974e75d1c994c82e6421c1a"
