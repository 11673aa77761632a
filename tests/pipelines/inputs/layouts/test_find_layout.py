"""How folders are read, on trees after well-known data sets; no file is needed, because names and counts decide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import LayoutError
from pipelines.inputs.layouts import find_layout, folder_tree, layout_text
from pipelines.inputs.layouts.layout import Layout
from pipelines.inputs.rules import InputSpec


def tree(*folders: str) -> folder_tree.Folder:
    """A tree of "path images" texts; a path with an ending is one file."""
    keys = []
    for folder in folders:
        path, _, number = folder.rpartition(" ")
        keys += [f"{path}/{i}.jpg".lstrip("/") for i in range(int(number))] if path else [number]
    return folder_tree.build((key, None) for key in keys)


def found(*folders: str, **options) -> Layout:
    return find_layout.find(tree(*folders), InputSpec("in", **options))


def labels(layout: Layout, *keys: str) -> list[tuple[str, str]]:
    return [layout.place(key)[:2] for key in keys]


SPLITS = ("train/cat 9", "train/dog 9", "test/cat 3", "test/dog 3")


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        # plain classes, at the top or in wrappers, as zips unpack
        (("cat 3", "dog 3"), (("", ""),)),
        (("flower_photos/rose 3", "flower_photos/tulip 3", "flower_photos/LICENSE.txt"), (("flower_photos", ""),)),
        (("archive/data/images/cat 3", "archive/data/images/dog 3"), (("archive/data/images", ""),)),
        (("101_ObjectCategories/ant 3", "101_ObjectCategories/bee 3", "Annotations/ant/1.mat"),
         (("101_ObjectCategories", ""),)),
        (("cat/1999/may 3", "dog 3"), (("", ""),)),
        # splits under their names
        (SPLITS, (("test", "test"), ("train", "train"))),
        (("Training/a 3", "Training/b 3", "Testing/a 2", "Testing/b 2"), (("Testing", "test"), ("Training", "train"))),
        (("x/train/a 3", "x/train/b 3", "x/val/a 1", "x/val/b 1"), (("x/train", "train"), ("x/val", "validation"))),
        (("training_set/training_set/cats 3", "training_set/training_set/dogs 3", "test_set/test_set/cats 3",
          "test_set/test_set/dogs 2"), (("test_set/test_set", "test"), ("training_set/training_set", "train"))),
        (("seg_train/seg_train/sea 3", "seg_train/seg_train/ice 3", "seg_test/seg_test/sea 1",
          "seg_test/seg_test/ice 1", "seg_pred/seg_pred 20"),
         (("seg_test/seg_test", "test"), ("seg_train/seg_train", "train"))),
        (("train2017/a 3", "train2017/b 3", "val2017/a 1", "val2017/b 1"),
         (("train2017", "train"), ("val2017", "validation"))),
        (("imagenette2/train/n01 3", "imagenette2/train/n02 3", "imagenette2/val/n01 1", "imagenette2/val/n02 1"),
         (("imagenette2/train", "train"), ("imagenette2/val", "validation"))),
        (("TrainImages/a 3", "TrainImages/b 3", "TestImages/a 1", "TestImages/b 1"),
         (("TestImages", "test"), ("TrainImages", "train"))),
        (("train/cat 3", "train/dog 3"), (("train", "train"),)),
        # a test set as a contest gives it has no labels
        (("train/cat 3", "train/dog 3", "test 9"), (("train", "train"),)),
        (("train/cat 3", "train/dog 3", "test/unknown 9"), (("train", "train"),)),
        # classes whose names have words of splits
        (("bullet_train 3", "test_tube 3", "training_shoes 3"), (("", ""),)),
        (("car 3", "plane 3", "train 3"), (("", ""),)),
        # patients below the classes
        (("benign/p01 3", "benign/p02 3", "malignant/p07 3", "malignant/p08 2"), (("", ""),)),
        (("train/n01/images 3", "train/n02/images 3"), (("train", "train"),)),
        (("cat/2019 3", "cat/2020 3", "dog/2018 3", "dog/2021 2"), (("", ""),)),
        (("train_val2021/a 3", "train_val2021/b 3", "test2021 9"), (("train_val2021", "train"),)),
        (("train/00001_Animalia_X_y 3", "train/00002_Plantae_Z_w 3", "val/00001_Animalia_X_y 1",
          "val/00002_Plantae_Z_w 1"), (("train", "train"), ("val", "validation"))),
        (("s1 9", "s2 9"), (("", ""),)),
        (("cat/07 3", "cat/08 3", "dog 3"), (("", ""),)),
    ],
)  # fmt: skip
def test_layouts_that_are_plain(folders, splits):
    assert found(*folders).splits == splits


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            (*SPLITS, *(f"chest_xray/{s}" for s in SPLITS)),
            "two competing roots .*--exclude chest_xray;.*in/chest_xray",
        ),
        (
            (*SPLITS, "holdout/cat 3"),
            r"Beside the splits .*holdout \(3 images\) with the same classes.*--split-na",
        ),
        ((*SPLITS, "meta 43"), r"meta \(43 images\) with images in no class folders"),
        (("train/cat 3", "train/dog 3", "val/images 9", "val/val_annotations.txt"), "named like the split validation"),
        (("train/cat 3", "train/dog 3", "training/cat 3", "training/dog 3"), "are all named like the split train"),
        (
            ("train 40", "train.csv"),
            r"train \(40 images\): named like splits.*--label-from.*Tables that are there: tr",
        ),
        (("train 40", "test 40"), "read these folders as classes with --layout class"),
        (("train/images 9", "train/labels/1.txt", "valid/images 9", "valid/labels/1.txt"), "detection layout"),
        (("images/train 9", "images/val 9", "labels/train/1.txt", "labels/val/1.txt"), "detection layout"),
        (("VOC2007/JPEGImages 9", "VOC2007/Annotations/1.xml"), "detection layout"),
        (("images 9", "masks 9"), "segmentation layout"),
        (("data/images/a 9", "data/masks/a 9"), "segmentation layout"),
        (
            ("a/airfield 3", "a/alley 3", "b/bakery 3", "b/bar 3"),
            "--label-from top makes 2 classes: a, b; .*leaf makes 4 cl",
        ),
        (
            ("dogs/beagle 3", "dogs/pug 3", "cats/siamese 3", "cats/manx 2"),
            "leaf makes 4 classes: beagle, manx, pug",
        ),
        (
            ("fold0/cat 3", "fold0/dog 3", "fold1/cat 3", "fold1/dog 3"),
            "leaf makes 2 classes: cat, dog, each from several",
        ),
        (("cats/train 3", "cats/test 1", "dogs/train 3", "dogs/test 1"), "splits test, train are below the classes"),
        (("images_001 9", "images_002 9", "labels.csv"), "parts of one collection.*Tables that are there: labels.csv"),
        (("images_001/images 9", "images_002/images 9"), "parts of one collection"),
        (("0.jpg", "1.jpg"), "2 images are in no class folder.*if this folder is one class.*--input '?in'?|--input"),
        (("PetImages/Cat 3", "PetImages/Dog 3", "archive/train/a 3", "archive/test/a 3"), "archive holds splits"),
        # what a stranger's two hundred trees added
        (("amazon/images/mug 3", "amazon/images/bike 3", "dslr/images/mug 3", "dslr/images/bike 3"), "leaf makes 2 cl"),
        (("yes 4", "no 4", "brain_tumor_dataset/yes 4", "brain_tumor_dataset/no 4"), "--exclude brain_tumor_dataset"),
        (
            ("train/a 3", "train/b 3", "test/a 3", "test/b 3", "train/train/a 3", "train/train/b 3"),
            "--exclude train/tr",
        ),
        (("10253/0 3", "10253/1 3", "10254/0 3", "10254/1 3"), "leaf makes 2 classes: 0, 1, each from several places"),
        (("bmw/x5 3", "bmw/320i 3", "audi/a4 3", "audi/q7 3"), "leaf makes 4 classes: 320i, a4, q7, x5"),
        (("a/airfield 3", "a/apse/indoor 3", "c/church/indoor 3"), "leaf makes 2 classes: airfield, indoor, each from"),
        (("Images/n1-Pug 3", "Images/n2-Chow 3", "Annotation/n1-Pug 3", "Annotation/n2-Chow 3"), "--input in/Images"),
        (("photos/cat 3", "photos/dog 3", "extra 3"), "leaf makes 3 classes: cat, dog, extra"),
        (("img/img 8", "list.csv"), r"img/img \(8 images\)|directly in 'img/img'"),
        (("img_celeba 8", "list.csv"), "this is one class.*Tables that are there: list.csv"),
        (("training/image_2 2", "training/label_2/1.txt", "training/label_2/2.txt"), "this is one class"),
        (("HAM_part_1 3", "ham_part_2 3"), "parts of one collection"),
        (("00000 3", "01000 3", "02000 3"), "parts of one collection"),
        (("100CANON 3", "101CANON 3"), "parts of one collection"),
        (("Fotos von 2019 3", "Fotos von 2020 3"), "parts of one collection"),
        (("good 3", "bad 3", "unlabeled 3"), "--exclude unlabeled"),
        (("yes 3", "no 3", "pred 3"), "--exclude pred"),
        (("Dataset/0 3", "Dataset/1 3", "Examples 3"), "--input in/Dataset;"),
        (("Dataset/0 3", "Dataset/1 3", "X.npy"), "--label-from leaf makes 2 classes: 0, 1"),
        (("训练集/猫 9", "训练集/狗 9", "测试集/猫 3", "测试集/狗 3"), "--split-names '训练集=train,测试集=test'"),
        (("a/猫 9", "a/狗 9", "b/猫 3", "b/狗 3", "c/猫 2", "c/狗 2"), "--split-names a=train,b=validation,c=test"),
        (("train - Copy/a 3", "train/a 3", "train/b 3"), "--exclude 'train - Copy'"),
        (
            ("N/train/a 3", "N/train/b 3", "N/val/a 3", "N/val/b 3", "test/a 3", "test/b 3"),
            "--split-names N/train=train,N/val=validation,test=test;",
        ),
        (
            ("OCT/train/a 3", "OCT/train/b 3", "OCT/test/a 3", "xray/train/a 3", "xray/train/b 3", "xray/test/a 3"),
            "--input in/OCT; .*--input in/xray",
        ),
        (
            ("Birds/202 3", "Birds/203 3", "Plants/5 3", "Plants/6 2"),
            r"top makes 2 classes: Birds, Plants; .*leaf makes 4 classes: 202, 203, 5, 6;.*--label-from path makes 4",
        ),
        (
            ("train_val2019/Birds/202 3", "train_val2019/Birds/203 3", "train_val2019/Plants/5 3", "test2019 9"),
            r"top makes 2 classes: Birds, Plants; .*leaf makes 3 classes: 202, 203, 5;",
        ),
        (
            ("patient001/study1 1", "patient002/study1 1", "t.csv"),
            r"called like subjects of a study.*Choose: \(a\) give",
        ),
        (("Patient 1/benign 1", "Patient 2/tumor 1"), r"leaf makes 2 classes: benign, tumor; \(b\) give a table"),
        (
            ("cars_train 9", "cars_test 9", "devkit/cars_meta.mat"),
            "are not read: devkit/cars_meta.mat. Write",
        ),
        (("jpg 9", "setid.mat", "a.json"), "are not read: setid.mat, a.json. Write the paths and labels as CSV"),
        (("C/images 3", "C/masks 3", "N/images 3", "N/masks 3"), "add --exclude masks"),
        (("train/a 3", "train/b 3", "meta 3", "docs 3"), "leave docs, meta out with --exclude docs,meta"),
    ],
)
def test_layouts_that_are_not_plain_are_refused_with_the_options_that_decide(folders, message):
    with pytest.raises(LayoutError, match=f"(?s)^How to read 'in' is not plain.*{message}") as raised:
        found(*folders)
    assert raised.value.exit_status == 2
    assert "Choose: (a) " in str(raised.value)


@pytest.mark.parametrize(
    ("folders", "options", "key", "place"),
    [
        (("a/airfield 3", "b/bar 3"), {"label_from": "leaf"}, "a/airfield/1.jpg", ("", "airfield")),
        (("a/airfield 3", "b/bar 3"), {"label_from": "path"}, "a/airfield/1.jpg", ("", "a/airfield")),
        (("a/airfield 3", "b/bar 3"), {"label_from": "parent"}, "a/airfield/1.jpg", ("", "a")),
        (("a/airfield 3", "b/bar 3"), {"label_from": "top"}, "a/airfield/1.jpg", ("", "a")),
        (("a/airfield 3", "b/bar 3"), {"layout": "class"}, "a/airfield/1.jpg", ("", "a")),
        (("train/a 3", "plane 3"), {"layout": "class"}, "train/a/1.jpg", ("", "train")),
        (("train/a 3", "fold_1/a 3"), {"layout": "split"}, "fold_1/a/1.jpg", ("fold_1", "a")),
        (("x/one/a 3", "x/one/b 3", "x/two/a 1"), {"split_names": (("one", "train"), ("x/two", "test"))},
         "x/two/a/1.jpg", ("test", "a")),
        (("big/big/a 3", "big/big/b 3", "small/a 1"), {"split_names": (("big", "train"), ("small", "test"))},
         "big/big/a/1.jpg", ("train", "a")),
        (("train 3",), {"label_from": r"([a-z]+)[^/]*$"}, "train/cat.1.jpg", ("train", "cat")),
        (("cats/train 3", "dogs/train 3"), {"label_from": "(?P<label>[^/]+)/(?P<split>[^/]+)/"}, "cats/val/1.jpg",
         ("validation", "cats")),
        (("images 3",), {"label_from": "^([A-Za-z_]+)_"}, "images/great_pyrenees_12.jpg", ("", "great_pyrenees")),
    ],
)  # fmt: skip
def test_options_decide(folders, options, key, place):
    assert found(*folders, **options).place(key)[:2] == place


def test_labels_in_file_names_are_proposed_where_they_show():
    def asked(*names: str) -> str:
        with pytest.raises(LayoutError) as raised:
            find_layout.find(folder_tree.build((name, None) for name in names), InputSpec("in"))
        return str(raised.value)

    pets = [f"images/{breed}_{i}.jpg" for breed in ("Abyssinian", "great_pyrenees") for i in range(9)]
    assert "which finds Abyssinian, great_pyrenees" in asked(*pets)
    contest = [f"train/{label}.{i}.jpg" for label in ("cat", "dog") for i in range(99)]
    text = asked(*contest, *(f"test1/{i}.jpg" for i in range(9)))
    assert "which finds cat, dog (and with --input in/train, if new splits are to be drawn" in text
    pattern = text.split("--label-from '")[1].split("'")[0]
    layout = find_layout.find(folder_tree.build((n, None) for n in contest), InputSpec("in", label_from=pattern))
    assert [layout.place(key)[:2] for key in ("train/cat.7.jpg", "test1/12.jpg")] == [("train", "cat"), ("", "")]
    assert "if they hold them" in asked(*(f"{i:06}.jpg" for i in range(40)))  # no label to be seen
    people = [f"images/{k:04}_c{c}s1_{c:06}_03.jpg" for k in range(9) for c in range(3)]
    assert "if they hold them" in asked(*people)  # what stands in the middle of a name is no label
    assert "if they hold them" in asked(*(f"all/{s}_{i}.jpg" for s in ("train", "test") for i in range(9)))
    masks = [f"{c}/{c} ({i}){m}.png" for c in ("benign", "normal") for i in range(5) for m in ("", "_mask")]
    assert "named like masks of others, such as 'benign (0)_mask.png'. Choose: (a) leave them out with --exclude" in (
        asked(*masks)
    )


def test_other_classes_in_a_split_are_told():
    folders = ("train/Cat 3", "train/Dog 3", "val/cat 3", "val/Dog 3")
    assert layout_text.describe(tree(*folders), found(*folders), "in")[1:] == (
        "validation has classes that train lacks: 'cat', and lacks 'Cat'.",
    )


def test_split_names_that_name_nothing_or_several_folders():
    with pytest.raises(LayoutError, match=r"'seg', and no folder is called so .* with images are: a, b"):
        found("a 3", "b 3", split_names=(("seg", "train"),))
    with pytest.raises(LayoutError, match="'x', and 2 folders are called so"):
        found("a/x/1 3", "b/x/1 3", split_names=(("x", "train"),))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("train_test_split.txt", "classes.txt"), "'train_test_split.txt'"),
        (("labels/train1.txt", "labels/val1.txt"), "'labels/train1.txt', 'labels/val1.txt'"),
        (("train2018.json", "trainval.csv", "splits.tsv"), "'train2018.json', 'trainval.csv', 'splits.tsv'"),
        (("training_log.txt", "contest.csv", "validate.py", "values.csv"), "'training_log.txt'"),
        (("contest.csv", "values.csv", "readme.txt"), ""),
    ],
)
def test_lists_of_splits_are_named_where_splits_are_drawn(names, told):
    lines = layout_text.describe(tree("cat 3", "dog 3", *names), found("cat 3", "dog 3", *names), "in")
    said = [line for line in lines if line.startswith("Splits are drawn. Not read")]
    assert [line.partition("speak of splits: ")[2].partition(". If they")[0] for line in said] == (
        [told] if told else []
    )
    given = layout_text.describe(tree(*SPLITS, *names), found(*SPLITS, *names), "in")
    assert not any(line.startswith("Splits are drawn") for line in given)


def test_what_is_left_aside_is_told():
    folders = ("train/cat 3", "train/dog 3", "test 9", "notes.txt", "train/cat/1.xml", "train/stray.jpg")
    layout = found(*folders)
    assert layout.place("test/1.jpg").aside
    assert layout_text.describe(tree(*folders), layout, "in") == (
        "Reads 'in' as split/class/file: train is 'train' (6 images); 6 images of 2 classes.",
        "1 image in no class folder: not used, because there is no label.",
        "Leaves aside 'test' (9 images). It holds images in no class folders, so they have no labels.",
        "Files whose endings are not those of images: 1 .txt, 1 .xml.",
    )
    cars = layout_text.describe(tree("car 3", "train/tgv 3"), found("car 3", "train/tgv 3", layout="class"), "in")
    assert cars[1:] == (
        "Folders below a class folder are read as part of the class: train/tgv.",
        "Note that the class 'train' is called like a split. If it is one, name the folders of the splits with "
        "--split-names.",
    )


def test_system_folders_and_hidden_ones_are_no_part_of_a_layout():
    layout = found(*SPLITS, "__MACOSX/train/cat 9", ".git/train/cat 9", "@eaDir/train/dog 9", "$RECYCLE.BIN 3")
    assert layout.splits == (("test", "test"), ("train", "train"))


NAMES = st.sampled_from(["train", "val", "test", "cat", "dog", "images", "labels", "seg_train", "seg_test", "a1", "a2"])


@given(st.lists(st.tuples(st.lists(NAMES, max_size=4), st.integers(1, 3)), min_size=1, max_size=8))
def test_every_tree_is_read_or_refused_and_each_image_has_a_place(paths):
    """Whatever the names: no other error, no label that is not in the path, and no image without a reason."""
    folders = [f"{'/'.join(path)} {count}" if path else f"{count}.jpg" for path, count in paths]
    try:
        layout = found(*folders)
    except LayoutError:
        return
    layout_text.describe(tree(*folders), layout, "in")
    for path, _ in paths:
        place = layout.place("/".join([*path, "1.jpg"]))
        assert place.label in path if place.label else place.why


def test_tables_beside_class_folders_are_named():
    """As DeepFashion has them: each folder is one garment, and a table has the categories."""
    folders = tree("img/Tee_1 3", "img/Tee_2 3", "Anno/list_category_img.txt")
    layout = find_layout.find(folders, InputSpec("in"))
    assert layout_text.describe(folders, layout, "in")[1] == (
        "Not read: 'Anno/list_category_img.txt'. A table that states the labels of these images is read with --input, "
        "such as in/Anno/list_category_img.txt."
    )
    assert "Not read" not in " ".join(layout_text.describe(folders, layout, "in.zip"))


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["cat.metadata.xlsx"], "'cat.metadata.xlsx'. It is a spreadsheet: save it as CSV"),
        (["classes.txt"], ""),  # it names the classes and no image
        (["labels.txt", "other/label.labels.txt"], ""),
        (["classes.txt", "labels.csv"], "'labels.csv'. A table that states the labels"),
        (["a/attributes.txt", "classes.txt"], "'a/attributes.txt'. A table that states the labels"),
    ],
)
def test_a_list_of_classes_is_no_table_of_labels(files, named):
    folders = tree("cat 3", "dog 3", *files)
    told = [s for s in layout_text.describe(folders, find_layout.find(folders, InputSpec("in")), "in") if "Not " in s]
    assert len(told) == bool(named)
    assert not named or told[0].startswith(f"Not read: {named}")


def test_splits_in_the_names_of_files_are_asked_about():
    files = [f"{c}/{s}_{i}.jpg" for c in ("cat", "dog") for s in ("train", "val") for i in range(3)]
    with pytest.raises(LayoutError, match="The names of files begin like splits: train, val") as caught:
        found(*files)
    pattern = str(caught.value).split("--label-from '")[1].split("'")[0]
    keys = ("cat/train_7.jpg", "dog/more/val_1.jpg", "dog/other.jpg")
    assert labels(found(*files, label_from=pattern), *keys) == [("train", "cat"), ("validation", "dog"), ("", "")]
    assert found(*files, label_from="top").splits == (("", ""),)
    assert found(*(f"{c}/train_{i}.jpg" for c in ("cat", "dog") for i in range(3))).splits == (("", ""),)


def test_one_of_several_splits_may_have_no_name_of_a_split():
    folders = [f"{s}/{c} 3" for s in ("rps", "rps-test-set") for c in ("paper", "rock")]
    with pytest.raises(LayoutError, match=r"\(a\) read them as splits with --split-names rps=train,rps-test-set=test;"):
        found(*folders, "rps-validation 4")
    with pytest.raises(LayoutError) as caught:
        found("birds/a 3", "birds/b 3", "test-birds/a 3", "test-birds/c 3")  # other classes
    assert "read them as splits" not in str(caught.value)


def test_a_folder_of_tables_is_no_detection():
    """As DeepWeeds has it."""
    with pytest.raises(LayoutError) as caught:
        found("images 9", "labels/labels.csv", "labels/train_subset0.csv")
    assert "detection" not in str(caught.value)
    assert "Tables that are there: labels/labels.csv, labels/train_subset0.csv" in str(caught.value)


def test_the_level_in_the_middle_is_a_reading_too():
    """As UT Zappos50K has it: Shoes/Oxfords/Nike."""
    with pytest.raises(LayoutError, match=r"\(d\) --label-from parent makes 3 classes: Ankle, Flat, Oxfords;"):
        found(
            "Shoes/Oxfords/Nike 3",
            "Shoes/Oxfords/Clarks 3",
            "Shoes/Flat/Nike 3",
            "Boots/Ankle/Clarks 3",
            "Boots/Ankle/Nike 2",
        )


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        (
            ("labels/test.txt", "labels/train.txt"),
            "Lists that are there: labels/test.txt, labels/train.txt. If a line is",
        ),
        (("labels/test.txt", "labels/train.txt"), "--input 'in/labels/*.txt' --no-heading"),
        (("images_box_train.txt", "images_box_val.txt"), "--input 'in/images_box_*.txt' --no-heading"),
        (("train_log.txt",), "Lists that are there: train_log.txt."),
    ],
)
def test_lists_beside_images_in_no_class_folder_are_named(lists, said):
    with pytest.raises(LayoutError) as caught:
        found("data/images 9", *lists)
    assert said in str(caught.value)
    assert ("--no-heading" in str(caught.value)) == (len(lists) > 1)
