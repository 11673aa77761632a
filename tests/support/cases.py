"""Names the inputs of SHARDMILL_DATA/cases with what `look` should say of them, and what `prepare` should make of them.

Each of CASES is (the case's folder as a pattern, the path below what its make.py draws, options of `look`, exit status,
a text that the output or the error has). An option has {0} for the folder that make.py draws.
"""

from __future__ import annotations

from typing import NamedTuple

CASES: list[tuple[str, str, list[str], int, str]] = [
    ("01*", "", [], 0, "train is 'train' (80 images), validation is 'val' (16 images); 120 images of 2 classes."),
    ("02*", "", [], 2, "two competing roots of splits: test, train, val, and chest_xray/test"),
    ("02*", "", ["--exclude", "chest_xray"], 0, "120 images of 2 classes"),
    ("03*", "", [], 0, "228 images of 6 classes.\nLeaves aside 'seg_pred' (20 images)."),
    ("06*", "", [], 2, "--label-lists val/images=val/val_annotations.txt"),
    ("06*", "", ["--label-lists", "val=val/val_annotations.txt"], 0, "n01629819     30           6\n"),
    ("11*", "", [], 0, "Not used: 4 system-file"),
    ("12*", "", [], 0, "80 images of 2 classes.\nFiles whose endings are not those of images: 80 .xml."),
    ("13*", "", [], 2, "This is a detection layout"),
    ("16*", "", [], 2, "which finds cat, dog"),
    ("16*", "train", ["--label-from", "([a-z]+)[^/]*$"], 0, "dog                  40\nall                  80\n"),
    ("27*", "pets.zip", [], 0, "60 images of 2 classes"),
    ("27*", "pets-000000.tar", [], 0, "as webdataset: 1 shard, the label from .cls."),
    ("27*", "train-00000-of-00001.parquet", [], 0, "as Parquet, 1 file, columns 'image' as path and 'label' as label"),
    ("27*", "plain/metadata.jsonl", [], 0, "all                  60"),
    ("27*", "data.tfrecord", [], 1, "is no TFRecord file: its length is damaged"),
    ("27*", "plain/labels.xlsx", [], 1, "save it as CSV"),
    ("34*", "", [], 2, "--input"),
    ("34*", "PetImages/Cat", [], 2, "PetImages"),
    ("34*", "PetImages", [], 0, "80 images of 2 classes."),
    ("34*", "archive", [], 0, "80 images of 2 classes."),
    ("38*", "", [], 0, "60 images of 3 classes."),
]


class Made(NamedTuple):
    """What `prepare` makes of a case.

    splits: split -> records. images: class or label -> images; {} of numbers. rejected: reason -> inputs.
    says: a text that the output, the log or the report has.
    """

    splits: dict[str, int]
    images: dict[str, int]
    rejected: dict[str, int] = {}  # noqa: RUF012 (never changed)
    says: str = ""


def drawn(train: int, others: int) -> dict[str, int]:
    """Splits of the default shares."""
    return {"train": train, "validation": others, "test": others}


_GIVEN = {"train": 80, "validation": 16, "test": 24}
_LUNGS = {"NORMAL": 60, "PNEUMONIA": 60}
_SKIN = {"MEL": 20, "NV": 20, "BCC": 20, "AK": 20}
_TAGS = {"Cardiomegaly": 36, "Effusion": 40, "Mass": 43, "Nodule": 39}
_BREAD = Made(drawn(48, 6), {"Käse": 30, "Brot": 30})
_IDS = Made(drawn(48, 6), {"0": 30, "1": 30})
_PETS = Made(drawn(48, 6), {"cat": 30, "dog": 30})
_MULTI = ["--labels", "multi"]
PREPARED: list[tuple[str, str, list[str], Made]] = [
    ("01*", "", [], Made(_GIVEN, _LUNGS, {"hidden": 123})),
    ("02*", "", ["--exclude", "chest_xray"], Made(_GIVEN, _LUNGS)),
    ("03*", "", [], Made({"train": 180, "test": 48}, dict.fromkeys(
        ("buildings", "forest", "glacier", "mountain", "sea", "street"), 38), {"left-aside": 20})),
    ("05*", "", [], Made({"train": 90, "test": 30}, {
        "Banana 1": 40, "Cherry 2": 40, "Tomato not Ripened 1": 30, "Tomato not Ripen 1": 10},
        {}, "Split test has no image of: Tomato not Ripened 1.")),
    ("06*", "", ["--label-lists", "val=val/val_annotations.txt"], Made({"train": 90, "validation": 18}, dict.fromkeys(
        ("n01443537", "n01629819", "n01641577"), 36), {"left-aside": 18, "other-file": 6})),
    ("08*", "train_labels.csv", ["--path-column", "id", "--suffix", ".jpg", "--image-root", "{0}/train"], _IDS),
    ("08*", "renamed.csv", ["--suffix", ".jpg", "--image-root", "{0}/train"], _IDS),
    ("08*", "prefixed.csv", ["--suffix", ".jpg"], _IDS),
    *(("09*", name, [], _BREAD) for name in (
        "semicolon.csv", "cp1252.csv", "utf16.csv", "semicolon-cp1252.csv", "tabs.tsv", "tabs.csv", "cr-only.csv",
        "sep-line.csv", "spaces.csv", "capitals.csv", "excel-tail.csv", "quoted-all.csv")),
    ("09*", "no-header.csv", ["--no-heading"], _BREAD),
    ("09*", "list.txt", ["--no-heading"], _IDS),
    ("11*", "", [], Made(drawn(80, 10), {"cat": 50, "dog": 50}, {"system-file": 4})),
    ("12*", "", [], Made(drawn(64, 8), {"helmet": 40, "no_helmet": 40}, {"other-file": 80})),
    ("16*", "train", ["--label-from", "([a-z]+)[^/]*$"], Made(drawn(64, 8), {"cat": 40, "dog": 40})),
    ("18*", "", ["--layout", "class", "--bit-depth", "data"], Made(drawn(128, 16), dict.fromkeys(
        ("png12", "tif12", "offset", "signed"), 40))),
    ("18*", "", ["--include", "png12,tif12"], Made(drawn(64, 8), {"png12": 40, "tif12": 40}, {},
        "80 images have more than 8 bits a channel, but use only 994..2486: after division by 257 7 levels of 256")),
    ("20*", "", ["--layout", "class"], Made(drawn(128, 16), dict.fromkeys(
        ("truth-srgb", "p3", "adobe", "linear"), 40))),
    ("21*", "", [], Made(drawn(64, 8), {"oak": 40, "birch": 40})),
    ("23*", "", ["--max-reject-rate", "0.05"], Made({"train": 79, "validation": 9, "test": 10}, {
        "beagle": 49, "leonberger": 49}, {"undecodable": 2})),
    ("23*", "", ["--truncated", "fill"], Made(drawn(80, 10), {"beagle": 50, "leonberger": 50})),
    ("24*", "table.csv", [], Made({"train": 70, "validation": 10, "test": 10}, {"neg": 45, "pos": 45}, {},
        "4 groups of images are in more than one of the given splits")),
    ("24*", "folders", ["--group-from", r"/(p\d+)_"], Made(drawn(48, 16), {"neg": 40, "pos": 40})),
    ("25*", "folds.csv", ["--split-column", "none", "--group-column", "split"],
        Made(drawn(60, 20), {"0": 50, "1": 50})),
    ("27*", "pets.zip", [], _PETS),
    ("27*", "pets-000000.tar", [], _IDS),
    ("27*", "train-00000-of-00001.parquet", [], _IDS),
    ("27*", "plain/metadata.jsonl", [], _PETS),
    ("27*", "plain", [], Made(drawn(48, 6), {"cat": 30, "dog": 30}, {"other-file": 3})),
    ("28*", "pipe.csv", _MULTI, Made(drawn(64, 8), _TAGS)),
    ("28*", "list.jsonl", _MULTI, Made(drawn(64, 8), _TAGS)),
    ("28*", "onehot.csv", [*_MULTI, "--suffix", ".jpg", "--image-root", "{0}/img"], Made(drawn(64, 8), _SKIN)),
    ("28*", "onehot-path.csv", _MULTI, Made(drawn(64, 8), _SKIN)),
    ("28*", "onehot-path.csv", ["--label-columns", "MEL,NV,BCC,AK"], Made(drawn(64, 8), _SKIN)),
    ("28*", "rf/train/_classes.csv", _MULTI, Made(drawn(16, 2), {"a": 10, "b": 20})),
    ("29*", "angles.csv", ["--target", "label"], Made(drawn(160, 20), {})),
    ("30*", "", ["--max-reject-rate", "0.05"], Made({"train": 322, "validation": 41, "test": 40}, {
        "a": 203, "b": 200}, {"not-an-image": 8})),
    ("31*", "", [], Made(drawn(3200, 400), {f"{k:04}": 2 for k in range(2000)})),
    ("33*", "my photos (2024) v1.0", ["--shards", "10"], Made(drawn(32, 4), {"x": 20, "y": 20})),
    ("34*", "PetImages", [], Made(drawn(64, 8), {"Cat": 40, "Dog": 40})),
    ("34*", "archive", [], Made({"train": 60, "test": 20}, {"cats": 40, "dogs": 40})),
    ("35*", "", ["--channels", "1"], Made(drawn(240, 30), {str(k): 30 for k in range(10)})),
    ("37*", "rle.csv", [], Made(drawn(48, 6), {"no": 30, "yes": 30})),
    ("37*", "train.csv.gz", [], Made(drawn(48, 6), {"no": 30, "yes": 30})),
    ("37*", "boxes.csv", _MULTI, Made(drawn(48, 6), {"car": 30, "person": 36})),
    ("38*", "", [], Made(drawn(48, 6), {"Ñandú": 20, "собака": 20, "猫": 20})),
]  # fmt: skip
# (case, path, options, a text of the refusal): `prepare` reads them to the end and publishes nothing.
REFUSED: list[tuple[str, str, list[str], str]] = [
    ("18*", "", ["--layout", "class"], "unsupported-pixels 2, the first is '{0}/signed/11.tif': Pixels of -7..1080"),
    ("23*", "", [], "undecodable 2, the first is '{0}/beagle/9.jpg': The JPEG is cut off before its end. --truncated"),
    ("25*", "folds.csv", [], "If these are folds, write the names of splits"),
    ("25*", "named.csv", [], "--split-column none"),
    ("30*", "", [], "not-an-image 8, the first is '{0}/a/IMG_1.HEIC': It is a damaged HEIC or HEIF photograph."),
    ("37*", "boxes.csv", [], "contradictory-rows 18, the first is '{0}/t/0.jpg': Row 1: this path has 2 different"),
]
