"""Declares the options of tables and of what their images are labelled with."""

from __future__ import annotations

import dataclasses
import os

from pipelines.config.input_options import READING, check_place
from pipelines.contract.task import CLASSES, MULTI_LABEL, REGRESSION
from pipelines.core.errors import ConfigError
from pipelines.inputs import remote_files, webdataset
from pipelines.inputs.rules import TableSpec
from pipelines.inputs.tables import composed_paths, record_files
from pipelines.inputs.tables.formats.delimited_text import DELIMITERS
from pipelines.options import config_fields, option_syntax
from pipelines.options.config_fields import Syntax, option
from pipelines.storage import remote

LABELS = ("one", "multi")
TASK_OPTIONS = ("labels", "label_separator", "label_columns", "target")
_RENAMED = {
    "encoding": "table_encoding",
    "targets": "target",
}  # fields of TableSpec that are called otherwise as options
_OF_LABELS = ("single_label", "labels", "label_separator", "label_columns", "targets")


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """Holds the options of tables."""

    path_column: str = option(
        "", "the column of a table that has the paths of the images, by its heading or by its number from 1; "
        "of TFRecord and Parquet files, the feature or column that holds the images themselves",
        metavar="COLUMN", unset="found out", group=READING,
    )  # fmt: skip
    path_from: str = option(
        "",
        "make the paths of a table of several columns, named in braces by their headings or numbers, such as "
        "'{classname}/{img}'; {img.stem} is a cell without the ending of a file, as in '{img.stem}_aligned.jpg'",
        syntax=Syntax(composed_paths.check_template, str, "TEMPLATE"), unset="one column has the paths", group=READING,
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
    join: tuple[str, ...] = option(
        (),
        "tables whose columns are read as further columns of the table; the first column of each has ids, such as "
        "names of images, and the table has a column of the same heading with the same ids; the files are relative to "
        "the current folder, or else to the folder of the table",
        syntax=option_syntax.NAMES, metavar="FILE,…", unset="one table", group=READING,
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
        (),
        "the columns of a table that have 1 or 0, by their headings or numbers: with --labels multi one for each "
        "label, and these are found out if not given; else one for each class, and each row has 1 in one of them",
        syntax=option_syntax.NAMES, metavar="COLUMN,…", unset="one column has the labels", group=READING,
    )  # fmt: skip
    target: tuple[str, ...] = option(
        (),
        "the columns of a table that have the numbers of an image, by their headings or numbers, such as age or x,y; "
        "a model of the dataset answers these numbers in place of a class",
        syntax=option_syntax.NAMES, metavar="COLUMN,…", unset="images have classes", group=READING,
    )  # fmt: skip
    keep: tuple[str, ...] = option(
        (),
        "the columns of a table that travel along with the images into records, loader and predictions, by their "
        "headings or numbers, such as age,site; evaluation then also shows the scores of parts of the data by them",
        syntax=option_syntax.NAMES, metavar="COLUMN,…", unset="none", group=READING,
    )  # fmt: skip

    @property
    def task(self) -> str:
        """Returns the name of the kind of task."""
        return self.table_spec.task

    @property
    def table_spec(self) -> TableSpec:
        """Returns how a table is read."""
        values = {field.name: getattr(self, _option(field.name)) for field in dataclasses.fields(TableSpec)}
        if self.image_root and not remote.is_remote(self.image_root):  # workers may run in another folder
            values["image_root"] = os.path.abspath(self.image_root)
        return TableSpec(**values)


def _option(name: str) -> str:
    """Returns the option that a field of TableSpec is made of."""
    return _RENAMED.get(name, name)


def check(config: TableOptions, place: str) -> None:
    """Raises ConfigError if a value is not allowed, or the input is no table.

    Args:
      config: the options.
      place: the input.

    Raises:
      ConfigError: as said. The message names the option.
    """
    _check_columns(config, place)
    _check_labels(config)


def _check_columns(config: TableOptions, place: str) -> None:
    given = [
        field.name for field in dataclasses.fields(TableSpec) if getattr(config, _option(field.name)) != field.default
    ]
    if given == ["label_column"] and webdataset.shards(place):
        return  # the key of the label in the .json of each sample
    of_text = [name for name in given if not name.endswith("_column") and name not in (*_OF_LABELS, "keep")]
    if of_text and record_files.find(place):
        name = config_fields.flag(_option(of_text[0]))
        raise ConfigError(f"{name} is about tables of paths. {place!r} holds the images itself. Leave it out.")
    if given and not record_files.is_table(place):
        if "keep" in given:
            raise ConfigError(
                f"--keep names columns of a table, and --input {place!r} is none. Write a table with the columns path, "
                "label and those to keep, and give it as --input."
            )
        if remote.is_remote(place):
            remote_files.refuse(place)
        name = config_fields.flag(_option(given[0]))
        raise ConfigError(f"{name} is about tables, and --input {place!r} is none. Leave it out.")
    if config.path_from:
        _check_path_from(config)
    for role in ("path", "label"):
        if getattr(config, f"{role}_column") == "none":
            raise ConfigError(f"--{role}-column should name a column, because each image needs a {role}.")
    if config.table_encoding:
        try:
            "".encode(config.table_encoding)
        except LookupError as e:
            raise ConfigError(
                f"--table-encoding should be an encoding that Python knows. Received: {config.table_encoding!r}."
            ) from e
    if "/" in config.suffix:
        raise ConfigError(f"--suffix should be an ending, such as .jpg. Received: {config.suffix!r}.")
    if config.image_root:
        check_place("--image-root", config.image_root)


def _check_path_from(config: TableOptions) -> None:
    if config.path_column:
        raise ConfigError("--path-from makes the paths of columns, and --path-column names one. Leave one of them out.")
    try:
        composed_paths.check_template(config.path_from)
    except ValueError as e:
        raise ConfigError(f"--path-from {e}") from e


def _check_labels(config: TableOptions) -> None:
    """Refuses options about labels that make no sense with the task."""
    if config.target and config.labels != "one":
        raise ConfigError("--target is for numbers, and --labels multi for labels. Leave one of them out.")
    if config.label_separator and config.task != MULTI_LABEL:
        raise ConfigError("--label-separator is for several labels an image: add --labels multi.")
    if config.label_columns and config.target:
        raise ConfigError("--label-columns is for labels, and --target for numbers. Leave one of them out.")
    if config.label_columns and (config.label_column or config.label_separator):
        other = "--label-column" if config.label_column else "--label-separator"
        raise ConfigError(f"{other} is for labels in one column, and --label-columns for several. Leave one out.")
    if config.task != CLASSES and config.single_label:
        given = "--labels multi" if config.task == MULTI_LABEL else "--target"
        raise ConfigError(f"--single-label takes each label as one class. Leave it out, or {given}.")
    if config.task == REGRESSION and config.label_column:
        raise ConfigError("--label-column names classes, and --target numbers. Leave one of them out.")
