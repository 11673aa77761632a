"""Adds up the values of the columns that travel along.

They are counted in a shard, and added up over all shards. The counts do not depend on the order of the shards. Of a
column with more than MOST_DIFFERENT values they are given up.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.contract.metadata import MOST_DIFFERENT, TEXT, MetadataColumn, Value

MOST_SHOWN = 20  # values of a text column that the report names


def counted(columns: Sequence[MetadataColumn], rows: Sequence[Sequence[Value]]) -> list[dict[str, Any]]:
    """Returns the counts of one shard for each column, as plain JSON values.

    Args:
      rows: the values of each image, without copies.
    """
    found = []
    for number, _ in enumerate(columns):
        values = collections.Counter(value for row in rows if (value := row[number]) is not None)
        ends = [min(values), max(values)] if values else []
        pairs = [list(pair) for pair in values.items()] if len(values) <= MOST_DIFFERENT else None
        found.append({"images": len(rows), "missing": len(rows) - values.total(), "ends": ends, "values": pairs})
    return found


class MetadataTotals:
    """Adds up the counts of shards for one column."""

    def __init__(self) -> None:
        self._images = self._missing = 0
        self._ends: list[Any] = []
        self._values: collections.Counter[Any] | None = collections.Counter()

    def add(self, counts: Mapping[str, Any]) -> None:
        """Adds what `counted` returned for the column."""
        self._images += counts["images"]
        self._missing += counts["missing"]
        if counts["ends"]:
            ends = [*self._ends, *counts["ends"]]
            self._ends = [min(ends), max(ends)]
        if self._values is None or counts["values"] is None:
            self._values = None
            return
        for value, count in counts["values"]:
            self._values[value] += count
        if len(self._values) > MOST_DIFFERENT:
            self._values = None

    def column(self, name: str, dtype: str) -> MetadataColumn:
        """Returns what the contract says of the column."""
        different = len(self._values) if self._values is not None and dtype == TEXT else None
        return MetadataColumn(name, dtype, self._missing, different)

    def described(self, name: str, dtype: str) -> dict[str, Any]:
        """Returns what the report says of the column.

        It has "name", "dtype", "images", "missing" and "different" (None: more than MOST_DIFFERENT). A text has
        "values", the most frequent [value, images]; numbers have "least", "median" and "greatest", as far as they are
        known.
        """
        values = self._values
        told: dict[str, Any] = {
            "name": name,
            "dtype": dtype,
            "images": self._images,
            "missing": self._missing,
            "different": None if values is None else len(values),
        }
        if dtype == TEXT:
            frequent = sorted((values or {}).items(), key=lambda item: (-item[1], item[0]))
            return {**told, "values": [list(pair) for pair in frequent[:MOST_SHOWN]]}
        least, greatest = self._ends or (None, None)
        return {**told, "least": least, "median": _median(values), "greatest": greatest}


def _median(values: Mapping[Any, int] | None) -> float | None:
    """Returns the lower median, or None if the values are not known."""
    if not values:
        return None
    half, running = (sum(values.values()) + 1) // 2, 0
    for value in sorted(values):
        running += values[value]
        if running >= half:
            break
    return float(value)
