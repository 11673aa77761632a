"""Matches paths with the patterns of a glob, --include and --exclude."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def expanded(pattern: str) -> list[str]:
    """Returns the paths that a pattern with {first..last} names, as a shell would.

    Example:
      >>> expanded("a-{08..10}.tar")
      ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    found = _RANGE.search(pattern)
    if found is None:
        return [pattern]
    first, last = found.groups()
    names = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    return [path for name in names for path in expanded(pattern[: found.start()] + name + pattern[found.end() :])]


def base(pattern: str) -> str:
    """Returns the folder above the first name that contains *, ? or [.

    Example:
      >>> base("photos/*/a.csv")
      'photos'
    """
    return pattern[: min(pattern.index(c) for c in "*?[" if c in pattern)].rpartition("/")[0]


def matches(pattern: Sequence[str], names: Sequence[str], folder: bool = False) -> bool:
    """Tells whether the names of a path match the names of a pattern.

    *, ? and [...] match within a name, and ** matches any folders.

    Args:
      folder: True asks whether something below the folder of this path may match.
    """
    if not names:
        return bool(pattern) if folder else all(p == "**" for p in pattern)
    if not pattern:
        return False
    if pattern[0] == "**":
        return matches(pattern[1:], names, folder) or matches(pattern, names[1:], folder)
    return fnmatch.fnmatchcase(names[0], pattern[0]) and matches(pattern[1:], names[1:], folder)


def selects(patterns: Sequence[str], names: Sequence[str]) -> bool:
    """Tells whether one of the patterns selects a path or a folder that contains it.

    A pattern without a slash selects a file or folder of this name at any depth. A pattern with a slash begins at the
    input.

    Example:
      >>> selects(("*.txt", "train/old"), ("train", "old", "cat", "1.jpg"))
      True
    """
    for pattern in patterns:
        parts = pattern.strip("/").split("/")
        for end in range(1, len(names) + 1):
            if "/" in pattern.rstrip("/"):
                if matches(parts, names[:end]):
                    return True
            elif fnmatch.fnmatchcase(names[end - 1], parts[0]):
                return True
    return False
