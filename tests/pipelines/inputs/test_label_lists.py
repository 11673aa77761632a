"""Lists of the labels of images in no class folders, beside class folders of train."""

from __future__ import annotations

import pathlib

import pytest

from pipelines.config import PrepareConfig
from pipelines.core.elements import Source
from pipelines.core.errors import ConfigError, LayoutError, SourceError, TableError
from pipelines.inputs import listing

LINES = "v0.JPEG\tn01\t0\t0\t9\t9\nv1.JPEG\tn02\t1\t1\t9\t9\n"  # of Tiny ImageNet


@pytest.fixture
def tiny(tmp_path: pathlib.Path) -> pathlib.Path:
    """train/<class>/images, val/images with a list, and test/images; the files are empty."""
    root = tmp_path / "tiny"
    names = ["train/n01/images/a.JPEG", "train/n02/images/b.JPEG", "val/images/v0.JPEG", "val/images/v1.JPEG",
             "test/images/t.JPEG"]  # fmt: skip
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "val/val_annotations.txt").write_text(LINES)
    return root


def config(tiny, *lists: tuple[str, str], **options) -> PrepareConfig:
    return PrepareConfig(input=str(tiny), output=str(tiny.parent / "out"), label_lists=lists, **options)


def listed(made: PrepareConfig) -> tuple[dict[str, tuple[str, str]], list[tuple[str, str, str]]]:
    """({key: (split, label)}, [(reason, name, detail)]) without the lists themselves."""
    found = list(listing.list_sources(made.input_spec))
    sources = {s.key: (s.split, s.label) for s in found if isinstance(s, Source)}
    others = [r for r in found if not isinstance(r, Source) and r.reason not in ("other-file", "left-aside")]
    return sources, [(r.reason, r.uri.rpartition("/")[2], r.detail) for r in others]


@pytest.mark.parametrize("folder", ["val", "val/images", "/val/", "./val/images/"])
def test_one_run_reads_both(tiny, folder):
    made = config(tiny, (folder, "val/val_annotations.txt"))
    sources, others = listed(made)
    assert sources == {
        "train/n01/images/a.JPEG": ("train", "n01"),
        "train/n02/images/b.JPEG": ("train", "n02"),
        "val/images/v0.JPEG": ("validation", "n01"),
        "val/images/v1.JPEG": ("validation", "n02"),
    }
    assert others == []
    told = listing.check(made.input_spec).told
    name = folder.strip("/.")
    assert told[-1] == f"Takes the labels of '{name}' (2 images, validation) from '{tiny}/val/val_annotations.txt'."
    assert not any(line.startswith("Not read:") for line in told)
    assert listing.list_sources(listing.check(made.input_spec).spec)  # with the layout that was found


def test_without_the_option_the_question_has_it(tiny):
    with pytest.raises(LayoutError, match=r"--label-lists val/images=val/val_annotations\.txt"):
        listing.check(config(tiny).input_spec)
    (tiny / "val/val_annotations.txt").rename(tiny / "LOC_val_solution.csv")
    (tiny / "LOC_train_solution.csv").touch()
    (tiny / "sample_submission.csv").touch()
    with pytest.raises(LayoutError, match=r"--label-lists val/images=LOC_val_solution\.csv") as caught:
        listing.check(config(tiny).input_spec)
    assert "submission" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "ImageId,PredictionString\nv0,n01 1 2 3 4 \nv1,n02 1 2 3 4 n02 5 6 7.5 -8 \n"),  # of ImageNet
        ("GT.csv", "Filename;Width;ClassId\nv0.ppm;9;n01\nv1.ppm;9;n02\n"),  # of GTSRB
        ("list.txt", "val/images/v0.JPEG n01\nval/images/v1.JPEG n02\n"),
        ("list.jsonl", '{"file_name": "v0", "label": "n01"}\n{"file_name": "v1", "label": "n02"}\n'),
    ],
)
def test_the_forms_of_a_list(tiny, name, text):
    (tiny / name).write_text(text)
    sources, others = listed(config(tiny, ("val", name)))
    assert [sources[f"val/images/v{i}.JPEG"] for i in (0, 1)] == [("validation", "n01"), ("validation", "n02")]
    assert others == []


def test_what_list_and_images_do_not_have_in_common_is_accounted_for(tiny):
    (tiny / "l.txt").write_text("v0.JPEG n01\nv0.JPEG n02\nv7.JPEG n01\n")
    sources, others = listed(config(tiny, ("val", "l.txt")))
    assert [key for key in sources if key.startswith("val")] == []
    list_ = f"The list '{tiny}/l.txt' of --label-lists"
    assert sorted(others) == [
        ("missing", "v7.JPEG", f"{list_} names it, and 'val' has no such image."),
        ("no-label", "v0.JPEG", f"{list_} has the labels 'n01', 'n02' for it."),
        ("no-label", "v1.JPEG", f"{list_} does not name it."),
    ]


def test_what_is_no_list_of_labels_is_one_sentence(tiny):
    with pytest.raises(SourceError, match=r"none\.txt' cannot be read"):
        listed(config(tiny, ("val", "none.txt")))
    (tiny / "l.txt").write_text("")
    with pytest.raises(TableError, match="should have the name of an image and its label in each line"):
        listed(config(tiny, ("val", "l.txt")))
    with pytest.raises(LayoutError, match=r"--label-lists names 'vla', and there is no such folder .* 'val/images'"):
        listed(config(tiny, ("vla", "val/val_annotations.txt")))
    for other in ("t.csv", "a/*/*.jpg"):
        with pytest.raises(ConfigError, match="--label-lists names folders below a folder or a container"):
            PrepareConfig(input=other, output="out", label_lists=(("val", "l.txt"),))


def test_what_a_list_says_decides_about_the_shards(tiny):
    made = config(tiny, ("val", "val/val_annotations.txt"))
    before = made.digest()
    (tiny / "val/val_annotations.txt").write_text(LINES.replace("n02", "n01"))
    assert made.digest() != before
    assert "label_lists" not in config(tiny).noted()
