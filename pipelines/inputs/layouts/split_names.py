"""Recognizes the names that people give to folders of splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
SPLIT_PATTERN = r"[A-Za-z][A-Za-z0-9_]*"  # TFDS's rule; a split's name becomes part of its shards' names
# Words beside a split's word that say nothing of the content: training_set, train_images.
_FILLERS = frozenset({"set", "sets", "data", "dataset", "images", "image", "imgs", "img", "photos", "split", "folder"})


def split_of(name: str) -> str:
    """Returns the split that a name means, such as "validation" for Val, or ""."""
    return SPLIT_NAMES.get(name.lower(), "")


def split_in(path: str) -> str:
    """Returns the split that the innermost folder of such a name means, or "".

    Example:
      >>> split_in("data/val2017/images")
      'validation'
    """
    for name in reversed(path.split("/")):
        worded = _worded(name)
        if found := split_of(name) or (worded[0] if worded else ""):
            return found
    return ""


def splits_among(names: Iterable[str]) -> dict[str, str]:
    """Returns folder -> split for the names that are those of splits.

    Beside the exact names, names with other words count, such as seg_train or training_set: but only where folders of
    several splits, train among them, have the same other words.

    Example:
      >>> splits_among(["seg_train", "seg_test", "bullet_train"])
      {'seg_train': 'train', 'seg_test': 'test'}
    """
    exact: dict[str, str] = {}
    by_rest: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        if split_of(name):
            exact[name] = split_of(name)
        found = _worded(name)
        if found is not None:
            split, rest = found
            by_rest.setdefault(rest, {})[name] = split
    for group in by_rest.values():
        if "train" in group.values() and len(set(group.values())) > 1:
            exact |= group
    return exact


def splits_of_files(files: Mapping[str, str]) -> dict[str, str]:
    """Returns the split of each file, or {} if the names do not tell it.

    The folders or the names of all files have to tell it.

    A name tells it before its number: train-000012.tar, pets-train.tfrecord-00000-of-00010, or train/000012.tar.

    Args:
      files: any name of a file -> its path below the input.
    """
    folders = {file: below.rpartition("/")[0].rpartition("/")[2] for file, below in files.items()}
    stems = {file: _stem(below.rpartition("/")[2]) for file, below in files.items()}
    for names in (folders, stems):
        told = splits_among(sorted(set(names.values())))
        if len(set(told.values())) > 1 and all(name in told for name in names.values()):
            return {file: told[name] for file, name in names.items()}
    return {}


def _stem(name: str) -> str:
    name = re.sub(r"-\d+-of-\d+(?=\.|$)", "", name)
    return re.sub(r"[-_.]?\d*(\.(tar|tfrecords?|tfrec|parquet))?$", "", name, count=1, flags=re.IGNORECASE)


def _worded(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Returns the split that one word of a name means, and the other words.

    Digits and fillers are left out. None: no word or several words mean a split.
    """
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]
    words = [part for word in words for part in _parts(word)]
    splits = [word for word in words if word in SPLIT_NAMES]
    rest = tuple(word for word in words if word not in splits and word not in _FILLERS)
    if splits == ["train", "val"]:  # what iNaturalist and VOC call train_val or trainval is for both
        return SPLIT_NAMES["train"], rest
    return (SPLIT_NAMES[splits[0]], rest) if len(splits) == 1 else None


def _parts(word: str) -> tuple[str, ...]:
    """Takes words such as trainset, trainval and testdata apart."""
    if word == "trainval":
        return "train", "val"
    for filler in ("dataset", "images", "data", "set"):
        if word.endswith(filler) and word.removesuffix(filler) in SPLIT_NAMES:
            return word.removesuffix(filler), filler
    return (word,)
