"""Names that differ in case or in Unicode form only: told apart by some systems, and seldom meant by people."""

from __future__ import annotations

import collections
import functools
import os
import unicodedata
from collections.abc import Iterable


def folded(name: str) -> str:
    """Equal for names that differ in case or in Unicode form only (é as one character or as two)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def variants(names: Iterable[str]) -> list[list[str]]:
    """The names that differ from one another so only, group by group, sorted."""
    alike: dict[str, list[str]] = collections.defaultdict(list)
    for name in names:
        alike[folded(name)].append(name)
    return sorted(sorted(group) for group in alike.values() if len(group) > 1)


def nearby(path: str) -> str:
    """The local file that a path without one may mean: it differs so only. "" if there is none."""
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


@functools.lru_cache(maxsize=8)  # a manifest of the wrong case asks for one folder again and again
def _names(folder: str) -> dict[str, str]:
    try:
        return {folded(name): name for name in sorted(os.listdir(folder), reverse=True)}
    except OSError:
        return {}
