"""Checks whether a second pass gives the rows of the first one times a number.

It finds what `subject.held_arrays` cannot see, such as a cache whose arrays are changed in place each time.
"""

from __future__ import annotations

import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.subject import Split, Subject

FEWEST_ROWS, FEWEST_COLUMNS, MOST_COLUMNS = 32, 8, 256  # evenly spread columns of a row
SAME = 1e-5  # by which the cosine of two rows without their means may be less than 1
FOUND = 0.9  # share of the rows of the second pass that are found in the first one
EQUAL = 1e-3  # of the factor, up to which those of all rows are one number
CHANGED = 0.01


def passes(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a split whose values are multiplied by one number in each pass."""
    del clock
    if any(problem.id == "data-changed-in-place" for problem in subject.problems):
        return []
    looked = False
    for split in subject.splits:
        rows = _rows(split)
        if rows is None:
            continue
        looked = True
        factor = _factor(*rows)
        if factor is not None and abs(factor - 1) > CHANGED:
            told = (
                f"Of {len(rows[1]):,} rows of the second pass, {FOUND:.0%} or more are rows of the first one times "
                f"{factor:.4g}."
            )
            return [catalogue.found("data-changed-in-place", told, case="passes", split=split.name)]
    if not looked:
        raise NotApplicable(f"no split has two passes of {FEWEST_ROWS} rows and {FEWEST_COLUMNS} columns")
    return []


def _rows(split: Split) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the rows of both passes without their means, float64 (N, D)."""
    if split.second is None or not len(split.sample) or not len(split.second):
        return None
    first, second = (sample.images.reshape(len(sample.images), -1) for sample in (split.sample, split.second))
    if first.shape[1] != second.shape[1] or first.shape[1] < FEWEST_COLUMNS:
        return None
    step = -(-first.shape[1] // MOST_COLUMNS)
    found = []
    for rows in (first, second):
        values = rows[:, ::step].astype(np.float64)
        values -= values.mean(axis=1, keepdims=True)
        found.append(values[np.isfinite(values).all(axis=1) & (np.abs(values).max(axis=1) > 0)])
    return (found[0], found[1]) if min(map(len, found)) >= FEWEST_ROWS else None


def _factor(first: np.ndarray, second: np.ndarray) -> float | None:
    """Returns the number by which the rows were multiplied; None if there is none."""
    sizes = [np.linalg.norm(rows, axis=1) for rows in (first, second)]
    cosines = (second / sizes[1][:, None]) @ (first / sizes[0][:, None]).T
    nearest = cosines.argmax(axis=1)
    found = cosines.max(axis=1) >= 1 - SAME
    if found.mean() < FOUND:
        return None
    factors = sizes[1][found] / sizes[0][nearest[found]]
    middle = float(np.median(factors))
    return middle if np.mean(np.abs(factors - middle) <= EQUAL * middle) >= FOUND else None


PROBES = (Probe("values that are the same in each pass", passes, ("images",), 3.0),)
