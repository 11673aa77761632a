"""Defines the rules that every kind of input follows.

They concern what is listed, the kinds of manifest, and rejects.
"""

from __future__ import annotations

import dataclasses

from pipelines.contract.metadata import MetadataColumn
from pipelines.contract.task import CLASSES, MULTI_LABEL, REGRESSION
from pipelines.core.summary import Rejected
from pipelines.core.text import utf8_text
from pipelines.inputs import array_files
from pipelines.inputs.classes_file import NO_CLASSES, Classes
from pipelines.inputs.layouts.layout import Layout

LAYOUTS = ("auto", "class", "split")
ROWS = "rows"  # as the value of --unlabelled: the rows of a table whose label is empty
MANIFEST_SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".parquet")
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif",
    ".jp2", ".j2k", ".ppm", ".pgm", ".pbm",
)  # fmt: skip
# What is said of files that hold a table in another form.
_OTHER_TABLES = {
    (".xlsx", ".xls", ".xlsm", ".ods"): "It is a spreadsheet: save it as CSV (File, Save as, CSV UTF-8).",
    (".json",): "It is JSON: write it as JSON lines, one object for each image in a line of its own, and end its name "
    "in .jsonl.",
    (".xml",): "It is XML: write its paths and labels as a CSV file with the columns path and label.",
    (".pkl", ".pickle"): "It is a pickle, which can run code when it is opened: write a table as CSV "
    "(pandas: table.to_csv(..., index=False)), and images as files.",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TableSpec:
    """States how a manifest is read. The defaults find it out, where it is plain.

    path_column, label_column, split_column, group_column, weight_column: headings of the columns, or their numbers
      from 1; "" finds the column out, and "none" (of the last three) reads none.
    heading: whether the first row has the names of the columns; if not, they are called 1, 2, …
    delimiter: "auto", or a name of `delimited_text.DELIMITERS`.
    encoding: of the text, by Python's name; "" finds it out.
    join: tables that are joined by an id; see `joined_tables.joined`.
    image_root: the folder in which relative paths begin; "" is the manifest's own.
    suffix: what is put behind a path that does not end with it.
    path_prefix: (old, new) pairs; the beginning of a path that is equal to the first becomes the second.
    find_images: whether an image is found by its name anywhere below the folder in which paths begin.
    windows_paths: whether a backslash in a path is a slash.
    single_label: whether each label is one class, even if it looks like several labels or like a measured number.
    labels: "multi" if an image may have several labels, else "one".
    label_separator: what stands between the labels of a cell; "" finds it out, and "none" is nothing.
    label_columns: headings or numbers of the columns that have 0 or 1 for each label, or for each class; () finds those
      of several labels out.
    targets: headings or numbers of the columns of numbers that are to be predicted; () has none.
    keep: headings or numbers of the columns that travel along with the images; () has none.
    path_from: a template with columns in braces that makes the paths; "" takes those of one column.
    """

    path_column: str = ""
    label_column: str = ""
    split_column: str = ""
    group_column: str = ""
    weight_column: str = ""
    heading: bool = True
    delimiter: str = "auto"
    encoding: str = ""
    join: tuple[str, ...] = ()
    image_root: str = ""
    suffix: str = ""
    path_prefix: tuple[tuple[str, str], ...] = ()
    find_images: bool = False
    windows_paths: bool = False
    single_label: bool = False
    labels: str = "one"
    label_separator: str = ""
    label_columns: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    path_from: str = ""

    @property
    def task(self) -> str:
        """Returns the name of the kind of task."""
        return REGRESSION if self.targets else MULTI_LABEL if self.labels == "multi" else CLASSES


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """States what is listed, and how.

    path: a folder, a container of one, a manifest or a glob.
    layout: "class" (class/file) or "split" (split/class/file) below a folder; "auto" finds out which.
    split_names: (folder, split) pairs that name the folders of the splits; () finds them out.
    split_lists: (file, split) pairs: lists of the images of each split; () has none.
    label_lists: (folder, file) pairs: lists of the labels of images in no class folders; () has none.
    label_from: the part of the path that is the label; see `layout.Layout`. "auto" finds it out.
    include, exclude: patterns of the paths that are read and that are not; see `path_patterns.selects`. () and () read
      all.
    group_from: a regular expression that finds an image's group in its path; "" finds none.
    allow_outside: whether symbolic links and rows of a manifest may leave the folder.
    table: how a manifest is read.
    classes: the class of each label.
    unlabelled: what holds the images without a label: folders below the input, or (ROWS,) for the rows of a table whose
      label is empty; () has none.
    corrections: a table of labels that count in place of those of the input; "" has none.
    min_confidence: answers of a model in that table that are less sure are no labels.
    known_labels: labels that the table may have although no image of the input has them.
    read_as: how a folder is read, once `folders.find_layout` has found it out.
    metadata: the columns that travel along, once `kept_columns` has decided their types.
    """

    path: str
    layout: str = "auto"
    split_names: tuple[tuple[str, str], ...] = ()
    label_from: str = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    group_from: str = ""
    allow_outside: bool = False
    table: TableSpec = TableSpec()
    classes: Classes = NO_CLASSES
    split_lists: tuple[tuple[str, str], ...] = ()
    unlabelled: tuple[str, ...] = ()
    corrections: str = ""
    min_confidence: float = 0.0
    known_labels: tuple[str, ...] = ()
    label_lists: tuple[tuple[str, str], ...] = ()
    read_as: Layout | None = None
    metadata: tuple[MetadataColumn, ...] = ()


def is_manifest(path: str) -> bool:
    """Tells whether a path names a table, which may be compressed by gzip."""
    return path.lower().removesuffix(".gz").endswith(MANIFEST_SUFFIXES)


def remedy_for_file(path: str) -> str:
    """Returns what to do with a file that is no manifest, or "".

    Such files are spreadsheets, JSON, and arrays of images.
    """
    name = path.lower().removesuffix(".gz")
    said = next((said for endings, said in _OTHER_TABLES.items() if name.endswith(endings)), "")
    return said or array_files.remedy(path)


def reject(uri: str, reason: str, detail: str, label: str = "") -> Rejected:
    """Makes a reject of the listing stage."""
    return Rejected(utf8_text(uri), utf8_text(label), "", "", "list", reason, detail)
