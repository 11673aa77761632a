"""Names the inputs of SHARDMILL_DATA/cases with what `look` should say of them.

Each is (the case's folder as a pattern, the path below what its make.py draws, options, exit status, a text that the
output or the error has).
"""

from __future__ import annotations

CASES: list[tuple[str, str, list[str], int, str]] = [
    ("01*", "", [], 0, "train is 'train' (80 images), validation is 'val' (16 images); 120 images of 2 classes."),
    ("02*", "", [], 2, "two competing roots of splits: test, train, val, and chest_xray/test"),
    ("02*", "", ["--exclude", "chest_xray"], 0, "120 images of 2 classes"),
    ("03*", "", [], 0, "228 images of 6 classes.\nLeaves aside 'seg_pred' (20 images)."),
    ("06*", "", [], 2, "val/images (18 images) is named like the split validation"),
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
