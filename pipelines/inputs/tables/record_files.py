"""Finds TFRecord and Parquet files that hold the images themselves.

A dataset is one such file, a folder of them or a pattern. `tfrecord_table` and `parquet_table` read its records as the
rows of a table.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence

from pipelines import storage
from pipelines.core.errors import SourceError
from pipelines.inputs import path_patterns, shard_files
from pipelines.inputs.layouts import other_files, split_names
from pipelines.inputs.rules import IMAGE_SUFFIXES, is_manifest
from pipelines.inputs.tables.formats import parquet_table, tfrecord_table
from pipelines.inputs.tables.formats.table_file import Table

TFRECORD, PARQUET = "TFRecord", "Parquet"
# The names that TensorFlow's programs, TFDS and Kaggle give: a.tfrecord, a.tfrec, a.tfrecord-00000-of-00010; and
# train-00000-of-01024, as the scripts for ImageNet have it.
_TFRECORD_NAME = re.compile(r".+\.(tfrecords?|tfrec)(-\d+-of-\d+)?(\.gz)?|[^.]+-\d{5}-of-\d{5}", re.IGNORECASE)

_WORDS = ("tfrec", "-of-", ".parquet")  # one of them is in each pattern of such names; others need not be expanded

_OTHER_INPUTS = (*IMAGE_SUFFIXES, ".heic", ".heif", ".jp2", ".ppm", ".pgm", ".zip", ".tar")


def kind(name: str) -> str:
    """Returns TFRECORD or PARQUET if a file's name is that of such a file, else ""."""
    base = os.path.basename(name)
    if base.lower().endswith(".parquet"):
        return PARQUET
    return TFRECORD if _TFRECORD_NAME.fullmatch(base) else ""


def is_table(path: str) -> bool:
    """Tells whether an input is a manifest or files that hold images."""
    return is_manifest(path) or bool(find(path))


def find(path: str, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[str]:
    """Returns the files of an input that hold images themselves, by path.

    It returns [] if it is another input.

    Args:
      path: A local file, a folder that has such files and no picture, or a pattern such as train-{000..009}.tfrecord.
      include, exclude: Patterns of the files that are read and that are not; see `path_patterns.selects`.
    """
    if storage.is_remote(path):
        return []
    if os.path.isdir(path):
        found = _in_folder(path)
    elif os.path.isfile(path):
        found = [path] if kind(path) else []
    elif any(word in path.lower() for word in _WORDS) and any(character in path for character in "*?[{"):
        expanded = path_patterns.expanded(path)
        found = sorted({name for one in expanded for name in (glob.glob(one) if expanded == [path] else [one])})
    else:
        return []
    kinds = {kind(name) for name in found}
    if len(kinds) != 1 or "" in kinds:
        return []
    if kinds == {PARQUET} and not parquet_table.has_images(found[0]):
        return []
    parts = {name: _below(name, path).split("/") for name in found}
    return [
        name
        for name in found
        if not (include and not path_patterns.selects(include, parts[name]))
        and not (exclude and path_patterns.selects(exclude, parts[name]))
    ]


def table(path: str, files: Sequence[str]) -> Table:
    """Opens the files of an input as one table, of which the images are a column.

    A column "split" is added where all names of the files tell a split.

    Args:
      path: The input.
      files: What `find` found.

    Raises:
      SourceError: A file cannot be read. Reading the rows raises it, too.
    """
    if absent := next((name for name in files if not os.path.isfile(name)), ""):
        raise SourceError(f"There is no file {absent!r} to read.")
    named = {name: _below(name, path) for name in files}
    splits = split_names.splits_of_files(named)
    opened = tfrecord_table.table if kind(files[0]) == TFRECORD else parquet_table.table
    return opened(named, splits)


def _in_folder(path: str) -> list[str]:
    """Returns the files directly in a folder, or else all below it.

    Below a prepared dataset lies what is no data, such as its transform graph.
    """

    def is_other(name: str) -> bool:
        if name.lower().endswith(_OTHER_INPUTS):
            return True
        # A name without an ending may be that of a picture: such a folder is not searched to its end.
        return not (os.path.splitext(name)[1] or name.startswith(".") or other_files.holds_no_picture(name))

    return shard_files.below(path, lambda name: bool(kind(name)), is_other, flat=True)


def _below(name: str, path: str) -> str:
    """Returns the path of a file below the input folder, or its name."""
    return os.path.relpath(name, path) if os.path.isdir(path) else os.path.basename(name)
