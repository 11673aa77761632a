"""Proposes a pattern that finds the label in file names, where the names show one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.inputs.layouts.split_names import split_of

_AT_THE_END = r"\d[._ -]+([^/\d\W_][^/._-]*)\.\w+$"  # 0012_cat.jpg
# From the usual to the rare; each label begins with a letter, so that a number alone is none.
_PATTERNS = (
    r"([^/\d\W_][^/]*?)[ ._()-]*\d+[ )]*\.\w+$",  # cat.12.jpg, great_pyrenees_7.jpg, n01443537_1.JPEG
    r"([^/\d\W_][^/._-]*)[._-][^/]*$",  # cat_day_a.jpg
    _AT_THE_END,
)
LEAST_NAMES = 6
IMAGES_PER_LABEL = 2.0


def propose(names: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """Returns a pattern for --label-from and the labels that it finds, or None.

    It finds a label in each name, and there are at least two labels, with IMAGES_PER_LABEL names each on average. A
    label stands at the beginning of a name, or behind a number at its end. Names of splits are no labels.

    Example:
      >>> propose([f"{label}.{i}.jpg" for label in ("cat", "dog") for i in range(9)])[1]
      ('cat', 'dog')
    """
    if len(names) < LEAST_NAMES:
        return None
    for pattern in _PATTERNS:
        found = [re.search(pattern, name) for name in names]
        labels = [match[1] for match in found if match is not None]
        different = tuple(sorted(set(labels)))
        begins = all(match is not None and (match.start() == 0 or pattern == _AT_THE_END) for match in found)
        if not begins or len(labels) < len(names) or all(map(split_of, different)):
            continue
        if len(different) > 1 and len(labels) >= IMAGES_PER_LABEL * len(different):
            return pattern, different
    return None
