"""Defines the rules that every kind of input follows.

They concern what is listed, the kinds of manifest, and rejects.
"""

from __future__ import annotations

import dataclasses

from pipelines.core.summary import Rejected
from pipelines.core.text import utf8_text
from pipelines.inputs.layout import Layout

LAYOUTS = ("auto", "class", "split")
MANIFEST_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """States what is listed, and how.

    path: a folder, a manifest or a glob.
    layout: "class" (class/file) or "split" (split/class/file) below a folder; "auto" finds out which.
    split_names: (folder, split) pairs that name the folders of the splits; () finds them out.
    label_from: the part of the path that is the label; see `layout.Layout`. "auto" finds it out.
    include, exclude: patterns of the paths that are read and that are not; see `path_patterns.selects`. () and () read
      all.
    group_from: a regular expression that finds an image's group in its path; "" finds none.
    allow_outside: whether symbolic links and rows of a manifest may leave the folder.
    read_as: how a folder is read, once `folders.find_layout` has found it out.
    """

    path: str
    layout: str = "auto"
    split_names: tuple[tuple[str, str], ...] = ()
    label_from: str = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    group_from: str = ""
    allow_outside: bool = False
    read_as: Layout | None = None


def is_manifest(path: str) -> bool:
    return path.lower().endswith(MANIFEST_SUFFIXES)


def reject(uri: str, reason: str, detail: str, label: str = "") -> Rejected:
    """Makes a reject of the listing stage."""
    return Rejected(utf8_text(uri), utf8_text(label), "", "", "list", reason, detail)
