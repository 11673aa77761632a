"""Finds the splits that the paths of a table state by their folders.

`train/cat/1.jpg` is of train, and so is `train_00001.jpg`.
"""

from __future__ import annotations

import collections
import fnmatch
import re
import shlex
from collections.abc import Sequence

from pipelines.core.elements import TRAIN_SPLIT
from pipelines.core.errors import TableError
from pipelines.core.text import listed, plural
from pipelines.inputs.layouts.layout_question import escaped
from pipelines.inputs.layouts.split_names import split_of, splits_among

_WORD = re.compile(r"[A-Za-z]+")
NAMED = 6  # folders that an error names


class PathNames:
    """Holds the folders that paths lead through, and how names begin."""

    def __init__(self) -> None:
        self._rows = 0
        self._levels: dict[int, collections.Counter[str]] = {}
        self._beginnings: collections.Counter[str] = collections.Counter()

    def add(self, path: str) -> None:
        """Adds the path of a row, with slashes."""
        self._rows += 1
        *folders, name = path.split("/")
        for depth, folder in enumerate(folders):
            self._levels.setdefault(depth, collections.Counter())[folder] += 1
        if (word := _WORD.match(name)) and split_of(word[0]):
            self._beginnings[word[0]] += 1

    def refuse_splits(self, table: str) -> None:
        """Refuses paths that state splits.

        Most of them lead through folders at one depth that are named like train and another split, or their names begin
        so.

        Args:
          table: the path of the table, for the message.

        Raises:
          TableError: They do.
        """
        for names in (*(names for _, names in sorted(self._levels.items())), self._beginnings):
            found = splits_among(sorted(names))
            several = len(set(found.values())) > 1 and TRAIN_SPLIT in found.values()
            if several and 2 * sum(names[name] for name in found) > self._rows:
                star = "*" if names is self._beginnings else ""
                what = (
                    "have names that begin like splits" if star else "lead through folders that are named like splits"
                )
                said = listed((f"{name} ({plural(names[name], 'row')})" for name in found), NAMED)
                option = ",".join(f"{escaped(name)}{star}={split}" for name, split in found.items())
                raise TableError(
                    f"The paths of {table!r} {what}: {said}. No column states the splits. Take them from the paths: "
                    f"--split-names {shlex.quote(option)}. Or draw new splits of all rows: --split-column none."
                )


def of_path(path: str, names: Sequence[tuple[str, str]]) -> str | None:
    """Returns the split of the first folder that --split-names names in a path.

    None: the path leads through none of them.

    Example:
      >>> of_path("data/train/cat/1.jpg", [("train", "train"), ("data/val", "validation")])
      'train'

    Args:
      names: (folder, split) pairs; a folder is a name, a path at the beginning, or a pattern of names, which also
        matches the names of files.
    """
    parts = path.split("/")
    folders = parts[:-1]
    for folder, split in names:
        wanted = folder.strip("/")
        if wanted in folders or f"{'/'.join(folders)}/".startswith(f"{wanted}/"):
            return split
        if "*" in wanted and any(fnmatch.fnmatchcase(part, wanted) for part in parts):
            return split
    return None
