"""Proposes a pattern that finds the label in file names, where the names show one."""

from __future__ import annotations

import re
from collections.abc import Sequence

# From the usual to the rare; each begins with a letter, so that a number alone is no label.
_PATTERNS = (
    r"([^/\d\W_][^/]*?)[ ._()-]*\d+[ )]*\.\w+$",  # cat.12.jpg, great_pyrenees_7.jpg, n01443537_1.JPEG
    r"([^/\d\W_][^/._-]*)[._-][^/]*$",  # cat_day_a.jpg
    r"\d[._ -]+([^/\d\W_][^/._-]*)\.\w+$",  # 0012_cat.jpg
)
LEAST_NAMES = 6
IMAGES_PER_LABEL = 2.0


def propose(names: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """Returns a pattern for --label-from and the labels that it finds, or None.

    It finds a label in each name, and there are at least two labels, with IMAGES_PER_LABEL names each on average.

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
        if len(labels) == len(names) and len(different) > 1 and len(labels) >= IMAGES_PER_LABEL * len(different):
            return pattern, different
    return None
