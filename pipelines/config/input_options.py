"""Declares the options of the input and the output."""

from __future__ import annotations

import dataclasses
import os
import re

from pipelines.core import errors
from pipelines.core.errors import ConfigError
from pipelines.inputs import classes_file, listing, webdataset
from pipelines.inputs.classes_file import Classes
from pipelines.inputs.layouts import layout
from pipelines.inputs.layouts.split_names import SPLIT_PATTERN
from pipelines.inputs.rules import ROWS
from pipelines.inputs.tables import record_files
from pipelines.options import option_syntax
from pipelines.options.config_fields import Range, Syntax, option
from pipelines.storage import remote

FILES = "input and output"
READING = "how the input is read"  # the group of the options that `look` has, too
_CLASS_FILE = Syntax(classes_file.read, lambda classes: classes.path, "FILE")
_LABEL_FROM = Syntax(layout.check_label_from, str, "RULE")


@dataclasses.dataclass(frozen=True)
class InputOptions:
    """Holds the options of where input and output are, and of how folders are read."""

    input: str = option(
        dataclasses.MISSING,
        "the images: a folder of class folders or of split/class folders, a zip or tar of such a folder, a table (CSV, "
        "TSV, JSONL or Parquet) with the columns path, label and optionally split, group, weight, or a glob; local, "
        "gs:// or s3:// (a zip or tar local only)",
        metavar="PATH", group=FILES, decides=False,
    )  # fmt: skip
    output: str = option(
        dataclasses.MISSING, "the folder of the dataset to make; local, gs:// or s3://",
        metavar="DIR", group=FILES, decides=False,
    )  # fmt: skip
    name: str = option(
        "", "the first part of the shards' file names, NAME-train.tfrecord-…",
        unset="made from the name of the output folder", group=FILES,
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
        "to the input or the folder of a table",
        syntax=option_syntax.NAMED, metavar="SPLIT=FILE,…", unset="no lists", group=READING,
    )  # fmt: skip
    label_lists: tuple[tuple[str, str], ...] = option(
        (),
        "tables of the labels of images that are in no class folders, such as val=val/val_annotations.txt: the folder "
        "below the input, and a file with the name of an image and its label in each line; the folder's name tells the "
        "split; a file is relative to the current folder, or else to the input",
        syntax=option_syntax.NAMED, metavar="FOLDER=FILE,…", unset="no lists", group=READING,
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
    classes: Classes = option(  # noqa: RUF009 (it makes a field, as for the others)
        Classes,
        "a file that fixes the ids of the classes: one label a line, whose id is the number of the line from 0; or a "
        ".csv with the columns label and class, which also renames labels, merges them (several labels of one class) "
        "and leaves them out (an empty class); the label * stands for all others",
        syntax=_CLASS_FILE, unset="each label is a class, and ids are in the order of the names", group=READING,
    )  # fmt: skip
    unlabelled: tuple[str, ...] = option(
        (),
        "where the images without a label are: the rows of a table whose label is empty (rows), or folders below the "
        "input, by their path; they become a split of their own, unlabelled, that predict answers and nothing is "
        "trained on",
        syntax=option_syntax.NAMES, metavar="rows|FOLDER,…", unset="none: a row without a label is rejected",
        group=READING,
    )  # fmt: skip
    corrections: str = option(
        "",
        "a table of labels that count in place of those of the input, with the columns path (or key) and label, as "
        "predict --table and label-check write it; images without a label in the input get theirs from it",
        metavar="FILE", unset="none", group=READING,
    )  # fmt: skip
    min_confidence: float = option(
        0.0,
        "leave an answer of a model in the table of --corrections out if it is less sure than this, and nobody changed "
        "it",
        metavar="P", limits=Range(0, 1), group=READING,
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

    @property
    def dataset_name(self) -> str:
        """Returns NAME of the shards' names: a letter, then letters, digits and _.

        It is the name that was given, or is made from the name of the output folder.
        """
        if self.name:
            return self.name
        made = re.sub(r"[^A-Za-z0-9]+", "_", os.path.basename(self.output.rstrip("/"))).strip("_")
        return made if made[:1].isalpha() else f"dataset_{made}".rstrip("_")


def check_place(name: str, path: str) -> None:
    """Raises ConfigError if a path is the address of a store that cannot be used.

    Args:
      name: the option, for the message.
      path: a local path or an address.

    Raises:
      ConfigError: the address is malformed, or its library is missing.

    Example:
      >>> check_place("--input", "photos")
    """
    if remote.is_remote(path):
        try:
            remote.check(path)
        except errors.StoreError as e:
            raise ConfigError(f"{name} {e}") from e


def check(config: InputOptions) -> None:
    """Raises ConfigError if a value about the layout of the input is not allowed."""
    for name, path in (("--input", config.input), ("--output", config.output)):
        check_place(name, path)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", config.dataset_name):
        raise ConfigError(f"--name should be a letter, then letters, digits and _. Received: {config.dataset_name!r}")
    try:
        layout.check_label_from(config.label_from)
    except ValueError as e:
        raise ConfigError(f"--label-from {e}") from e
    try:
        groups = re.compile(config.group_from)
    except re.error as e:
        raise ConfigError(f"--group-from should be a regular expression: {e}. Received: {config.group_from!r}") from e
    if groups.groups > 1 and "group" not in groups.groupindex:
        raise ConfigError(
            "--group-from should have one group in parentheses, or one that is named (?P<group>…). Received: "
            f"{config.group_from!r}."
        )
    for folder, split in config.split_names:
        if not re.fullmatch(SPLIT_PATTERN, split):
            raise ConfigError(
                f"--split-names: a split's name should be letters, digits and _. Received {split!r} for {folder!r}."
            )
    for split, _ in config.split_lists:
        if not re.fullmatch(SPLIT_PATTERN, split):
            raise ConfigError(f"--split-lists: a split's name should be letters, digits and _. Received: {split!r}.")
    if config.label_lists and (
        record_files.is_table(config.input) or listing.is_glob(config.input) or webdataset.shards(config.input)
    ):
        raise ConfigError(
            f"--label-lists names folders below a folder or a container, and --input {config.input!r} is none. A table "
            "that has the labels itself is read with --input."
        )
    _check_unlabelled(config)
    if config.split_names and config.layout != "auto":
        raise ConfigError(f"--split-names already says what the folders are. Leave out --layout {config.layout}.")


def _check_unlabelled(config: InputOptions) -> None:
    """Raises ConfigError if --unlabelled or --corrections does not fit the input."""
    is_table = record_files.is_table(config.input)
    if config.unlabelled and is_table != (config.unlabelled == (ROWS,)):
        raise ConfigError(
            f"--unlabelled should be {ROWS} for a table, which takes the rows without a label. Received: "
            f"{','.join(config.unlabelled)}."
            if is_table
            else f"--unlabelled {ROWS} is about tables, and --input {config.input!r} is none. Name the folder of the "
            "images without a label."
        )
    if config.unlabelled and not is_table and (listing.is_glob(config.input) or webdataset.shards(config.input)):
        raise ConfigError(
            "--unlabelled names folders below the input, and a glob or shards have none. Give the folder or a table "
            "as --input."
        )
    if config.corrections:
        check_place("--corrections", config.corrections)
    elif config.min_confidence:
        raise ConfigError(
            "--min-confidence is about the answers in the table of --corrections. Add that, or leave it out."
        )
