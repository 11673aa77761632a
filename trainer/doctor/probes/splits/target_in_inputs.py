"""Checks whether a number of the inputs is the target itself.

A table may still have the column of the labels, and windows of a series may end after the number that is to be told.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.sample import is_picture
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools import output_parts, task

FEWEST_ROWS = 50
FEWEST_OTHERS = 10  # rows that are not of the commonest class; fewer may be told apart by chance
OFF = 1e-4  # deviations of the target; float32 rounds by 1e-7 of a number, a hundred deviations from 0 too
EXACT = 1e-5  # the same between two columns that are the target, which were not rounded in between
DIFFERENT = 0.5  # share of different rows; a series that repeats tells its future without any fault
MOST_TARGETS = 64  # numbers of a row that are to be predicted
MOST_ROWS, MOST_NUMBERS = 2048, 1 << 23  # of an input that are looked at: 64 MB
REPEATED = 0.9  # share of the steps that differ; windows of one series have most steps in common


@dataclasses.dataclass(frozen=True)
class Table:
    """Holds one input, as rows of numbers.

    values: float64 (N, steps, columns); one step where the rows are no series.
    series: whether there are several steps.
    named: " of the input 'name'" where there are several inputs, else "".
    """

    values: np.ndarray
    series: bool
    named: str

    @property
    def cells(self) -> np.ndarray:
        """Returns the rows as (N, steps * columns)."""
        return self.values.reshape(len(self.values), -1)

    def varies(self) -> np.ndarray:
        """Tells of each cell whether it differs between rows."""
        return np.asarray(np.ptp(self.cells, axis=0) > 0)


@dataclasses.dataclass(frozen=True)
class Match:
    """Describes a target that is in the inputs.

    cells: positions in `Table.cells`. how: such as "y = 2 * x + 1".
    """

    cells: list[int]
    how: str


def look(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a column, or a step of a series, that is the target."""
    single = output_parts.of(subject)
    if single:
        return [finding for output in single for finding in _of_output(output.subject, clock)][:1]
    if subject.split("train").sample.has_several_targets:
        raise NotApplicable("the model has not several outputs with a label each")
    return _of_output(subject, clock)


def _of_output(subject: Subject, clock: Clock) -> list[Finding]:
    sample = subject.split("train").sample
    labels = np.asarray(sample.labels)[:MOST_ROWS]
    targets = labels.reshape(len(labels), -1).astype(np.float64)
    tables = _tables(sample.inputs, labels.shape)
    if not tables:
        raise NotApplicable("the inputs are neither rows of several columns nor series")
    if len(labels) < FEWEST_ROWS or targets.shape[1] > MOST_TARGETS or not np.isfinite(targets).all():
        raise NotApplicable(f"it needs {FEWEST_ROWS} rows and targets of at most {MOST_TARGETS} finite numbers")
    if task.ignores_labels(subject):
        raise NotApplicable("the loss does not look at the labels")
    numbers = task.is_regression(subject) or bool((targets != np.rint(targets)).any())
    if numbers and targets.shape[1] > 1 and not any(table.series for table in tables):
        raise NotApplicable("each row has several targets, as an autoencoder has")
    for table in tables:
        clock.check()
        if numbers and targets.shape[1] > 1 and not table.series:
            continue
        given = targets[: len(table.values)]
        found = _numbers(table, given) if numbers else _classes(table, given)
        told = _told(table, found, numbers) if found is not None else None
        if told is not None:
            return [told]
    return []


def _tables(inputs: object, labels: tuple[int, ...]) -> list[Table]:
    """Returns the inputs that are rows or series, and no pictures.

    An input that has the shape of the targets may be what an autoencoder makes again, or what a decoder was told.
    """
    leaves = keras.tree.flatten_with_path(inputs)
    found = []
    for path, leaf in leaves:
        series = leaf.ndim == 3
        if leaf.ndim not in (2, 3) or is_picture(leaf.shape[1:]) or leaf.dtype.kind not in "fiub":
            continue
        rows = min(MOST_ROWS, MOST_NUMBERS // max(1, int(np.prod(leaf.shape[1:]))))
        if rows < FEWEST_ROWS or (len(labels) > 1 and 1 < labels[1] == leaf.shape[1]):
            continue
        values = np.nan_to_num(leaf[:rows].astype(np.float64), posinf=0, neginf=0)
        named = f" of the input {path[0]!r}" if len(leaves) > 1 and path else ""
        found.append(Table(values if series else values[:, None], series, named))
    return found


def _numbers(table: Table, targets: np.ndarray) -> Match | None:
    """Finds the cells that are the targets up to scale and offset, in all rows.

    Several targets all have to be there. One of a time of day may be there although the others lie ahead.
    """
    varying = [target for target in targets.T if np.ptp(target) > 0]
    found: list[int] = []
    how = ""
    for target in varying:
        cells, told = _affine(table.cells, target)
        if not cells:
            return None
        chosen = _alone(table, cells)
        found += chosen
        how = how or (told if chosen else "")
    return Match(found, how) if found else None


def _affine(cells: np.ndarray, target: np.ndarray, off: float = OFF) -> tuple[list[int], str]:
    """Returns the cells of which the target is an affine function, and which.

    It returns none where others are nearly so: the numbers of a smooth curve are, and the target may be the next one.

    Args:
      off: by how many deviations of the target a row may differ.
    """
    spread = float(target.std())
    means, mean = cells.mean(axis=0), float(target.mean())
    squares = np.square(cells - means).sum(axis=0)
    slopes = np.where(squares > 0, (target - mean) @ (cells - means) / np.maximum(squares, 1e-300), 0)
    # The correlation leaves few cells, whose rows are then looked at one by one.
    explained = slopes**2 * squares / max(len(target) * spread**2, 1e-300)
    near = [int(i) for i in np.flatnonzero(explained > 1 - 1e-6)]
    rest = {i: np.abs(target - mean - slopes[i] * (cells[:, i] - means[i])).max() for i in near}
    found = [i for i in near if rest[i] <= off * spread]
    if not found or len(found) < len(near):
        return [], ""
    slope = float(slopes[found[0]])
    offset = mean - slope * float(means[found[0]])
    if abs(slope - 1) < OFF and abs(offset) < OFF * spread:
        return found, "the target is equal to it"
    return found, f"the target is {slope:.4g} times it {'-' if offset < 0 else '+'} {abs(offset):.4g}"


def _classes(table: Table, targets: np.ndarray) -> Match | None:
    """Finds cells that name the class of all rows, by equal or by other numbers.

    Classes may be a column of numbers, or a column each of two values, as pandas.get_dummies makes them.
    """
    if targets.shape[1] == 1:
        one_hot = (targets == np.unique(targets)).astype(np.int64)
    elif np.isin(targets, (0, 1)).all():
        one_hot = targets.astype(np.int64)
    else:
        return None
    counts = one_hot.sum(axis=0)
    one_hot = one_hot[:, (counts > 0) & (counts < len(targets))]
    if not one_hot.shape[1] or min(counts.max(), len(targets) - counts.max()) < FEWEST_OTHERS:
        return None
    exclusive = bool((one_hot.sum(axis=1) == 1).all())
    cells = table.cells
    if exclusive:
        named = one_hot.argmax(axis=1)
        same = [int(i) for i in np.flatnonzero(table.varies()) if _renames(cells[:, i], named, one_hot.shape[1])]
        if same:
            chosen = _alone(table, same)
            equal = targets.shape[1] == 1 and bool(chosen) and np.array_equal(cells[:, chosen[0]], targets[:, 0])
            return Match(chosen, "the label is equal to it" if equal else "each label has one number there")
    chosen = _indicators(cells, one_hot, exclusive)
    return Match(chosen, "each class has a column of two numbers there") if chosen else None


def _renames(cell: np.ndarray, named: np.ndarray, classes: int) -> bool:
    """Tells whether a cell has one number for each class, and each its own."""
    ends = cell[[0, -1]]
    if (ends[0] == ends[1]) != (named[0] == named[-1]):  # most cells differ here, and it costs nothing
        return False
    values, at = np.unique(cell, return_inverse=True)
    return len(values) == classes and len(np.unique(at.ravel() * classes + named)) == classes


def _indicators(cells: np.ndarray, one_hot: np.ndarray, exclusive: bool) -> list[int]:
    """Returns a cell of two values for each class.

    One class needs none where the others tell it. It returns [] where another one has none.
    """
    by_pattern: dict[bytes, int] = {}
    lows, highs = cells.min(axis=0), cells.max(axis=0)
    for i in np.flatnonzero((lows < highs) & ((cells == lows) | (cells == highs)).all(axis=0)):
        high = cells[:, i] == highs[i]
        by_pattern.setdefault(high.tobytes(), int(i))
        by_pattern.setdefault((~high).tobytes(), int(i))
    found = [by_pattern.get((column == 1).tobytes()) for column in one_hot.T]
    known = [i for i in found if i is not None]
    return list(dict.fromkeys(known)) if len(known) >= len(found) - exclusive and known else []


def _alone(table: Table, cells: list[int]) -> list[int]:
    """Returns the cell that is the target, or [] where it shows no fault.

    Where each number is an affine function of the one before it, as along a line, every step is one of the target. A
    column that repeats one number along the steps counts once.
    """
    columns = table.values.shape[2]
    values = table.cells
    if not table.series:
        exact = len(_affine(values[:, cells], values[:, cells[0]], EXACT)[0]) == len(cells)
        return [int(cells[0])] if exact else []
    for column in dict.fromkeys(i % columns for i in cells):
        own = [i for i in cells if i % columns == column]
        if all(np.array_equal(values[:, own[0]], values[:, i]) for i in own):
            return [int(own[0])]
    return []


def _told(table: Table, match: Match, numbers: bool) -> Finding | None:
    """Returns the finding, or None where the match is no fault."""
    cells, varies = table.cells, table.varies()
    steps, columns = table.values.shape[1:]
    first = match.cells[0] if match.cells else 0
    step, column = divmod(first, columns)
    own = table.values[:, :, column]
    static = steps > 1 and bool((own == own[:, :1]).all())  # a number of the row that each step repeats
    rows = own if table.series and not static else cells
    if not match.cells or _different(rows) < DIFFERENT:
        return None  # a series that repeats, and a small table of a rule, such as that of XOR
    others = cells[:, varies]
    if table.series and not static:
        if not numbers and not _is_cut_of_one(table.values):
            return None  # a task of copying a symbol
        at = f"step {step}, column {column}"
        at = at if len(match.cells) == 1 else f"{at} and {len(match.cells) - 1} more"
        return catalogue.found(
            "target-in-inputs",
            f"In all {len(cells):,} windows of {steps} steps (0 to {steps - 1}) and {columns} columns that were looked "
            f"at, {match.how}: {at}{table.named}.",
            case="window",
            step=step,
            column=column,
        )
    named = {i % columns for i in match.cells}
    if not {i % columns for i in np.flatnonzero(varies)} - named or _is_line(others):
        return None  # the target is made of this input alone: an input of labels, or the numbers along a line
    told = " and ".join(f"column {i}" for i in sorted(named)[:2]) + (" and more" if len(named) > 2 else "")
    return catalogue.found(
        "target-in-inputs",
        f"In all {len(cells):,} rows of {columns} columns that were looked at, {match.how}: {told}{table.named} "
        f"(the first is 0).",
        case="table",
        column=column,
    )


def _different(rows: np.ndarray) -> float:
    """Returns the share of rows that differ.

    They are rounded to a thousandth of their span.
    """
    low, span = rows.min(axis=0), np.maximum(np.ptp(rows, axis=0), 1e-300)
    rounded = np.rint((rows - low) / span * 1000).astype(np.int16)
    return len({row.tobytes() for row in rounded}) / len(rows)


def _is_line(cells: np.ndarray) -> bool:
    """Tells whether all columns are affine functions of the first one."""
    return len(_affine(cells[:, 1:], cells[:, 0])[0]) == cells.shape[1] - 1


def _is_cut_of_one(values: np.ndarray) -> bool:
    """Tells whether windows (N, steps, columns) have steps in common.

    Then they were cut of one series. Steps of few different numbers, such as symbols, tell nothing.
    """
    steps = np.ascontiguousarray(values.reshape(-1, values.shape[2]))
    different = len({step.tobytes() for step in steps})
    return len(values) / 4 <= different <= REPEATED * len(steps)


PROBES = (Probe("targets among the inputs", look, ("images",), 5.0),)
