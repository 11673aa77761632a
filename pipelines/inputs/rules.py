"""Defines the rules that every kind of input follows.

They concern what is listed, the names of splits, the kinds of manifest, and rejects.
"""

from __future__ import annotations

import dataclasses

from pipelines.core.summary import Rejected
from pipelines.core.text import utf8_text

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip
LAYOUTS = ("auto", "class", "split")
SPLIT_PATTERN = r"[A-Za-z][A-Za-z0-9_]*"  # TFDS's rule; a split's name becomes part of its shards' names
MANIFEST_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """States what is listed, and how.

    path: a folder, a manifest or a glob.
    layout: "class" (class/file) or "split" (split/class/file) below a folder; "auto" finds out which.
    allow_outside: whether symbolic links and rows of a manifest may leave the folder.
    """

    path: str
    layout: str = "auto"
    allow_outside: bool = False


def is_manifest(path: str) -> bool:
    return path.lower().endswith(MANIFEST_SUFFIXES)


def reject(uri: str, reason: str, detail: str, label: str = "") -> Rejected:
    """Makes a reject of the listing stage."""
    return Rejected(utf8_text(uri), utf8_text(label), "", "", "list", reason, detail)
