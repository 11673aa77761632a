"""Defines the rules that every kind of input follows.

They concern the names of splits, the kinds of manifest, and rejects.
"""

from __future__ import annotations

from pipelines.core.summary import Rejected
from pipelines.core.text import utf8_text

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip
SPLIT_PATTERN = r"[A-Za-z][A-Za-z0-9_]*"  # TFDS's rule; a split's name becomes part of its shards' names
MANIFEST_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")


def is_manifest(path: str) -> bool:
    return path.lower().endswith(MANIFEST_SUFFIXES)


def reject(uri: str, reason: str, detail: str, label: str = "") -> Rejected:
    """Makes a reject of the listing stage."""
    return Rejected(utf8_text(uri), utf8_text(label), "", "", "list", reason, detail)
