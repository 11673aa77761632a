"""Finds data that change while they are read.

Batches are slices of one array then, and an operation in place on them changes that array:
`batch = self.images[a:b]; batch /= 255` leaves other images for each epoch.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding

FEWEST_ROWS = 32  # of an array, and that change in a pass
MOST_BYTES = 128 << 20  # of all copies; of larger arrays each k-th row is copied
MOST_ARRAYS = 16
MOST_COLUMNS = 256  # numbers of a row that are compared, evenly spread
ALIKE = 0.3  # correlation of what a row was and is, of a slice that is given; of rows of other images it is nearly 0
FUNCTION = 0.999  # the same, where each column is the former one times a factor, plus a number
EXACT = 1e-3  # of the deviation; smaller differences are those of rounding
DEPTH = 2  # objects in each other that may hold arrays
# Packages whose objects hold no data of the program.
LIBRARIES = {"builtins", "keras", "tensorflow", "numpy", "pandas", "torch", "threading", "multiprocessing"}


@dataclasses.dataclass
class Change:
    """Describes the rows of an array that have other values after a pass.

    rows: their numbers, among the rows that are copied.
    before, now: their values.
    """

    rows: np.ndarray
    before: np.ndarray
    now: np.ndarray


@dataclasses.dataclass
class Held:
    """Follows one array, or several of one shape in a list or dictionary.

    name: such as "self.images".
    parts: the arrays; several of them are the rows.
    step: every how many rows one is copied.
    first: the rows before the first pass. before: those before the pass that goes on. after: those after the last one.
    moved: True if something else changed the rows between two passes, such as a shuffle.
    changes: one for each pass that changed rows.
    """

    name: str
    parts: list[np.ndarray]
    step: int = 1
    first: np.ndarray | None = None
    before: np.ndarray | None = None
    after: np.ndarray | None = None
    moved: bool = False
    changes: list[Change] = dataclasses.field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.parts) if len(self.parts) > 1 else len(self.parts[0])

    def now(self) -> np.ndarray:
        """Returns a copy of each `step`-th row."""
        if len(self.parts) > 1:
            return np.stack(self.parts[:: self.step])
        return self.parts[0][:: self.step].copy()

    def begin(self) -> bool:
        """Notes the rows before a pass; False if the array need not be followed."""
        if self.first is None:
            self.first = self.before = self.now()
        elif len(self.changes) == 1:
            self.before = self.now()
            self.moved = self.after is None or not np.array_equal(self.before, self.after)
            return self.after is not None and (not self.moved or _are_shuffled(self.before, self.after))
        return True

    def end(self, is_buffer: bool, is_given: bool) -> bool:
        """Notes the rows that a pass changed; False if the array need not be followed.

        Args:
          is_buffer: True for what may have been made for a batch.
          is_given: True if a batch is a slice of the array.
        """
        before, self.before = self.before, None
        if before is None or len(self.changes) > 1:
            return True
        now = self.now()
        rows = np.arange(0) if np.array_equal(before, now) else _changed_rows(before, now)
        if not len(rows):
            return bool(self.changes)
        is_count = not is_given and now.ndim == 1
        if is_buffer or is_count or len(rows) < FEWEST_ROWS:
            return False  # it changes by right
        if _likeness(before[rows], now[rows]) < (ALIKE if is_given else FUNCTION):
            return False  # other rows came to its place
        self.changes.append(Change(rows, before[rows], now[rows]))
        self.after = now
        return True

    def restore(self) -> None:
        """Gives the arrays the values that they had before the first pass.

        Where something else has changed them as well, they stay as they are.
        """
        if self.first is None or self.after is None or self.step > 1 or self.moved:
            return
        if np.array_equal(self.now(), self.after):
            for part, values in zip(self.parts, self.first if len(self.parts) > 1 else [self.first], strict=True):
                part[...] = values


class HeldArrays:
    """Follows the arrays that an object holds which gives batches.

    Args:
      source: a PyDataset, a generator, a function that returns one, or any other object.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._held: list[Held] = []
        self._given: set[str] = set()  # names of arrays of which a batch is a slice
        self._batch = self._seen = 0  # rows of the largest batch, and of the pass that goes on
        self._told = False

    def follow(self) -> None:
        """Begins to follow the arrays; until then passes cost nothing."""
        with contextlib.suppress(Exception):  # the program may have objects of any kind
            self._held = self._held or _of(self._source)

    def begin(self) -> None:
        """Notes what the arrays are before a pass."""
        self._seen = 0
        self._keep(lambda held: held.begin())

    def batch(self, batch: Any) -> None:
        """Notes the rows of a batch, and which arrays it is a slice of."""
        if not self._held:
            return
        with contextlib.suppress(Exception):  # its shape may be unknown
            leaves = [leaf for leaf in keras.tree.flatten(batch) if len(getattr(leaf, "shape", ()))]
            self._seen += int(leaves[0].shape[0])
            self._batch = max([self._batch, *(int(leaf.shape[0]) for leaf in leaves)])
            arrays = [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]
            for held in self._held:
                if any(np.may_share_memory(leaf, held.parts[0]) for leaf in arrays):
                    self._given.add(held.name)

    def read_on(self, batch: Any) -> None:
        """Notes a batch of a generator, whose passes begin and end between two batches."""
        self.batch(batch)
        if self._held and self._seen >= max(held.rows for held in self._held):
            self.end()
            self.begin()

    def end(self) -> None:
        """Notes which rows a pass has changed."""
        self._keep(lambda held: held.end(held.rows <= self._batch, held.name in self._given))

    def _keep(self, follows: Callable[[Held], bool]) -> None:
        kept = []
        for held in self._held:
            with contextlib.suppress(Exception):  # it is no longer the array that it was
                if follows(held):
                    kept.append(held)
        self._held = kept

    def told(self, split: str) -> list[Finding]:
        """Returns the finding on an array that two passes have changed, once."""
        for held in () if self._told else self._held:
            if len(held.changes) < 2:
                continue
            one, other = held.changes
            if np.isin(one.rows, other.rows).sum() < FEWEST_ROWS:
                continue
            self._told = True
            spans = [_span(values) for values in (one.before, one.now, other.now)]
            evidence = (
                f"A pass over the data changes {held.step * len(one.rows):,} of {held.rows:,} rows of {held.name}, and "
                f"another one changes rows of these again: {spans[0]}, then {spans[1]}, then {spans[2]}."
            )
            factor, line = _factor(other.before, other.now), _line(self._source)
            evidence += f" A pass multiplies them by {factor}." if factor else ""
            evidence += f" What changes them is `{line}`." if line else ""
            return [catalogue.found("data-changed-in-place", evidence, case="held", split=split, name=held.name)]
        return []

    def restore(self) -> None:
        """Gives the arrays that were found to change their first values."""
        for held in self._held if self._told else ():
            if len(held.changes) > 1:
                with contextlib.suppress(Exception):  # an array that can no longer be written stays as it is
                    held.restore()


def generator_of(dataset: Any) -> Any:
    """Returns what Dataset.from_generator got; None of another dataset.

    TensorFlow keeps it in private attributes, which may change; then it is not found.
    """
    with contextlib.suppress(Exception):
        while dataset is not None:
            function = getattr(getattr(dataset, "_map_func", None), "_func", None)
            for cell in getattr(function, "__closure__", None) or ():
                for inner in getattr(cell.cell_contents, "__closure__", None) or ():
                    if type(inner.cell_contents).__name__ == "_GeneratorState":
                        return inner.cell_contents._generator
            dataset = getattr(dataset, "_input_dataset", None)
    return None


def _of(source: Any) -> list[Held]:
    found: list[Held] = []
    seen: set[tuple[int, int]] = set()
    for name, parts in _arrays(source, "self", DEPTH):
        key = (parts[0].__array_interface__["data"][0], parts[0].nbytes)
        if key not in seen and len(found) < MOST_ARRAYS:
            seen.add(key)
            found.append(Held(name, parts))
    room = MOST_BYTES // max(1, len(found))
    for held in found:
        held.step = -(-sum(part.nbytes for part in held.parts) // room)
    return [held for held in found if held.rows // held.step >= FEWEST_ROWS]


def _arrays(value: Any, name: str, depth: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yields the arrays that an object holds, by the names that its code has."""
    if _is_data(value):
        yield name, [value]
    elif isinstance(value, list | tuple | Mapping):
        parts = list(value.values()) if isinstance(value, Mapping) else list(value)
        if len(parts) >= FEWEST_ROWS and all(map(_is_data, parts)) and len({part.shape for part in parts}) == 1:
            yield name, parts
        elif depth and len(parts) < FEWEST_ROWS:
            keys = list(value) if isinstance(value, Mapping) else range(len(parts))
            for key, part in zip(keys, parts, strict=True):
                yield from _arrays(part, f"{name}[{key!r}]", depth - 1)
    elif depth:
        for inner, part in _variables(value, name).items():
            yield from _arrays(part, inner, depth - 1)


def _variables(value: Any, name: str) -> dict[str, Any]:
    """Returns the variables that an object, a function or a generator has, by name."""
    if isinstance(value, functools.partial):
        return {f"argument {i + 1}": part for i, part in enumerate(value.args)} | _variables(value.func, name)
    if isinstance(value, types.MethodType):
        return _variables(value.__self__, "self")
    if isinstance(value, types.GeneratorType):
        frame = value.gi_frame
        return {} if frame is None else _used(value.gi_code, frame.f_globals) | dict(frame.f_locals)
    if isinstance(value, types.FunctionType):
        held = inspect.getclosurevars(value).nonlocals
        return _used(value.__code__, value.__globals__) | dict(held)
    owner = type(value).__module__.partition(".")[0]
    is_given = isinstance(value, keras.utils.PyDataset) or owner not in LIBRARIES
    if not is_given or isinstance(value, type | types.ModuleType) or not hasattr(value, "__dict__"):
        return {}
    return {f"{name}.{key}": part for key, part in vars(value).items()}


def _used(code: types.CodeType, variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: variables[name] for name in code.co_names if name in variables}


def _is_data(value: Any) -> bool:
    """Tells whether a value is an array of numbers in memory that can be written."""
    return (
        isinstance(value, np.ndarray) and not isinstance(value, np.memmap) and value.ndim > 0 and value.size > 0
        and value.dtype.kind in "fiu" and value.flags.writeable
    )  # fmt: skip


def _are_shuffled(one: np.ndarray, other: np.ndarray) -> bool:
    """Tells whether both have the same rows, in any order."""
    ours, theirs = (np.sort(_columns(values).sum(axis=1)) for values in (one, other))
    return np.array_equal(ours, theirs)


def _changed_rows(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Returns the numbers of rows that differ by more than rounding."""
    one, other = (_columns(values) for values in (before, now))
    allowed = EXACT * float(np.nanstd(one))
    same = np.isclose(one, other, rtol=0, atol=allowed if np.isfinite(allowed) else 0, equal_nan=True)
    return np.flatnonzero(~same.all(axis=1))


def _likeness(before: np.ndarray, now: np.ndarray) -> float:
    """Returns how much rows are what they were, from 0 to 1.

    It is the correlation of their numbers, each column by itself: a factor, a shift and noise leave it high, and the
    rows of other images are not correlated.
    """
    one, other = (_columns(values) for values in (before, now))
    finite = np.isfinite(one).all(axis=1) & np.isfinite(other).all(axis=1)
    if finite.sum() < FEWEST_ROWS:
        return 0.0
    one, other = (values[finite] - values[finite].mean(axis=0) for values in (one, other))
    spread = one.std(axis=0) * other.std(axis=0)
    known = spread > 0
    return float(((one * other).mean(axis=0)[known] / spread[known]).mean()) if known.any() else 0.0


def _columns(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(len(values), -1)
    return flat[:, :: -(-flat.shape[1] // MOST_COLUMNS)].astype(np.float64)


def _factor(before: np.ndarray, now: np.ndarray) -> str:
    """Returns by what all numbers were multiplied; "" if it is not one number."""
    one, other = (_columns(values) for values in (before, now))
    square = float((one * one).sum())
    factor = float((one * other).sum()) / square if square > 0 else 0.0
    spread = float(other.std())
    if not np.isfinite(factor) or factor == 0 or not float(np.abs(factor * one - other).max()) <= EXACT * spread:
        return ""
    whole = round(1 / factor)
    return f"1/{whole}" if whole > 1 and abs(1 / factor - whole) < EXACT * whole else f"{factor:.4g}"


def _span(values: np.ndarray) -> str:
    return f"{np.nanmin(values):.4g}..{np.nanmax(values):.4g}"


def _line(source: Any) -> str:
    """Returns the only statement of the code that may change an array; "" without."""
    code: Any = source
    if isinstance(source, functools.partial):
        code = source.func
    if isinstance(source, types.GeneratorType):
        code = source.gi_code
    elif not isinstance(code, types.FunctionType | types.MethodType):
        names = "__getitem__", "__next__", "__iter__"
        code = next((getattr(type(source), name) for name in names if hasattr(type(source), name)), None)
    try:
        text = textwrap.dedent(inspect.getsource(code))
        found = [ast.unparse(node) for node in ast.walk(ast.parse(text)) if _is_in_place(node)]
    except (OSError, TypeError, SyntaxError):
        return ""
    return found[0] if len(found) == 1 else ""


def _is_in_place(node: ast.AST) -> bool:
    """Tells whether a statement may write into an array.

    A name += something may as well be a counter.
    """
    if isinstance(node, ast.AugAssign):
        return not (isinstance(node.op, ast.Add) and isinstance(node.target, ast.Name))
    return isinstance(node, ast.Call) and any(word.arg == "out" for word in node.keywords)
