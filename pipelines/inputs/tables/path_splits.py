"""Finds the splits that the paths of a table state by their folders.

`train/cat/1.jpg` is of train.
"""

from __future__ import annotations

import collections
import shlex
from collections.abc import Sequence

from pipelines.core.elements import TRAIN_SPLIT
from pipelines.core.errors import TableError
from pipelines.core.text import listed, plural
from pipelines.inputs.layouts.layout_question import escaped
from pipelines.inputs.layouts.split_names import splits_among

NAMED = 6  # folders that an error names


class Folders:
    """Holds the folders that paths lead through, and how often."""

    def __init__(self) -> None:
        self._rows = 0
        self._levels: dict[int, collections.Counter[str]] = {}

    def add(self, path: str) -> None:
        """Adds the path of a row, with slashes."""
        self._rows += 1
        for depth, name in enumerate(path.split("/")[:-1]):
            self._levels.setdefault(depth, collections.Counter())[name] += 1

    def refuse_splits(self, table: str) -> None:
        """Refuses paths that lead through folders of splits.

        Most of them lead through folders at one depth that are named like train and another split.

        Args:
          table: the path of the table, for the message.

        Raises:
          TableError: They do.
        """
        for _, names in sorted(self._levels.items()):
            found = splits_among(sorted(names))
            several = len(set(found.values())) > 1 and TRAIN_SPLIT in found.values()
            if several and 2 * sum(names[name] for name in found) > self._rows:
                said = listed((f"{name} ({plural(names[name], 'row')})" for name in found), NAMED)
                option = ",".join(f"{escaped(name)}={split}" for name, split in found.items())
                raise TableError(
                    f"The paths of {table!r} lead through folders that are named like splits: {said}. No column states "
                    f"the splits. Take them from the paths: --split-names {shlex.quote(option)}. Or draw new splits of "
                    "all rows: --split-column none."
                )


def of_path(path: str, names: Sequence[tuple[str, str]]) -> str | None:
    """Returns the split of the first folder in a path that --split-names names.

    None: the path leads through none of them.

    Example:
      >>> of_path("data/train/cat/1.jpg", [("train", "train"), ("data/val", "validation")])
      'train'

    Args:
      names: (folder, split) pairs; a folder is a name, or a path at the beginning.
    """
    folders = path.split("/")[:-1]
    for folder, split in names:
        wanted = folder.strip("/")
        if wanted in folders or f"{'/'.join(folders)}/".startswith(f"{wanted}/"):
            return split
    return None
