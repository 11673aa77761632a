"""States which columns of a table travel along with the images of a dataset.

`prepare --keep` names them. A record has one value of each, in a feature of its own: `metadata/` and the name of the
column. The type is that of the whole column, and every record has the feature, so that all readers parse it alike. What
the table leaves empty is stored as the value of `MISSING` that belongs to the type.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.contract.json_fields import FieldError, Fields

INTEGER, FLOAT, TEXT = "int64", "float32", "string"
DTYPES = (INTEGER, FLOAT, TEXT)
LEAST_INTEGER, GREATEST_INTEGER = -(1 << 63) + 1, (1 << 63) - 1
MISSING_INTEGER = -(1 << 63)  # no table has it: an integer is at least LEAST_INTEGER
MISSING: Mapping[str, int | float | str] = {INTEGER: MISSING_INTEGER, FLOAT: math.nan, TEXT: ""}
MOST_DIFFERENT = 10_000  # different texts of a column that are counted
PREFIX = "metadata/"
_LISTS = {TEXT: 1, FLOAT: 2, INTEGER: 3}  # the numbers of bytes_list, float_list and int64_list in a Feature

Value = int | float | str | None  # of a column in one row; None where it is missing


@dataclasses.dataclass(frozen=True)
class MetadataColumn:
    """Describes one column that travels along with the images.

    Attributes:
      name: Its name in the table.
      dtype: "int64", "float32" or "string" (UTF-8).
      missing: Images of all splits, without copies, that have no value of it.
      different: Of a text: the number of different values of these images; None if there are more than MOST_DIFFERENT.
        None for numbers, too.
    """

    name: str
    dtype: str
    missing: int = 0
    different: int | None = None

    @property
    def feature(self) -> str:
        """Returns the name of its feature in a record."""
        return PREFIX + self.name

    @property
    def list_number(self) -> int:
        """Returns the number of the list in a Feature that holds its value."""
        return _LISTS[self.dtype]

    def noted(self) -> dict[str, Any]:
        """Returns what contract.json says of it."""
        return {name: value for name, value in vars(self).items() if value is not None}


def stored(value: Value, dtype: str) -> int | float | str:
    """Returns what a record holds of a value.

    >>> stored(None, "int64"), stored("B", "string"), stored(0.1, "float32")
    (-9223372036854775808, 'B', 0.10000000149011612)
    """
    if value is None:
        return MISSING[dtype]
    return as_float32(float(value)) if dtype == FLOAT else value


def same(one: int | float | str, other: int | float | str) -> bool:
    """Tells whether two stored values are equal; so are two that are missing."""
    return one == other or (isinstance(one, float) and isinstance(other, float) and one != one and other != other)


def as_float32(value: float) -> float:
    """Returns the number as float32 holds it.

    Raises:
      OverflowError: It is beyond the range of float32.
    """
    found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return found


def check_names(names: Sequence[str]) -> None:
    """Raises FieldError if two columns have one name, or a name is empty."""
    if len(set(names)) != len(names) or not all(names):
        raise FieldError(f"metadata: each column should have a name of its own. Received: {list(names)!r:.80}")


def from_fields(items: Sequence[Fields]) -> tuple[MetadataColumn, ...]:
    """Reads the columns of a contract.json.

    Raises:
      FieldError: A field is missing or has the wrong form.
    """
    columns = tuple(
        MetadataColumn(
            item.text("name"),
            item.one_of("dtype", DTYPES),
            item.whole("missing"),
            item.whole("different") if item.has("different") else None,
        )
        for item in items
    )
    check_names([column.name for column in columns])
    return columns
