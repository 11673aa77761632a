"""Refuses inputs in object stores that are read from a disk only."""

from __future__ import annotations

import posixpath
import re
import shlex

from pipelines.core.errors import SourceError
from pipelines.inputs import containers
from pipelines.inputs.layouts.folder_tree import Folder
from pipelines.inputs.tables import record_files

_ENDINGS = (".zip", ".tar", ".parquet", ".tfrecord", ".tfrecords", ".tfrec", ".gz", ".tgz")  # of files of images
_WILDCARDS = re.compile(r"[*?]+|\{[^}]*\}|\[[^\]]*\]")


def refuse(path: str) -> None:
    """Refuses a remote path that names containers, or files that hold images.

    A single Parquet file may be a table of paths. It is looked at when it is read.

    Raises:
      SourceError: It is one. The message says what to do.
    """
    name = posixpath.basename(path.rstrip("/"))
    kind = record_files.kind(_WILDCARDS.sub("00000", name))
    is_pattern = bool(_WILDCARDS.search(name))
    if name.lower().endswith(containers.SUFFIXES) or containers.remedy(name):
        raise _error(path, "is a container", containers.remedy(name))
    if kind == record_files.TFRECORD or (kind == record_files.PARQUET and is_pattern):
        raise _error(path, f"names {kind} files, which hold the images themselves")


def refuse_folder(tree: Folder, path: str) -> None:
    """Refuses a remote folder that holds such files and no picture.

    Args:
      tree: The folders of the input. path: The input.

    Raises:
      SourceError: It does. The message says what to do.
    """
    records = 0
    for folder in tree.tree():
        if folder.names and all(map(record_files.kind, folder.names)):
            records += folder.images
    packed = sum(tree.others[ending] for ending in _ENDINGS)
    if records + packed and tree.total == records:
        raise _error(path, "holds no pictures but containers, or files that hold the images themselves", is_folder=True)


def error_for_parquet(path: str) -> SourceError:
    """Returns the error that says that a remote Parquet file holds images."""
    return _error(path, "holds the images themselves")


def _error(path: str, what: str, remedy: str = "", is_folder: bool = False) -> SourceError:
    pattern = _WILDCARDS.search(path)
    place = shlex.quote(path[: pattern.start()].rpartition("/")[0] if pattern else path.rstrip("/"))
    copy, recursive = ("gcloud storage cp", "-r ") if path.startswith("gs://") else ("aws s3 cp", "--recursive ")
    if not pattern and not is_folder:
        recursive = ""
    said = (
        f"{path!r} {what}. Such files are read from a disk only, because each image is read where it lies in them. "
        f"Copy them here, for example with `{copy} {recursive}{place} .`, and give the copy as --input. {remedy}"
    )
    return SourceError(said.rstrip())
