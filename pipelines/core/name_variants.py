"""Finds names that differ only in case or in Unicode form.

Some file systems distinguish such names; people seldom mean different things by them.
"""

from __future__ import annotations

import collections
import functools
import os
import unicodedata
from collections.abc import Iterable


def folded(name: str) -> str:
    """Returns a key that is equal for all variants of a name.

    Variants differ only in case or in Unicode form (é as one character or as two).
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def variants(names: Iterable[str]) -> list[list[str]]:
    """Returns the groups of names that are variants of one another.

    Names that differ only in blanks are variants, too: "red  apple" and "red apple". The groups are sorted, and so are
    the names of each group. A name without a variant is in no group.
    """
    alike: dict[str, list[str]] = collections.defaultdict(list)
    for name in names:
        alike[folded(" ".join(name.split()))].append(name)
    return sorted(sorted(group) for group in alike.values() if len(group) > 1)


def nearby(path: str) -> str:
    """Returns the existing local file that a path without a file may mean.

    The two paths differ only in case or in Unicode form. The result is "" if there is no such file.
    """
    found, missing = path, []
    while not os.path.isdir(found or "."):
        found, name = os.path.split(found)
        missing.append(name)
        if not name:
            return ""
    for name in reversed(missing):
        actual = _names(found or ".").get(folded(name))
        if actual is None:
            return ""
        found = os.path.join(found, actual)
    return found if os.path.isfile(found) else ""


@functools.lru_cache(maxsize=8)  # a manifest in the wrong case looks up the same folder many times
def _names(folder: str) -> dict[str, str]:
    try:
        return {folded(name): name for name in sorted(os.listdir(folder), reverse=True)}
    except OSError:
        return {}
