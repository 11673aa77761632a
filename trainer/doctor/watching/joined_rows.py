"""Finds rows of tables that pandas joins by numbers that mean different things.

A new DataFrame numbers its rows from 0 on. One whose rows were dropped, filtered or split keeps their old numbers.
pandas joins both by these numbers: a row gets the columns of another one, or NaN.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.watching.places import Places, is_own

FEWEST_ROWS = 20
SHARE = 0.05  # of the rows that have no partner or a wrong one
SHOWN = 4  # numbers of an index
MOST_COLUMNS = 16  # of each side that are compared
MOST_INDEXES = 8  # of one join that are compared

Put = Callable[[Any, str, Callable[[Any], Any]], None]


class JoinedRows:
    """Holds the first join that mixes up rows.

    Args:
      places: finds the user's line of a call.
    """

    def __init__(self, places: Places) -> None:
        self.finding: Finding | None = None
        self._places = places

    def start(self, put: Put) -> None:
        """Watches pandas if it is loaded.

        Args:
          put: puts what a function makes of a method into its place.
        """
        if "pandas" not in sys.modules:
            return
        pd = sys.modules["pandas"]  # the program's own: it is no dependency
        put(pd, "concat", self._concat)
        put(pd, "merge", self._merge)
        watched = {"__init__": self._init, "merge": self._merge, "join": self._join, "assign": self._assign,
                   "insert": self._insert, "__setitem__": self._set}  # fmt: skip
        for name, make in watched.items():
            put(pd.DataFrame, name, make)

    def _concat(self, original: Any) -> Any:
        def concat(objs: Any, *args: Any, **options: Any) -> Any:
            if options.get("axis", args[0] if args else 0) in (1, "columns") and _is_asked_by_program():
                parts = list(objs.values()) if isinstance(objs, Mapping) else objs
                if isinstance(parts, list | tuple):  # what is read once belongs to pandas
                    self._look("concat(axis=1)", parts)
            return original(objs, *args, **options)

        return concat

    def _merge(self, original: Any) -> Any:
        def merge(left: Any, right: Any, *args: Any, **options: Any) -> Any:
            if options.get("left_index") and options.get("right_index") and _is_asked_by_program():
                self._look("merge", [left, right])
            return original(left, right, *args, **options)

        return merge

    def _join(self, original: Any) -> Any:
        def join(frame: Any, other: Any, *args: Any, **options: Any) -> Any:
            if not args and options.get("on") is None and _is_asked_by_program():
                self._look("join", [frame, *(other if isinstance(other, list | tuple) else [other])])
            return original(frame, other, *args, **options)

        return join

    def _init(self, original: Any) -> Any:
        def __init__(frame: Any, data: Any = None, *args: Any, **options: Any) -> None:  # noqa: N807 - stands in for it
            if isinstance(data, dict) and not args and options.get("index") is None and _is_asked_by_program():
                self._look("DataFrame(...)", list(data.values()))
            original(frame, data, *args, **options)

        return __init__

    def _assign(self, original: Any) -> Any:
        def assign(frame: Any, /, **columns: Any) -> Any:
            if _is_asked_by_program():
                for column in columns.values():
                    self._look("assign", [frame, column], assigned=True)
            return original(frame, **columns)

        return assign

    def _insert(self, original: Any) -> Any:
        def insert(frame: Any, loc: Any, column: Any, value: Any, *args: Any, **options: Any) -> Any:
            if _is_asked_by_program():
                self._look("insert", [frame, value], assigned=True)
            return original(frame, loc, column, value, *args, **options)

        return insert

    def _set(self, original: Any) -> Any:
        def __setitem__(frame: Any, key: Any, value: Any) -> Any:  # noqa: N807 - it stands in for __setitem__
            if _names_columns(key) and _is_asked_by_program():
                self._look("The assignment of a column", [frame, value], assigned=True)
            return original(frame, key, value)

        return __setitem__

    def _look(self, call: str, parts: Sequence[Any], assigned: bool = False) -> None:
        """Looks at tables that are to be joined, before pandas does it.

        Args:
          assigned: True if the second part becomes a column of the first, which keeps its rows.
        """
        if self.finding is not None:
            return
        try:
            tables: list[Any] = []
            for part in parts:
                is_table = hasattr(part, "iloc") and hasattr(part, "index")
                if is_table and not any(part.index.is_(table.index) for table in tables):
                    tables.append(part)
                if len(tables) == MOST_INDEXES:
                    break
            told = next((told for one, other in itertools.combinations(tables, 2)
                         if (told := _mixed_up(one, other, assigned))), "")  # fmt: skip
            if told:
                place = self._places.of_caller()
                found = catalogue.found("rows-misaligned", told, call=call)
                self.finding = dataclasses.replace(found, place="" if place is None else place.quoted)
        except Exception:  # the program may have tables and indexes of any kind
            return


def _is_asked_by_program() -> bool:
    """Tells whether the program itself calls the function that calls this one."""
    return is_own(sys._getframe(2).f_code.co_filename)


def _names_columns(key: Any) -> bool:
    """Tells whether a key of a table names columns, and does not choose rows."""
    return np.isscalar(key) or isinstance(key, tuple) or (
        isinstance(key, list) and all(isinstance(name, str) for name in key)
    )  # fmt: skip


def _mixed_up(one: Any, other: Any, assigned: bool) -> str:
    """Returns a sentence if the row numbers of two tables mean different things.

    It returns "" otherwise.
    """
    count = len(one)
    if count < FEWEST_ROWS or count != len(other):
        return ""
    ours, theirs, places = _numbers(one.index), _numbers(other.index), np.arange(count)
    if ours is None or theirs is None:
        return ""
    is_new = np.array_equal(ours, places)
    if is_new == np.array_equal(theirs, places):
        return ""
    kept = theirs if is_new else ours
    inside = (kept >= 0) & (kept < count)
    if inside.all() or len(np.unique(kept)) < count:
        return ""  # the same rows in another order, which pandas puts right
    if np.array_equal(kept, places + kept[0]) and ((assigned and is_new) or _have_equal_columns(one, other)):
        return ""  # values that were moved by some rows on purpose
    wrong, alone = int((kept != places)[inside].sum()), int(count - inside.sum())
    if wrong + alone < SHARE * count:
        return ""
    shown = ", ".join(f"{number:,}" for number in kept[:SHOWN])
    return (
        f"Both sides have {count:,} rows. One numbers them from 0 to {count - 1:,}, as every new table does. The other "
        f"has the numbers that its rows had in a table before: {shown} ... {kept[-1]:,}. {wrong:,} of its rows are "
        f"joined with another row, and {alone:,} with none, which gives NaN."
    )


def _numbers(index: Any) -> np.ndarray | None:
    """Returns the numbers of an index of integers without a name; else None."""
    if index.nlevels > 1 or index.name is not None or getattr(index.dtype, "kind", "") not in "iu":
        return None
    values = np.asarray(index)
    return values if values.dtype.kind in "iu" else None


def _have_equal_columns(one: Any, other: Any) -> bool:
    """Tells whether a column of both is the same, row by row."""
    sides = [[table] if table.ndim == 1 else [table.iloc[:, i] for i in range(min(table.shape[1], MOST_COLUMNS))]
             for table in (one, other)]  # fmt: skip
    ours, theirs = ([column.reset_index(drop=True) for column in side] for side in sides)
    return any(a.equals(b) for a in ours for b in theirs)
