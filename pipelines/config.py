"""Defines the options of `prepare` as one frozen dataclass that checks its values.

The command line, the help text and the reading of --config are made from its fields. It imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any

from pipelines import contract, storage
from pipelines.contract.contract import BANDS
from pipelines.contract.task import CLASSES, MULTI_LABEL, REGRESSION
from pipelines.core import errors, hashing
from pipelines.core.elements import MAX_CHANNELS
from pipelines.core.errors import ConfigError
from pipelines.images.image_spec import ImageSpec
from pipelines.images.limits import Limits
from pipelines.images.source_policy import (
    COLOR_PROFILES,
    DATA,
    TRUNCATED,
    SourcePolicy,
    check_bands,
    check_bit_depth,
    value_range,
)
from pipelines.inputs import classes as class_files
from pipelines.inputs import listing, webdataset
from pipelines.inputs.classes import Classes
from pipelines.inputs.layouts import layout
from pipelines.inputs.layouts.split_names import SPLIT_NAMES, SPLIT_PATTERN
from pipelines.inputs.rules import InputSpec, TableSpec
from pipelines.inputs.tables import record_files
from pipelines.inputs.tables.delimited_text import DELIMITERS
from pipelines.options import config_fields, option_syntax
from pipelines.options.config_fields import Range, Syntax, check_range, option
from pipelines.plan.balance import Balance
from pipelines.plan.plan import Sharding, record_bytes
from pipelines.records.record_spec import RecordSpec
from pipelines.storage import remote
from pipelines.tasks.kinds import KINDS

LABELS = ("one", "multi")
BALANCES = ("none", "uniform", "sqrt", "temperature", "counts")
QUALITIES = ("exact", "fast")
DUPLICATES = ("keep", "drop", "fail")
# Units: degrees, fractions of the side, fractions of the scale, fractions of the gray range, factors around 1.
AUGMENT_DEFAULTS = {
    "flip": 1.0,  # 1: half of the copies are mirrored left to right
    "rotate": 10.0,  # at most this many degrees in either direction
    "shift": 0.08,  # at most this fraction of the side, on each axis
    "scale": 0.1,  # zoom by a factor within 1 +- this
    "brightness": 0.1,  # add up to this fraction of 255
    "contrast": 0.15,  # stretch around mid-gray by a factor within 1 +- this
    "color": 0.15,  # saturation by a factor within 1 +- this
    "erase": 0.0,  # blank a rectangle of at most this fraction of the area; off by default
}


def _parse_balance(text: str) -> dict[str, Any]:
    """Returns the fields that --balance sets."""
    mode, _, value = text.partition("=")
    if mode == "counts" and value:
        counts = option_syntax.pairs(value, ":")
        return {"balance": mode, "counts": {k: option_syntax.number(v, int) for k, v in counts.items()}}
    if mode == "temperature" and value:
        return {"balance": mode, "temperature": option_syntax.number(value, float)}
    if mode == "uniform":
        return {"balance": mode, "per_class": option_syntax.number(value, int) if value else 0}
    if mode in ("none", "sqrt") and not value:
        return {"balance": mode}
    raise ValueError(
        f"should be none, uniform, uniform=N, sqrt, temperature=T or counts=CLASS:N,…. Received: {text!r}."
    )


def _parse_augment(text: str) -> dict[str, float]:
    if text == "default":
        return dict(AUGMENT_DEFAULTS)
    if text == "none":
        return {}
    strengths: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in AUGMENT_DEFAULTS or name in strengths:
            raise ValueError(f"should be of {', '.join(AUGMENT_DEFAULTS)}, each once. Received: {name!r}.")
        strengths[name] = option_syntax.number(value, float) if value else AUGMENT_DEFAULTS[name] or 0.1
    return strengths


def _show_augment(strengths: Mapping[str, float]) -> str:
    if strengths == AUGMENT_DEFAULTS:
        return "default"
    return option_syntax.joined(strengths) if strengths else "none"


_CLASS_FILE = Syntax(class_files.read, lambda classes: classes.path, "FILE")
_BALANCE = Syntax(_parse_balance, str, "MODE")
_LABEL_FROM = Syntax(layout.check_label_from, str, "RULE")
_AUGMENT = Syntax(_parse_augment, _show_augment, "LIST")
_BIT_DEPTH = Syntax(check_bit_depth, str, "N|LOW..HIGH|data")
_FILES, _PIXELS, _CLASSES, _RUN = "input and output", "pixels", "splits and balance", "shards and run"
READING = "how the input is read"  # the group of the options that `look` has, too
_TABLE_OPTIONS = {
    "encoding": "table_encoding",
    "targets": "target",
}  # fields of TableSpec that are called otherwise as options
_OF_LABELS = ("single_label", "labels", "label_separator", "label_columns", "targets")
_TASK_OPTIONS = ("labels", "label_separator", "label_columns", "target")
_SIZES = Range(1, 1 << 50)


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """Holds the options of `python -m pipelines prepare`.

    `decides=False` marks what the shard bytes do not depend on. The digest of all other options decides whether a run
    may be resumed.

    Raises:
      ConfigError: a value is not allowed; the message names the option.
    """

    input: str = option(
        dataclasses.MISSING,
        "the images: a folder of class folders or of split/class folders, a zip or tar of such a folder, a table (CSV, "
        "TSV, JSONL or Parquet) with the columns path, label and optionally split, group, weight, or a glob; local, "
        "gs:// or s3:// (a zip or tar local only)",
        metavar="PATH", group=_FILES, decides=False,
    )  # fmt: skip
    output: str = option(
        dataclasses.MISSING, "the folder of the dataset to make; local, gs:// or s3://",
        metavar="DIR", group=_FILES, decides=False,
    )  # fmt: skip
    name: str = option(
        "", "the first part of the shards' file names, NAME-train.tfrecord-…",
        unset="made from the name of the output folder", group=_FILES,
    )  # fmt: skip
    layout: str = option(
        "auto",
        "whether the top folders of the input are classes or splits; auto finds it out, says how it reads the input, "
        "and asks where there are several readings",
        choices=("auto", "class", "split"), group=READING,
    )  # fmt: skip
    split_names: tuple[tuple[str, str], ...] = option(
        (),
        "the folders of the splits by name or by path below the input, such as seg_train=train,seg_test=test; other "
        "folders are not read; a comma in a name is written \\,",
        syntax=option_syntax.NAMED, metavar="FOLDER=SPLIT,…", unset="found out", group=READING,
    )  # fmt: skip
    split_lists: tuple[tuple[str, str], ...] = option(
        (),
        "text files that list the images of the splits, such as train=meta/train.txt,test=meta/test.txt, with a path "
        "in each line; images that no list names are left aside; the files are relative to the current folder, or else "
        "to the input",
        syntax=option_syntax.NAMED, metavar="SPLIT=FILE,…", unset="no lists", group=READING,
    )  # fmt: skip
    label_from: str = option(
        "auto",
        "the part of a path below the input or the folder of a split that is the label: top (the first folder), leaf "
        "(the folder that holds the image), parent (the folder above that one), path (all folders, joined by slashes), "
        "or a regular expression over the path with one group, or with the groups label and split, such as "
        "'([a-z]+)[^/]*$' for cat.12.jpg; auto is top, and asks where leaf is possible, too",
        syntax=_LABEL_FROM, group=READING,
    )  # fmt: skip
    group_from: str = option(
        "",
        "a regular expression that finds the group of an image in its path below the input, such as 'patient(\\d+)'; "
        "images of one group stay in one split; its only group counts, or the one called group, or all that matches",
        metavar="PATTERN", unset="no groups, but for those of a manifest", group=READING,
    )  # fmt: skip
    include: tuple[str, ...] = option(
        (),
        "read only files whose path matches one of these patterns with *, ?, [...] and **; a pattern without a slash "
        "matches the name of a file or folder at any depth",
        syntax=option_syntax.NAMES, metavar="PATTERN,…", unset="all files", group=READING,
    )  # fmt: skip
    exclude: tuple[str, ...] = option(
        (), "do not read files and folders that match one of these patterns, which are written as those of --include",
        syntax=option_syntax.NAMES, metavar="PATTERN,…", unset="none", group=READING,
    )  # fmt: skip
    path_column: str = option(
        "", "the column of a table that has the paths of the images, by its heading or by its number from 1; "
        "of TFRecord and Parquet files, the feature or column that holds the images themselves",
        metavar="COLUMN", unset="found out", group=READING,
    )  # fmt: skip
    label_column: str = option(
        "", "the column of a table that has the labels, by its heading or by its number from 1; of "
        "TFRecord files, the feature",
        metavar="COLUMN", unset="found out", group=READING,
    )  # fmt: skip
    split_column: str = option(
        "", "the column of a table that has the splits, by its heading or by its number from 1; none reads no splits",
        metavar="COLUMN", unset="the one called split, if there is one", group=READING,
    )  # fmt: skip
    group_column: str = option(
        "",
        "the column of a table that has the groups, such as the patients, by its heading or by its number from 1; "
        "images of one group stay in one split; none reads no groups",
        metavar="COLUMN", unset="the one called group, if there is one", group=READING,
    )  # fmt: skip
    weight_column: str = option(
        "",
        "the column of a table that has the weights of the images in training, by its heading or by its number from 1; "
        "none reads no weights",
        metavar="COLUMN", unset="the one called weight, if there is one", group=READING,
    )  # fmt: skip
    heading: bool = option(
        True, "the first row of a table of text has the names of its columns; without, they are called 1, 2 and so on",
        group=READING,
    )  # fmt: skip
    delimiter: str = option(
        "auto", "what separates the cells of a table of text; auto finds it out, and asks where it is not plain",
        choices=("auto", *DELIMITERS), group=READING,
    )  # fmt: skip
    table_encoding: str = option(
        "",
        "the encoding of a table of text by its name in Python, such as cp1251 or shift_jis; UTF-8, UTF-16 and "
        "Windows-1252 are found out",
        metavar="NAME", unset="found out", group=READING,
    )  # fmt: skip
    image_root: str = option(
        "", "the folder in which the paths of a table begin; local, gs:// or s3://",
        metavar="DIR", unset="the folder of the table", group=READING,
    )  # fmt: skip
    suffix: str = option(
        "", "put this behind each path of a table that does not end with it, such as .jpg where a table has names "
        "without endings",
        metavar=".EXT", unset="nothing", group=READING,
    )  # fmt: skip
    path_prefix: tuple[tuple[str, str], ...] = option(
        (),
        "replace the beginning of the paths of a table, such as that of another machine: /home/ann/data=photos; the "
        "new one is relative to --image-root",
        syntax=option_syntax.NAMED, metavar="OLD=NEW,…", unset="as they are", group=READING,
    )  # fmt: skip
    find_images: bool = option(
        False,
        "find each image of a table by its name anywhere below --image-root, or below the folder of the table, where "
        "the rows have names or ids without the folders; endings may be missing",
        group=READING,
    )  # fmt: skip
    windows_paths: bool = option(
        False, "read a backslash in a path of a table as a slash, as Windows writes it", group=READING
    )
    single_label: bool = option(
        False,
        "take each label of a table as one class, even if the labels look like lists of labels or like measured "
        "numbers",
        group=READING,
    )  # fmt: skip
    labels: str = option(
        "one",
        "how many labels an image has: one, or multi for any number of them, none included; a table then has them in "
        "one column, as cat|dog, as a list, or in several rows of an image, or it has a column of 0 and 1 for each",
        choices=LABELS, group=READING,
    )  # fmt: skip
    label_separator: str = option(
        "", "what stands between the labels of a cell with --labels multi, such as | or space; none takes each cell as "
        "one label",
        metavar="TEXT", unset="found out", group=READING,
    )  # fmt: skip
    label_columns: tuple[str, ...] = option(
        (), "the columns of a table that have 1 or 0 for each label with --labels multi, by their headings or numbers",
        syntax=option_syntax.NAMES, metavar="COLUMN,…", unset="found out", group=READING,
    )  # fmt: skip
    target: tuple[str, ...] = option(
        (),
        "the columns of a table that have the numbers of an image, by their headings or numbers, such as age or x,y; "
        "a model of the dataset answers these numbers in place of a class",
        syntax=option_syntax.NAMES, metavar="COLUMN,…", unset="images have classes", group=READING,
    )  # fmt: skip
    classes: Classes = option(  # noqa: RUF009 (it makes a field, as for the others)
        Classes,
        "a file that fixes the ids of the classes: one label a line, whose id is the number of the line from 0; or a "
        ".csv with the columns label and class, which also renames labels, merges them (several labels of one class) "
        "and leaves them out (an empty class); the label * stands for all others",
        syntax=_CLASS_FILE, unset="each label is a class, and ids are in the order of the names", group=READING,
    )  # fmt: skip
    size: tuple[int, int] = option(
        (128, 128),
        "the height and the width of the stored images in pixels; one number makes them square",
        syntax=option_syntax.SIZE, group=_PIXELS,
    )  # fmt: skip
    resize: str = option(
        "stretch",
        "how an image is brought to the size: stretch changes its aspect, crop cuts out the centre, pad adds the "
        "background, none cuts or pads around the centre without resizing, for comparison",
        choices=contract.RESIZE_MODES, group=_PIXELS,
    )  # fmt: skip
    filter: str = option(
        "area",
        "the filter for resizing, which is antialiased: area is the exact average over each target pixel, bilinear a "
        "weighted average",
        choices=contract.FILTERS, group=_PIXELS,
    )  # fmt: skip
    quality: str = option(
        "exact",
        "how JPEGs are decoded: exact decodes all pixels, fast shrinks JPEGs of at least twice the size by 2, 4 or 8 "
        "while they are decoded, which changes values by one to two gray levels on average",
        choices=QUALITIES, group=_PIXELS,
    )  # fmt: skip
    background: tuple[int, int, int] = option(
        (255, 255, 255), "the colour behind transparent pixels and around padding, each number 0 to 255",
        syntax=option_syntax.COLOR, group=_PIXELS,
    )  # fmt: skip
    color_profile: str = option(
        "srgb",
        "what is done with images that have the colour profile (ICC) of another space than sRGB, such as Display P3, "
        "Adobe RGB or CMYK: srgb converts them to sRGB, ignore takes their numbers as they are",
        choices=COLOR_PROFILES, group=_PIXELS,
    )  # fmt: skip
    bit_depth: str = option(
        "",
        "the values of images with more than 8 bits a channel that become black and white: a number of bits such as 12 "
        "(0 to 4095), a range such as -1024..3071, or data for the least and the greatest value of all such images; "
        "values beyond are clipped",
        syntax=_BIT_DEPTH, unset="16 bits, and a warning where few levels remain", group=_PIXELS,
    )  # fmt: skip
    truncated: str = option(
        "reject",
        "what is done with JPEGs that are cut off, as by a download that broke: reject them, or fill the part that is "
        "missing with gray or with what came before",
        choices=TRUNCATED, group=_PIXELS,
    )  # fmt: skip
    channels: int = option(
        3,
        "the channels of the stored images: 3 for red, green and blue, or 1 for gray, which takes a third of the "
        "bytes; gray images keep their values, and of other images the luma is taken",
        metavar="3|1", limits=Range(1, MAX_CHANNELS), unset="3, or one for each of --bands", group=_PIXELS,
    )  # fmt: skip
    bands: tuple[int, ...] = option(
        (),
        "the bands of TIFF files that become the channels, by number from 1 and in this order, such as 4,3,2; for "
        "satellites and other cameras of many bands; files of other formats are rejected",
        syntax=option_syntax.NUMBERS, unset="pictures are read as they are meant", group=_PIXELS,
    )  # fmt: skip
    normalize: str = option(
        "zscore",
        "how pixel values are normalized: zscore to mean 0 and deviation 1 per channel over the originals of train, "
        "unit to 0..1, symmetric to -1..1, imagenet by ImageNet's mean and deviation, none leaves 0..255",
        choices=contract.NORMALIZATIONS, group=_PIXELS,
    )  # fmt: skip
    splits: Mapping[str, float] = option(
        lambda: {"train": 0.8, "validation": 0.1, "test": 0.1},
        "the splits and the fraction of each class that they get, 1 in total; equal images and images of one group "
        "stay in one split; splits that the input states are kept",
        syntax=option_syntax.SHARES, group=_CLASSES,
    )  # fmt: skip
    group_similar: int = option(
        0,
        "images whose perceptual hashes differ in at most so many of 128 bits stay in one split, as other sizes, crops "
        "or shots of one photograph do; 0 to 40: 10 suits photographs, 0 compares no images",
        limits=Range(0, 40), group=_CLASSES,
    )  # fmt: skip
    like: str = option(
        "",
        "an earlier dataset that this one continues: images of equal content keep their split, classes keep their id, "
        "and pixels are normalized as there, so that its models can be evaluated; options about pixels, --splits and "
        "--classes are as there if they are not given",
        metavar="DIR", unset="none", group=_CLASSES, decides=False,
    )  # fmt: skip
    validation_from: Mapping[str, float] = option(
        dict,
        "cut a validation split out of a split that the input states: train=0.1 moves a tenth of each class",
        syntax=option_syntax.SHARES, unset="no split is cut", group=_CLASSES,
    )  # fmt: skip
    balance: str = option(
        "none",
        "how the classes of train are balanced by copying and leaving out images: none, uniform (each class gets as "
        "many records as the largest has) or uniform=N, sqrt (in proportion to the square root of the class's count), "
        "temperature=T (to its power 1/T), or counts=CLASS:N,…",
        syntax=_BALANCE, sets=True, group=_CLASSES,
    )  # fmt: skip
    duplicates: str = option(
        "keep",
        "what is done with images of equal content: keep them together in one split, drop all but the first (or all, "
        "where their labels differ), or fail",
        choices=DUPLICATES, group=_CLASSES,
    )  # fmt: skip
    temperature: float = 1.0
    per_class: int = 0  # records per class with balance=uniform; 0: as many as the largest class has
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    max_copies: int = option(
        10, "the most records that --balance makes of one image, including the original",
        limits=Range(1, 999), group=_CLASSES,
    )  # fmt: skip
    augment: Mapping[str, float] = option(
        lambda: dict(AUGMENT_DEFAULTS),
        "how the copies that --balance makes are changed: default, none (copies are plain duplicates, for comparison), "
        "or a list NAME=STRENGTH,… that omits the other changes; rotate is in degrees, all others are fractions, and "
        f"default is {', '.join(f'{name}={value:g}' for name, value in AUGMENT_DEFAULTS.items())}",
        syntax=_AUGMENT, group=_CLASSES,
    )  # fmt: skip
    encoding: str = option(
        "float16", "how a record stores its pixels: as numbers of this type, or as a JPEG or PNG",
        choices=contract.ENCODINGS, group=_PIXELS,
    )  # fmt: skip
    jpeg_quality: int = option(
        95, "the quality of the images that --encoding jpeg stores, 1 to 100", limits=Range(1, 100), group=_PIXELS
    )
    shards: int = option(
        0, "the number of shards of each split", unset="chosen by --shard-size", limits=Range(0, 99_999), group=_RUN
    )
    shard_size: int = option(
        128 << 20, "the approximate largest size of a shard, in bytes or with K, M or G",
        syntax=option_syntax.BYTES, limits=_SIZES, group=_RUN,
    )  # fmt: skip
    seed: int = option(
        0, "the seed of the splits, the order of the records and the augmentation",
        limits=Range(-(1 << 63), (1 << 63) - 1), group=_RUN,
    )  # fmt: skip
    max_reject_rate: float = option(
        0.01, "fail and publish nothing if more than this fraction (0 to 1) of the inputs is bad",
        metavar="RATE", limits=Range(0, 1), group=_FILES, decides=False,
    )  # fmt: skip
    max_pixels: int = option(
        64 << 20, "reject an image with more pixels (width times height) than this; K, M and G may follow the number",
        syntax=option_syntax.COUNT, limits=_SIZES, group=_FILES,
    )  # fmt: skip
    max_frames: int = option(
        1000, "reject an animation or a TIFF with more frames than this; only the first frame is used",
        limits=_SIZES, group=_FILES,
    )  # fmt: skip
    max_file_bytes: int = option(
        256 << 20, "reject a file of more bytes than this, without reading it; K, M and G may follow the number",
        syntax=option_syntax.BYTES, limits=_SIZES, group=_FILES,
    )  # fmt: skip
    allow_outside: bool = option(
        False, "accept links and manifest paths that lead out of the input, instead of rejecting such files",
        group=READING,
    )  # fmt: skip
    allow_lost_classes: bool = option(
        False,
        "publish the dataset although a class folder is empty or cannot be entered, or none of a class's inputs can be "
        "used",
        group=READING, decides=False,
    )  # fmt: skip
    image_timeout: float = option(
        60.0, "reject an image whose reading or decoding takes more seconds than this",
        metavar="SECONDS", limits=Range(0.001, 86_400), group=_FILES, decides=False,
    )  # fmt: skip
    image_memory: int = option(
        1 << 30,
        "reject an image whose decoding needs more memory than this, in bytes or with K, M or G; each worker may use "
        "this much; Linux only",
        syntax=option_syntax.BYTES, limits=Range(16 << 20, 1 << 50), group=_FILES, decides=False,
    )  # fmt: skip
    workers: int = option(
        0, "the number of decoding processes on each machine", unset="one per core",
        limits=Range(0, 1024), group=_RUN, decides=False,
    )  # fmt: skip
    # Sources per class and split that the report shows.
    thumbnails: int = dataclasses.field(default=2, compare=False)

    def __post_init__(self) -> None:
        config_fields.check(self)
        for side in self.size:
            check_range("--size", side, Range(1, 8192))
        for value in self.background:
            check_range("--background", value, Range(0, 255))
        for name, path in (("--input", self.input), ("--output", self.output)):
            _check_place(name, path)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", self.dataset_name):
            raise ConfigError(f"--name should be a letter, then letters, digits and _. Received: {self.dataset_name!r}")
        try:
            check_bit_depth(self.bit_depth)
        except ValueError as e:
            raise ConfigError(f"--bit-depth {e}") from e
        self._check_channels()
        self._check_layout()
        self._check_table()
        self._check_splits()
        self._check_balance()
        self._check_task()
        for name, strength in self.augment.items():
            if name not in AUGMENT_DEFAULTS:
                raise ConfigError(f"--augment should be one of {', '.join(AUGMENT_DEFAULTS)}. Received: {name!r}.")
            # A scale of 1 would allow a zoom factor of 0.
            check_range(f"--augment {name}", strength, Range(0, {"rotate": 180, "scale": 0.9}.get(name, 1)))

    def _check_channels(self) -> None:
        try:
            check_bands(self.bands)
        except ValueError as e:
            raise ConfigError(f"--bands {e}") from e
        if self.bands and self.channels not in (3, len(self.bands)):
            raise ConfigError(
                f"--bands names {len(self.bands)} bands, and --channels says {self.channels}. Leave out --channels."
            )
        if not self.bands and self.channels not in contract.CHANNEL_ORDERS:
            raise ConfigError(
                f"--channels should be 3 for colours or 1 for gray. Received: {self.channels}. For other bands of TIFF "
                "files use --bands."
            )
        if self.channel_order != "RGB" and self.normalize == "imagenet":
            raise ConfigError(
                "--normalize imagenet has numbers for red, green and blue, and such images have other channels. Use "
                "zscore, unit or symmetric: a network with published weights gets the pixels that it was trained on "
                "anyway."
            )
        if self.bands and len(set(self.background)) > 1:
            raise ConfigError(
                f"--background should be gray with --bands, because bands are no colours: one number three times. "
                f"Received: {self.background}."
            )
        if self.encoding in ("jpeg", "png") and self.image_channels not in contract.CHANNEL_ORDERS:
            raise ConfigError(
                f"--encoding {self.encoding} holds 1 or 3 channels, and --bands names {self.image_channels}. Use "
                "uint8, float16 or float32."
            )

    def _check_layout(self) -> None:
        try:
            layout.check_label_from(self.label_from)
        except ValueError as e:
            raise ConfigError(f"--label-from {e}") from e
        try:
            groups = re.compile(self.group_from)
        except re.error as e:
            raise ConfigError(f"--group-from should be a regular expression: {e}. Received: {self.group_from!r}") from e
        if groups.groups > 1 and "group" not in groups.groupindex:
            raise ConfigError(
                "--group-from should have one group in parentheses, or one that is named (?P<group>…). Received: "
                f"{self.group_from!r}."
            )
        for folder, split in self.split_names:
            if not re.fullmatch(SPLIT_PATTERN, split):
                raise ConfigError(
                    f"--split-names: a split's name should be letters, digits and _. Received {split!r} for {folder!r}."
                )
        for split, _ in self.split_lists:
            if not re.fullmatch(SPLIT_PATTERN, split):
                raise ConfigError(
                    f"--split-lists: a split's name should be letters, digits and _. Received: {split!r}."
                )
        if self.split_lists and record_files.is_table(self.input):
            raise ConfigError(
                "--split-lists is for folders of images. A table states splits in a column: --split-column."
            )
        if self.split_names and self.layout != "auto":
            raise ConfigError(f"--split-names already says what the folders are. Leave out --layout {self.layout}.")

    def _check_table(self) -> None:
        given = [field.name for field in dataclasses.fields(TableSpec) if _of_table(field.name, self) != field.default]
        if given == ["label_column"] and webdataset.shards(self.input):
            return  # the key of the label in the .json of each sample
        of_text = [name for name in given if not name.endswith("_column") and name not in _OF_LABELS]
        if of_text and record_files.find(self.input):
            name = config_fields.flag(_TABLE_OPTIONS.get(of_text[0], of_text[0]))
            raise ConfigError(f"{name} is about tables of paths. {self.input!r} holds the images itself. Leave it out.")
        if given and not record_files.is_table(self.input):
            name = config_fields.flag(_TABLE_OPTIONS.get(given[0], given[0]))
            raise ConfigError(f"{name} is about tables, and --input {self.input!r} is none. Leave it out.")
        for role in ("path", "label"):
            if getattr(self, f"{role}_column") == "none":
                raise ConfigError(f"--{role}-column should name a column, because each image needs a {role}.")
        if self.table_encoding:
            try:
                "".encode(self.table_encoding)
            except LookupError as e:
                raise ConfigError(
                    f"--table-encoding should be an encoding that Python knows. Received: {self.table_encoding!r}."
                ) from e
        if "/" in self.suffix:
            raise ConfigError(f"--suffix should be an ending, such as .jpg. Received: {self.suffix!r}.")
        if self.image_root:
            _check_place("--image-root", self.image_root)

    def _check_splits(self) -> None:
        if "train" not in self.splits or self.splits["train"] <= 0:
            raise ConfigError(f"--splits should give train a share above 0. Received: {dict(self.splits)}")
        for name, share in self.splits.items():
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise ConfigError(f"--splits: a name should be letters, digits and _. Received: {name!r}")
            check_range(f"--splits {name}", share, Range(0, 1))
        for name, share in self.validation_from.items():
            check_range(f"--validation-from {name}", share, Range(0.001, 0.999))
        if len(self.validation_from) > 1:
            raise ConfigError(f"--validation-from should name one split. Received: {dict(self.validation_from)}")
        if abs(sum(self.splits.values()) - 1) > 1e-6:
            raise ConfigError(f"--splits should add up to 1. Received: {dict(self.splits)}")

    def _check_task(self) -> None:
        """Refuses options that make no sense with the task."""
        if self.target and self.labels != "one":
            raise ConfigError("--target is for numbers, and --labels multi for labels. Leave one of them out.")
        for name in ("label_separator", "label_columns"):
            if getattr(self, name) and self.task != MULTI_LABEL:
                raise ConfigError(f"{config_fields.flag(name)} is for several labels an image: add --labels multi.")
        if self.label_columns and (self.label_column or self.label_separator):
            other = "--label-column" if self.label_column else "--label-separator"
            raise ConfigError(f"{other} is for labels in one column, and --label-columns for several. Leave one out.")
        if self.task == CLASSES:
            return
        given = "--labels multi" if self.task == MULTI_LABEL else "--target"
        if self.single_label:
            raise ConfigError(f"--single-label takes each label as one class. Leave it out, or {given}.")
        if self.like:
            raise ConfigError(
                f"--like continues datasets of one class an image, and not those of {given}. Prepare all images "
                "together, with the old splits in the table's column split."
            )
        if self.task == REGRESSION and self.label_column:
            raise ConfigError("--label-column names classes, and --target numbers. Leave one of them out.")
        if self.task == REGRESSION and self.classes.stated:
            raise ConfigError("--classes is for labels, and --target has numbers. Leave one of them out.")
        if not KINDS[self.task].is_balanced and self.balance != "none":
            raise ConfigError(
                f"--balance {self.balance} is for classes and labels, and --target has numbers. Leave it out; rows of "
                "a larger weight count more in training."
            )

    def _check_balance(self) -> None:
        if self.balance not in BALANCES:
            raise ConfigError(f"--balance should be one of {', '.join(BALANCES)}. Received: {self.balance!r}.")
        if self.temperature != math.inf:  # infinity makes the classes equal
            check_range("--balance temperature", self.temperature, Range(1e-6))
        check_range("--balance uniform", self.per_class, Range(0, 1 << 40))
        if self.balance == "counts" and not self.counts:
            raise ConfigError("--balance counts should name the classes: counts=cat:500,dog:500.")
        for label, count in self.counts.items():
            check_range(f"--balance counts, {label}", count, Range(0, 1 << 40))

    @property
    def task(self) -> str:
        """Returns the name of the kind of task."""
        return self._table_spec.task

    @property
    def dataset_name(self) -> str:
        """Returns NAME of the shards' names: a letter, then letters, digits and _.

        It is the name that was given, or is made from the name of the output folder.
        """
        if self.name:
            return self.name
        made = re.sub(r"[^A-Za-z0-9]+", "_", os.path.basename(self.output.rstrip("/"))).strip("_")
        return made if made[:1].isalpha() else f"dataset_{made}".rstrip("_")

    @property
    def input_spec(self) -> InputSpec:
        """Returns what is listed, and how."""
        split_names = tuple((folder, SPLIT_NAMES.get(split.lower(), split)) for folder, split in self.split_names)
        return InputSpec(
            self.input, self.layout, split_names, self.label_from, self.include, self.exclude, self.group_from,
            self.allow_outside, self._table_spec, self.classes, self._lists,
        )  # fmt: skip

    @property
    def _lists(self) -> tuple[tuple[str, str], ...]:
        """Returns (file, split) of each list.

        A file is looked for in the current folder, and then in the input.
        """
        found = []
        for split, file in self.split_lists:
            inside = os.path.join(self.input, file)
            if not remote.is_remote(file):
                file = os.path.abspath(inside if not os.path.exists(file) and os.path.exists(inside) else file)
            found.append((file, SPLIT_NAMES.get(split.lower(), split)))
        return tuple(found)

    @property
    def _table_spec(self) -> TableSpec:
        values = {field.name: _of_table(field.name, self) for field in dataclasses.fields(TableSpec)}
        if self.image_root and not remote.is_remote(self.image_root):  # workers may run in another folder
            values["image_root"] = os.path.abspath(self.image_root)
        return TableSpec(**values)

    @property
    def limits(self) -> Limits:
        """Returns what reading one image may take."""
        return Limits(
            self.max_pixels, self.max_frames, self.max_file_bytes, self.image_timeout, self.image_memory,
            listing.bounds(self.input_spec),
        )  # fmt: skip

    @property
    def image_spec(self) -> ImageSpec:
        """Returns the form of every image."""
        return ImageSpec(
            *self.size, self.resize, self.filter, self.background, self.quality, self.source_policy, self.image_channels
        )

    @property
    def image_channels(self) -> int:
        """Returns the number of channels of the stored images."""
        return len(self.bands) or self.channels

    @property
    def channel_order(self) -> str:
        """Returns what the channels are, as the contract says it."""
        return BANDS if self.bands else contract.CHANNEL_ORDERS[self.channels]

    @property
    def source_policy(self) -> SourcePolicy:
        """Returns how the pixels of a file are understood.

        With --bit-depth data the range is not known yet.
        """
        ends = None if self.bit_depth == DATA else value_range(self.bit_depth)
        return SourcePolicy(self.color_profile, ends, self.truncated, self.bands)

    @property
    def record_spec(self) -> RecordSpec:
        """Returns how records are made of images."""
        colored = self.channel_order == "RGB"
        augment = {name: strength for name, strength in self.augment.items() if colored or name != "color"}
        return RecordSpec(self.image_spec, self.limits, self.encoding, self.jpeg_quality, augment, self.seed)

    @property
    def class_balance(self) -> Balance:
        """Returns how many records the classes of train should have."""
        return Balance(self.balance, self.temperature, self.per_class, self.counts, self.max_copies)

    @property
    def sharding(self) -> Sharding:
        """Returns into how many shards a split is divided."""
        return Sharding(self.shards, self.shard_size, record_bytes(*self.size, self.image_channels, self.encoding))

    def digest(self) -> str:
        """Returns the SHA-256 of the options that the shard bytes depend on.

        Of --like, it is the contract that counts.

        Raises:
          ContractError: --like names no complete dataset.
        """
        decisive = config_fields.decisive(self)
        values = {name: value for name, value in self.noted().items() if name in decisive}
        # Under the names and without the options that other versions do not have: their datasets have equal digests.
        if self.task == CLASSES:
            for name in _TASK_OPTIONS:
                del values[name]
        else:
            values["targets"] = values.pop("target")
        values["target"] = values.pop("per_class")
        if self.duplicates != "drop":  # `keep` and `fail` give the same shards
            del values["duplicates"]
        if not self.group_similar:
            del values["group_similar"]
        values["classes"] = {**values["classes"], "path": ""}  # what is in the file decides
        if self.like:
            values["like"] = contract.load(self.like, storage.reading_text).digest
        values |= {"name": self.dataset_name, "splits": list(self.splits.items())}  # the cuts follow the splits' order
        return hashing.text_digest(json.dumps(values, sort_keys=True))

    def settings(self) -> dict[str, Any]:
        """Returns all options as plain JSON values."""
        return {**dataclasses.asdict(self), "name": self.dataset_name}

    def noted(self) -> dict[str, Any]:
        """Returns the options that a dataset notes, as plain JSON values.

        Of three channels nothing is noted, so that such a dataset has the bytes that it had before there was a choice.
        """
        noted = {**self.settings(), "channels": self.image_channels}
        if not self.bands:
            del noted["bands"]
            if self.channels == 3:
                del noted["channels"]
        return noted


def _of_table(name: str, config: PrepareConfig) -> Any:
    """Returns the option that a field of TableSpec is made of."""
    return getattr(config, _TABLE_OPTIONS.get(name, name))


def _check_place(name: str, path: str) -> None:
    if remote.is_remote(path):
        try:
            remote.check(path)
        except errors.StoreError as e:
            raise ConfigError(f"{name} {e}") from e
