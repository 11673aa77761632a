"""Defines the predictions of a model and writes them as predictions-SPLIT.csv."""

from __future__ import annotations

import csv
import dataclasses
import io

import numpy as np

from trainer.evaluation.scores import calibration
from trainer.evaluation.slices import NO_METADATA, Metadata

COLUMNS = ("key", "label", "predicted", "probability")
MOST_CLASSES = 100  # each has a column; with more classes the file would be mostly zeros


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Holds the logits of one model for N records of a split.

    names: names of the classes in the order of their ids. keys: keys of the records. labels: int64 (N,), true ids.
    logits: float32 (N, C); their softmax gives the probabilities before calibration.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]
    labels: np.ndarray
    logits: np.ndarray

    def answers(self) -> np.ndarray:
        """Returns the id of the most probable class of each record, int64 (N,).

        No temperature changes it.
        """
        return self.logits.argmax(axis=1) if len(self.labels) else np.zeros(0, np.int64)

    def probabilities(self, temperature: float = 1.0) -> np.ndarray:
        """Returns the probabilities at a temperature, float64 (N, C)."""
        return calibration.softmax(self.logits, temperature)


def to_csv(found: Predictions, temperature: float, metadata: Metadata = NO_METADATA) -> str:
    """Renders the predictions as CSV, one line per record.

    The columns are the key, the true class, the answer, its probability, and the probability of every class. All
    probabilities are calibrated with `temperature`. The columns of the classes are left out if there are more than
    MOST_CLASSES. Those that travel along are the last ones, under the names that records have for them.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    names = found.names if len(found.names) <= MOST_CLASSES else ()
    writer.writerow([*COLUMNS, *(f"probability of {name}" for name in names), *metadata.features])
    given = found.probabilities(temperature)
    answers = found.answers().tolist()
    cells = metadata.rows(len(found.keys))
    for key, label, answer, row, others in zip(found.keys, found.labels.tolist(), answers, given, cells, strict=True):
        shares = [format(float(value), ".6g") for value in (row[answer], *(row if names else ()))]
        writer.writerow([key, found.names[label], found.names[answer], *shares, *others])
    return text.getvalue()
