"""Notes which statistics of data scaled or cut which rows of numbers into bins.

A Normalization or Discretization that is adapted to the test data alone gives the same number another value there.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.subject.subject import Split
from trainer.doctor.subject.training import Place

LAYERS = (keras.layers.Normalization, keras.layers.Discretization)
MOST_CALLS = 16  # that are noted
COMPARED = 64  # rows of each split that are looked for
SHIFTED = 0.5  # deviations, on average over the columns; of 300 rows each, two halves of one set differ by 0.06
REBINNED = 0.3  # share of the numbers that fall into another bin; of 10 bins and 300 rows, two halves differ by 0.15
GRID = 16  # numbers that are put into bins, between two boundaries


@dataclasses.dataclass(frozen=True)
class Made:
    """Holds the first rows that a layer made, float32 (N, D)."""

    layer: Any
    rows: np.ndarray


class StatisticsApart:
    """Holds what such layers made in eager mode.

    places: layer -> the line of its adapt.
    """

    def __init__(self) -> None:
        self.places: dict[Any, Place | None] = {}
        self.made: list[Made] = []

    def note(self, layer: Any, outputs: Any) -> None:
        """Notes what a layer made of rows."""
        if len(self.made) < MOST_CALLS and hasattr(outputs, "numpy") and len(outputs.shape) in (1, 2):
            rows = np.asarray(outputs[:COMPARED], np.float32)
            if len(rows) == COMPARED:
                self.made.append(Made(layer, rows.reshape(COMPARED, -1)))

    def compare(self, train: Split | None, other: Split | None) -> list[Finding]:
        """Finds rows of two splits that two layers made of other statistics."""
        if train is None or other is None or not self.made:
            return []
        for ours in self._makers(train):
            for theirs in self._makers(other):
                if ours is theirs or type(ours) is not type(theirs):
                    continue
                told = _bins(ours, theirs) if hasattr(ours, "bin_boundaries") else _scales(ours, theirs)
                if told:
                    kind, place = type(ours).__name__, self.places.get(theirs)
                    found = catalogue.found("statistics-differ", told, kind=kind, split=other.name)
                    return [dataclasses.replace(found, place="" if place is None else place.quoted)]
        return []

    def _makers(self, split: Split) -> list[Any]:
        """Returns the layers that made columns of the first rows of a split."""
        found = []
        for leaf in keras.tree.flatten(split.sample.inputs) if len(split.sample) >= COMPARED else ():
            table = np.asarray(leaf[:COMPARED], np.float32).reshape(min(len(leaf), COMPARED), -1)
            for made in self.made:
                width = made.rows.shape[1]
                parts = (table[:, at : at + width] for at in range(table.shape[1] - width + 1))
                if len(table) == COMPARED and any(np.array_equal(part, made.rows) for part in parts):
                    found.append(made.layer)
        return found


def _scales(ours: Any, theirs: Any) -> str:
    """Returns a sentence if two Normalization layers scale by far otherwise."""
    means, variances = ([np.asarray(getattr(layer, name), np.float64).ravel() for layer in (ours, theirs)]
                        for name in ("mean", "variance"))  # fmt: skip
    if means[0].shape != means[1].shape:
        return ""
    deviations = [np.sqrt(np.maximum(variance, 1e-12)) for variance in variances]
    # What is one deviation above and below the mean of the one, in deviations of the other.
    shift, ratio = np.abs(means[1] - means[0]) / deviations[0], deviations[1] / deviations[0]
    moved = np.maximum(shift, np.abs(ratio - 1))
    if moved.mean() < SHIFTED:
        return ""
    at = int(moved.argmax())
    return (
        f"The mean and the deviation of column {at} are {means[0][at]:.4g} and {deviations[0][at]:.4g} in the one, and "
        f"{means[1][at]:.4g} and {deviations[1][at]:.4g} in the other. The same number differs by {moved.mean():.2f} "
        f"deviations, on average over {len(moved)} columns."
    )


def _bins(ours: Any, theirs: Any) -> str:
    """Returns a sentence if two Discretization layers cut by far otherwise."""
    one, other = (np.asarray(layer.bin_boundaries, np.float64).ravel() for layer in (ours, theirs))
    if min(len(one), len(other)) < 1:
        return ""
    numbers = np.interp(np.linspace(0, len(one) - 1, GRID * len(one)), np.arange(len(one)), one)
    moved = float(np.mean(np.digitize(numbers, one) != np.digitize(numbers, other)))
    if moved < REBINNED:
        return ""
    return (
        f"The one has the boundaries {_short(one)}, the other {_short(other)}: {moved:.0%} of the numbers between "
        "those of training fall into another bin."
    )


def _short(values: np.ndarray) -> str:
    return ", ".join(f"{value:.4g}" for value in values[:4]) + (" ..." if len(values) > 4 else "")
