"""Notes which numbers a program gave to the names of categories.

Numbers that are made for training and validation apart follow other names: "Paris" is 1 in the one and 0 in the other.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.subject.subject import Split
from trainer.doctor.subject.training import Place
from trainer.doctor.watching.places import Places, is_own

MOST_CODINGS, MOST_INDICATORS, MOST_ROWS = 256, 1024, 65_536  # that are noted
FEWEST_ROWS = 20  # fewer are equal to those of another column by chance
COMPARED = 512  # rows of each split that are compared
MOVED = 0.1  # share of the common names with another number, from which on the numbers are different
SHARED = 0.5  # share of the names of the smaller coding that both must have, to be of one column
EQUAL = 1e-4  # of the range of a column; scaled columns are equal up to rounding
# Libraries that number categories, and how a program names them.
LIBRARIES = {"pandas": r"^\s*(?:import|from)\s+pandas\b", "sklearn.preprocessing": r"\bsklearn\b"}

Put = Callable[[Any, str, Callable[[Any], Any]], None]


@dataclasses.dataclass(frozen=True)
class Coding:
    """Describes one column of numbers that stand for names.

    numbers: name -> number.
    codes: float64 (N,), the numbers in the order of the rows.
    by: what made them, such as "LabelEncoder".
    column: the name of the column; "" where it is not known.
    place: the line that made them.
    """

    numbers: Mapping[str, int]
    codes: np.ndarray
    by: str
    column: str = ""
    place: Place | None = None


@dataclasses.dataclass(frozen=True)
class Indicator:
    """Describes one column of 0 and 1 that tells whether a row has a name.

    name: such as "city_Paris".
    values: bool (N,), in the order of the rows.
    by: what made it, such as "get_dummies".
    place: the line that made it.
    """

    name: str
    values: np.ndarray
    by: str
    place: Place | None = None


class CategoryCodes:
    """Holds the codings and indicators of a program, in order.

    Args:
      places: finds the user's line of a call.
    """

    def __init__(self, places: Places) -> None:
        self.codings: list[Coding] = []
        self.indicators: list[Indicator] = []
        self._places = places

    # ---- how it is seen

    def start(self, put: Put) -> None:
        """Watches the libraries that are loaded.

        Args:
          put: puts what a function makes of a method into its place.
        """
        if "pandas" in sys.modules:
            self._watch_pandas(put)
        if "sklearn.preprocessing" in sys.modules:
            encoders = sys.modules["sklearn.preprocessing"]
            for kind in (encoders.LabelEncoder, encoders.OrdinalEncoder):
                for name in ("fit_transform", "transform"):
                    put(kind, name, self._encoder)
            for name in ("fit_transform", "transform"):
                put(encoders.OneHotEncoder, name, self._one_hot)

    def _watch_pandas(self, put: Put) -> None:
        pd = sys.modules["pandas"]  # the program's own: it is no dependency
        accessor = sys.modules["pandas.core.arrays.categorical"].CategoricalAccessor

        put(pd, "get_dummies", self._dummies)
        put(pd, "factorize", self._factorize)
        for kind in (pd.Series, pd.Index):
            put(kind, "factorize", self._factorize)
        for kind in (accessor, pd.Categorical):
            put(kind, "codes", self._codes)
        for kind in (pd.Series, pd.Index):
            put(kind, "map", self._map)
        put(pd.Series, "replace", self._map)

    def _factorize(self, original: Any) -> Any:
        def factorize(values: Any, *args: Any, **options: Any) -> Any:
            codes, uniques = original(values, *args, **options)
            if is_own(sys._getframe(1).f_code.co_filename):
                self.note(uniques, codes, "factorize", getattr(values, "name", None))
            return codes, uniques

        return factorize

    def _map(self, original: Any) -> Any:
        def mapped(values: Any, *args: Any, **options: Any) -> Any:
            found = original(values, *args, **options)
            numbers = next((one for one in (*args, *options.values()) if isinstance(one, Mapping)), None)
            if numbers is not None and is_own(sys._getframe(1).f_code.co_filename):
                self.note_mapping(numbers, found, getattr(values, "name", None))
            return found

        return mapped

    def _codes(self, original: Any) -> property:
        def codes(data: Any) -> Any:
            found = original.fget(data)
            if is_own(sys._getframe(1).f_code.co_filename):
                self.note(data.categories, found, "codes", getattr(data, "_name", None))
            return found

        return property(codes, doc=original.__doc__)

    def _encoder(self, original: Any) -> Any:
        def encoded(encoder: Any, values: Any, *args: Any, **options: Any) -> Any:
            found = original(encoder, values, *args, **options)
            by, columns = type(encoder).__name__, np.asarray(found)
            if hasattr(encoder, "classes_"):
                self.note(encoder.classes_, columns, by, getattr(values, "name", None))
            for i, names in enumerate(getattr(encoder, "categories_", ())):
                self.note(names, columns[:, i], by, getattr(values, "columns", range(i + 1))[i])
            return found

        return encoded

    def _dummies(self, original: Any) -> Any:
        def get_dummies(data: Any, *args: Any, **options: Any) -> Any:
            found = original(data, *args, **options)
            if is_own(sys._getframe(1).f_code.co_filename):
                before = {str(name) for name in getattr(data, "columns", ())}
                for name in found.columns:
                    if str(name) not in before:
                        self.note_indicator(str(name), found[name], "get_dummies")
            return found

        return get_dummies

    def _one_hot(self, original: Any) -> Any:
        def encoded(encoder: Any, values: Any, *args: Any, **options: Any) -> Any:
            found = original(encoder, values, *args, **options)
            table = found.tocsc() if hasattr(found, "tocsc") else np.asarray(found)
            for i, name in enumerate(encoder.get_feature_names_out()[:MOST_INDICATORS]):
                column = table[:, [i]]
                self.note_indicator(str(name), getattr(column, "toarray", lambda c=column: c)()[:, 0], "OneHotEncoder")
            return found

        return encoded

    def note_indicator(self, name: str, values: Any, by: str) -> None:
        """Notes a column of 0 and 1 that stands for a name."""
        if len(self.indicators) < MOST_INDICATORS and len(values) >= FEWEST_ROWS:
            noted = np.array(values[:MOST_ROWS], bool)
            self.indicators.append(Indicator(name, noted, by, self._places.of_caller()))

    def note(self, names: Any, codes: Any, by: str, column: Any = None) -> None:
        """Notes the numbers of a column, of which the number i stands for the i-th name."""
        self._add({str(name): i for i, name in enumerate(names)}, codes, by, column)

    def _add(self, numbers: Mapping[str, int], codes: Any, by: str, column: Any) -> None:
        if len(self.codings) < MOST_CODINGS and len(codes) >= FEWEST_ROWS:
            values = np.array(codes[:MOST_ROWS], np.float64)
            told = "" if column is None else str(column)
            self.codings.append(Coding(numbers, values, by, told, self._places.of_caller()))

    def note_mapping(self, numbers: Mapping[Any, Any], codes: Any, column: Any) -> None:
        """Notes the numbers of a column that a dictionary of the program's own gave."""
        are_numbers = all(
            isinstance(name, str) and isinstance(number, int | np.integer) for name, number in numbers.items()
        )
        with contextlib.suppress(TypeError, ValueError):  # the dictionary may be about some of the names only
            if are_numbers:
                given = {name: int(number) for name, number in numbers.items()}
                self._add(given, np.asarray(codes, np.float64), "a dictionary", column)

    def note_lookup(self, layer: Any, outputs: Any) -> None:
        """Notes what a lookup layer made of one column in eager mode."""
        if hasattr(outputs, "numpy") and len(outputs.shape) in (1, 2) and outputs.shape[-1] in (1, len(outputs)):
            codes = np.asarray(outputs).reshape(len(outputs), -1)
            if codes.shape[1] == 1 and codes.dtype.kind in "iu":
                self.note(layer.get_vocabulary(), codes[:, 0], type(layer).__name__)

    # ---- what is wrong

    def compare(self, train: Split | None, inputs: Any, targets: Any, name: str) -> list[Finding]:
        """Finds a column of training and of other rows whose numbers were made apart.

        Args:
          inputs, targets: the other rows, as Keras takes them; the targets are None where there are none.
          name: what the other rows are, such as "validation".
        """
        if train is None or not (self.codings or self.indicators):
            return []
        columns = list(
            zip(_columns(train.sample.inputs, train.sample.targets), _columns(inputs, targets), strict=False)
        )
        exchanged = self._exchanged(columns)
        if exchanged:
            return [_stand_for_others(exchanged, name)]
        for ours, theirs in columns:
            made = [one for one in self.codings if _made(one, ours)]
            remade = [one for one in self.codings if _made(one, theirs)]
            pairs = [(a, b, common) for a in made for b in remade if (common := _common(a, b))]
            if not pairs or any(not _moved(a, b, common) for a, b, common in pairs):
                continue
            a, b, common = max(pairs, key=lambda pair: len(pair[2]))
            return [_differ(a, b, common, name)]
        return []

    def _exchanged(self, columns: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[int, Indicator, Indicator]]:
        """Returns the columns that stand for another name than in training.

        They are (number of the column, indicator in training, indicator in the other rows).
        """
        found = []
        here, there = (self._by_pattern(side) for side in zip(*columns, strict=True)) if columns else ({}, {})
        for number, (ours, theirs) in enumerate(columns):
            own, other = here.get(_pattern(ours), []), there.get(_pattern(theirs), [])
            if own and other and not {one.name for one in own} & {one.name for one in other}:
                found.append((number, own[0], other[0]))
        return found

    def _by_pattern(self, columns: Sequence[np.ndarray]) -> dict[bytes, list[Indicator]]:
        """Returns the indicators by their pattern in as many rows as the columns have."""
        rows = min(len(columns[0]), COMPARED)
        found = collections.defaultdict(list)
        for one in self.indicators:
            if len(one.values) >= rows and (pattern := _pattern(one.values[:rows])):
                found[pattern].append(one)
        return dict(found)


def load(code: str) -> None:
    """Loads the libraries that a program uses, so that they can be watched.

    A library that is missing is left to the program, which reports it.
    """
    for name, pattern in LIBRARIES.items():
        if re.search(pattern, code, re.MULTILINE):
            try:
                __import__(name)
            except ImportError:
                continue


def _columns(inputs: Any, targets: Any) -> list[np.ndarray]:
    """Returns the columns of the rows, then those of the labels, float64 (N,) each.

    Pictures and text have none.
    """
    found = []
    for leaf in keras.tree.flatten((inputs, targets)):
        table = np.asarray(leaf) if hasattr(leaf, "__array__") else np.zeros(())
        if table.ndim in (1, 2) and table.dtype.kind in "fiub":
            table = table[:MOST_ROWS].reshape(len(table[:MOST_ROWS]), -1)
            found += [table[:, i].astype(np.float64) for i in range(min(table.shape[1], MOST_CODINGS))]
    return found


def _pattern(column: np.ndarray) -> bytes:
    """Returns which rows have the greater of two values, in the order of the rows.

    It is b"" for a column of too few rows, or of more or fewer than two values. A scaled column has the pattern that it
    had before.
    """
    part = column[:COMPARED]
    if len(part) < FEWEST_ROWS:
        return b""
    is_high = part == part.max()
    is_one_of_two = not is_high.all() and bool((is_high | (part == part.min())).all())
    return is_high.tobytes() if is_one_of_two else b""


def _made(coding: Coding, column: np.ndarray) -> bool:
    """Tells whether a column has the numbers of a coding, as they are or scaled.

    The rows are in the same order, or all of them are there in another one.
    """
    count = min(len(column), len(coding.codes))
    if count < FEWEST_ROWS or not np.isfinite(column).all():
        return False
    part = min(count, COMPARED)
    if _scaled(column[:part], coding.codes[:part]):
        return True
    return len(column) == len(coding.codes) and _scaled(np.sort(column), np.sort(coding.codes))


def _scaled(column: np.ndarray, codes: np.ndarray) -> bool:
    """Tells whether a column is a * codes + b with a > 0, and has at least two values."""
    spread = float(np.ptp(codes))
    if not spread:
        return False
    slope, offset = np.polyfit(codes, column, 1)
    return slope > 0 and float(np.abs(slope * codes + offset - column).max()) <= EQUAL * slope * spread


def _common(a: Coding, b: Coding) -> list[str]:
    """Returns the names that two codings have in common.

    It returns [] if they are codings of different columns.
    """
    common = [name for name in a.numbers if name in b.numbers]
    return common if len(common) >= SHARED * min(len(a.numbers), len(b.numbers)) else []


def _moved(a: Coding, b: Coding, common: list[str]) -> list[str]:
    moved = [name for name in common if a.numbers[name] != b.numbers[name]]
    return moved if len(moved) >= MOVED * len(common) else []


def _stand_for_others(exchanged: list[tuple[int, Indicator, Indicator]], split: str) -> Finding:
    number, a, b = exchanged[0]
    finding = catalogue.found(
        "categories-differ",
        f"{len(exchanged):,} of the columns of 0 and 1 stand for other names, such as column {number}: {a.name!r} in "
        f"train and {b.name!r} in {split}. {a.by} made them at {a.place or 'an unknown line'} and {b.by} at "
        f"{b.place or 'an unknown line'}.",
        split=split,
        case="encoder" if "Encoder" in a.by else "dummies",
    )
    return dataclasses.replace(finding, place=b.place.quoted if b.place is not None else "")


def _differ(a: Coding, b: Coding, common: list[str], split: str) -> Finding:
    moved = _moved(a, b, common)
    column = f" of the column {a.column!r}" if a.column else ""
    finding = catalogue.found(
        "categories-differ",
        f"Of {len(common):,} names{column} that both have, {len(moved):,} have other numbers, such as {moved[0]!r}: "
        f"{a.numbers[moved[0]]} in train and {b.numbers[moved[0]]} in {split}. {a.by} made them at "
        f"{a.place or 'an unknown line'} and {b.by} at {b.place or 'an unknown line'}.",
        split=split,
        case="encoder" if "Encoder" in a.by else "lookup" if "Lookup" in a.by
        else "dictionary" if "dictionary" in a.by else "pandas",
    )  # fmt: skip
    return dataclasses.replace(finding, place=b.place.quoted if b.place is not None else "")
