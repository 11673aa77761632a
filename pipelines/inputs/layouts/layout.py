"""Reads the paths below an input folder: which part is split, which label."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

from pipelines.inputs.layouts.split_names import SPLIT_NAMES

LABEL_RULES = ("auto", "top", "leaf", "parent", "path")


class Aside(NamedTuple):
    """Holds a folder of which no image is used, and why."""

    folder: str
    why: str


class Place(NamedTuple):
    """Says what a path states about its image.

    label: "" if the path has none; `why` is then the reason.
    aside: True if the image is left aside on purpose.
    """

    split: str
    label: str
    why: str = ""
    aside: bool = False


@dataclasses.dataclass(frozen=True)
class Layout:
    """States how paths are read.

      Attributes:
        splits: (folder, split) pairs; the paths below the folder are those of the split. One pair with the split ""
          means that the input states no splits.
        label_from: the part of the path below such a folder that is the label: "top" is its first folder, "leaf" the
          folder that holds the file, "parent" the folder above that one, "path" all folders, joined by slashes. Any
    XX      aside: folders that are not used.
    """

    splits: tuple[tuple[str, str], ...] = (("", ""),)
    label_from: str = "top"
    aside: tuple[Aside, ...] = ()

    def place(self, key: str) -> Place:
        """Reads the path of a file, relative to the input.

        Example:
          >>> Layout((("seg_train/seg_train", "train"),)).place("seg_train/seg_train/sea/1.jpg")
          Place(split='train', label='sea', why='', aside=False)
        """
        for folder, why in self.aside:
            if _is_below(key, folder):
                return Place("", "", why, aside=True)
        for folder, split in self.splits:
            if _is_below(key, folder):
                rest = key[len(folder) + 1 :] if folder else key
                if self.label_from not in LABEL_RULES:
                    split, label = _searched(self.label_from, rest, split)
                else:
                    label = self._label(rest.split("/")[:-1])
                return Place(split, label, "" if label else self._expected(folder))
        named = ", ".join(folder for folder, _ in self.splits)
        return Place("", "", f"It is outside of the folders that are read: {named}.")

    def _label(self, folders: Sequence[str]) -> str:
        if self.label_from == "leaf":
            return folders[-1] if folders else ""
        if self.label_from == "parent":
            return folders[-2] if len(folders) > 1 else ""
        if self.label_from == "path":
            return "/".join(folders)
        return folders[0] if folders else ""

    def _expected(self, folder: str) -> str:
        if self.label_from not in LABEL_RULES:
            return f"--label-from {self.label_from} finds nothing in the path."
        expected = "class/folder/file" if self.label_from == "parent" else "class/file"
        return f"Expected {expected} below {folder}." if folder else f"Expected {expected} below the input."


def check_label_from(text: str) -> str:
    """Returns the value of --label-from if it can be used.

    Raises:
      ValueError: it is neither a known word nor a regular expression with a group.
    """
    if text in LABEL_RULES:
        return text
    try:
        pattern = re.compile(text)
    except re.error as e:
        raise ValueError(f"should be a regular expression: {e}. Received: {text!r}.") from e
    unnamed = pattern.groups == 1 and not pattern.groupindex
    if not unnamed and ("label" not in pattern.groupindex or set(pattern.groupindex) - {"label", "split"}):
        raise ValueError(
            f"should be {', '.join(LABEL_RULES)}, or a regular expression over the path with one group for the label, "
            rf"such as '([a-z]+)\.\d+\.jpg' or '(?P<label>[^/]+)/(?P<split>[^/]+)/'. Received: {text!r}."
        )
    return text


def _is_below(key: str, folder: str) -> bool:
    return not folder or key.startswith(f"{folder}/")


def _searched(pattern: str, path: str, split: str) -> tuple[str, str]:
    """Returns the split and the label that a regular expression finds in a path.

    What it does not find is ""; the split is then the given one.
    """
    found = re.search(pattern, path)
    if found is None:
        return split, ""
    named = found.groupdict()
    if "split" in named:
        stated = named["split"] or ""
        split = SPLIT_NAMES.get(stated.lower(), stated)
    return split, (named["label"] if "label" in named else found[1]) or ""
