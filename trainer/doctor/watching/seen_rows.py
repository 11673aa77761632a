"""Finds rows that judge a model and on which earlier trainings of it trained.

The folds of a cross-validation need a new model each. One model that goes on has seen every row after the first fold.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.subject.training import Place

MOST_BYTES = 256 << 20  # of one array; a larger one is not looked at
OF_ROW = 1024  # numbers of a row, evenly spread, by which rows are told apart
AT_ONCE = 4096  # rows that are converted at a time
DIGEST_BYTES = 8  # kept of each row in its place, so that the rows of a program take little memory
MOST_NUMBERS = 256  # of a weight, which tell whether the model goes on as it was
LEAST_ROWS = 10
SEEN = 0.5  # share of the rows
MOST_STATES = 8  # weights of a model whose past is known
MOST_JUDGED = 32  # calls of evaluate and predict that are looked at
KNOWN = 0.1  # share of the rows that the last fit has, from which on a call judges training rows on purpose
SHARED = 0.1  # share of the last fit's rows that an earlier one has; two tasks in turn have none in common
SMALLER = 1.2  # ratio of the last fit's rows to those that are judged; a replay of batches has as many
MOST_TABLES, MOST_TABLE_ROWS, MOST_COLUMNS = 4, 1 << 16, 64  # kept to find rows that were scaled anew
COMPARED, ROUNDS = 256, 8  # rows that are looked for in such a table, and how often their scale is fitted
OFF = 1e-4  # deviations of a column; float32 rounds by less


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """Holds what is kept of the rows of a training.

    rows: a digest of each. table: float32 (N, up to MOST_COLUMNS), numbers of each; None where there is none.
    """

    rows: set[bytes]
    table: np.ndarray | None


class SeenRows:
    """Holds the training rows of all models of a program, of arrays only.

    finding: the first one on rows that a fit validates on, or that evaluate gets.
    of_predict: findings on rows that predict gets, with their places. They are faults where the program compares the
      answers with labels.
    """

    def __init__(self) -> None:
        self._states: weakref.WeakKeyDictionary[Any, dict[bytes, tuple[Fit, ...]]] = weakref.WeakKeyDictionary()
        self._running: weakref.WeakKeyDictionary[Any, tuple[Fit, ...]] = weakref.WeakKeyDictionary()
        self._began: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()  # the last fit
        self._last: weakref.WeakKeyDictionary[Any, tuple[Fit, ...]] = weakref.WeakKeyDictionary()
        self._judged = 0
        self.finding: Finding | None = None
        self.of_predict: list[tuple[Finding, Place | None]] = []

    def begin(self, model: Any, arguments: Mapping[str, Any], place: Place | None) -> None:
        """Looks at the validation rows of a fit that begins."""
        fits = self._running[model] = self._past(model)
        self._began[model] = time.time()
        validation = arguments.get("validation_data")
        if self.finding is not None or not fits or not isinstance(validation, list | tuple) or not validation:
            return
        own = _rows(arguments.get("x"))
        told = "" if own is None else _seen(validation[0], fits, set(own), "validation rows")
        if told:
            self.finding = _placed(catalogue.found("validation-trained-on", told, case="fit"), place)

    def end(self, model: Any, arguments: Mapping[str, Any]) -> None:
        """Notes the training rows of a fit that has ended."""
        fits, rows = self._running.pop(model, ()), _rows(arguments.get("x"))
        if rows is None:
            self._states.pop(model, None)
            self._last.pop(model, None)
            return
        new = set(rows)
        fits = tuple(fit for fit in fits if fit.rows != new)  # each epoch may be a fit of the same rows
        table = _table(arguments["x"]) if len(fits) < MOST_TABLES else None
        self._last[model] = (*fits, Fit(new, table))
        self._note(model)

    def loaded(self, model: Any, file: Any) -> None:
        """Notes weights that a model got from a file.

        A file that was written since the last fit began, as by a ModelCheckpoint, has weights of that fit.
        """
        began = self._began.get(model)
        if began is not None and model in self._last and isinstance(file, str | os.PathLike):
            with contextlib.suppress(OSError):
                if os.stat(file).st_mtime >= began:
                    self._note(model)

    def _note(self, model: Any) -> None:
        states = self._states.setdefault(model, {})
        states[_weights(model)] = self._last[model]
        while len(states) > MOST_STATES:
            states.pop(next(iter(states)))

    def judge(self, model: Any, x: Any, place: Place | None, call: str) -> None:
        """Looks at the rows of a call of evaluate or predict.

        They are at fault if an earlier fit than the last one trained on them. Those of the last one may be judged on
        purpose.
        """
        if self.finding is not None or self._judged >= MOST_JUDGED or model not in self._states:
            return
        fits = self._past(model)
        rows = _rows(x) if len(fits) > 1 else None
        if rows is None or len(rows) < LEAST_ROWS:
            return
        self._judged += 1
        earlier, last = fits[:-1], fits[-1]
        if len(last.rows) < SMALLER * len(rows) or np.mean([row in last.rows for row in rows]) > KNOWN:
            return
        told = _seen(x, earlier, last.rows, "rows")
        if not told or _share(list(last.rows), last.table, earlier) < SHARED:
            return
        found = _placed(catalogue.found("validation-trained-on", told, case="judged", call=call), place)
        if call == "predict":
            self.of_predict.append((found, place))
        else:
            self.finding = found

    def _past(self, model: Any) -> tuple[Fit, ...]:
        """Returns the fits that led to the weights that a model has now.

        Weights that no fit left, as those of a new model or of a file, have no past.
        """
        states = self._states.get(model)
        return states.get(_weights(model), ()) if states else ()


def _placed(finding: Finding, place: Place | None) -> Finding:
    return dataclasses.replace(finding, place="" if place is None else place.quoted)


def _seen(x: Any, fits: Sequence[Fit], own: set[bytes], called: str) -> str:
    """Returns a sentence if earlier fits trained on half of the rows, else "".

    Rows of `own`, the training that goes with them, do not count.
    """
    rows = _rows(x)
    if rows is None or len(rows) < LEAST_ROWS:
        return ""
    seen = sum(row not in own and any(row in fit.rows for fit in fits) for row in rows)
    past = "and its weights have not been set back since."
    if seen >= SEEN * len(rows):
        return f"Of {len(rows):,} {called}, an earlier fit of this model trained on {seen:,}, {past}"
    table = _table(x)
    others = np.flatnonzero([row not in own for row in rows])
    if table is None or len(others) < SEEN * len(rows):
        return ""
    chosen = others[:: -(-len(others) // COMPARED)]
    found = int(_found_scaled(table[chosen], fits).sum())
    if found < max(SEEN * len(chosen), LEAST_ROWS):
        return ""
    return (
        f"Of {len(chosen):,} {called} that were looked at, an earlier fit of this model trained on {found:,}, with "
        f"another scale of the columns, {past}"
    )


def _share(rows: Sequence[bytes], table: np.ndarray | None, fits: Sequence[Fit]) -> float:
    """Returns the share of rows that fits trained on, in the same or another scale."""
    same = float(np.mean([any(row in fit.rows for fit in fits) for row in rows]))
    if same >= SHARED or table is None:
        return same
    return float(_found_scaled(table[:: -(-len(table) // COMPARED)], fits).mean())


def _found_scaled(rows: np.ndarray, fits: Sequence[Fit]) -> np.ndarray:
    """Tells of each row whether a fit trained on it in any scale of its columns."""
    found = np.zeros(len(rows), bool)
    for fit in fits:
        if fit.table is not None and fit.table.shape[1] == rows.shape[1] and len(rows) >= LEAST_ROWS:
            found |= _are_in(rows, fit.table)
    return found


def _are_in(rows: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Tells of each row whether it is in a table whose columns are scaled otherwise.

    The scale of each fold differs little from that of others. So the nearest row of the table is mostly the same one,
    and the nearer half of the pairs gives the scale, with which the nearest are looked for again (Chetverikov 2002,
    "The trimmed iterative closest point algorithm").
    """
    spread = table.std(axis=0)
    used = spread > 0
    if not used.any():
        return np.zeros(len(rows), bool)
    given, known = (
        np.asarray((part - table.mean(axis=0))[:, used] / spread[used], np.float64) for part in (rows, table)
    )
    slope, offset = np.ones(given.shape[1]), np.zeros(given.shape[1])
    squares = np.square(known).sum(axis=1)
    for _ in range(ROUNDS):
        moved = (given - offset) / slope
        far = squares - 2 * moved @ known.T
        nearest = far.argmin(axis=1)
        distance = far[np.arange(len(given)), nearest] + np.square(moved).sum(axis=1)
        close = distance.argsort()[: max(LEAST_ROWS, len(given) // 2)]
        ours, theirs = given[close], known[nearest[close]]
        apart = theirs - theirs.mean(axis=0)
        power = np.square(apart).sum(axis=0)
        fitted = (apart * ours).sum(axis=0) / np.maximum(power, 1e-30)
        slope = np.where((power > 0) & (fitted > 0), fitted, 1.0)
        offset = ours.mean(axis=0) - slope * theirs.mean(axis=0)
    off = np.abs(given - offset - slope * known[nearest])
    return np.asarray((off <= OFF * np.maximum(given.std(axis=0), OFF)).all(axis=1))


def _values(x: Any) -> np.ndarray | None:
    """Returns rows as (N, numbers); None where they are not known, or are one number."""
    leaves = keras.tree.flatten(x)
    if not leaves or not hasattr(leaves[0], "__array__") or len(leaves[0].shape) < 2:
        return None
    values = np.asarray(leaves[0])
    if values.nbytes > MOST_BYTES or values.dtype.kind not in "fiub" or not len(values) or values[0].size < 2:
        return None
    return values.reshape(len(values), -1)


def _rows(x: Any) -> list[bytes] | None:
    """Returns a digest of each row; None where the rows are not known."""
    flat = _values(x)
    if flat is None:
        return None
    chosen = flat[:, :: -(-flat.shape[1] // OF_ROW)]
    return [
        hashlib.blake2b(row, digest_size=DIGEST_BYTES).digest()
        for start in range(0, len(chosen), AT_ONCE)
        for row in np.ascontiguousarray(chosen[start : start + AT_ONCE], np.float32)
    ]


def _table(x: Any) -> np.ndarray | None:
    """Returns numbers of each row, float32; None where there are too many rows."""
    flat = _values(x)
    if flat is None or len(flat) > MOST_TABLE_ROWS:
        return None
    table = flat[:, :: -(-flat.shape[1] // MOST_COLUMNS)].astype(np.float32)
    return table if np.isfinite(table).all() else None


def _weights(model: Any) -> bytes:
    """Returns a digest of the weights of a model."""
    parts = (np.asarray(v).reshape(-1)[:MOST_NUMBERS].tobytes() for v in model.trainable_variables)
    return hashlib.blake2b(b"".join(parts), digest_size=16).digest()
