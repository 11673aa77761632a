"""What a model answered, record by record, and the file of a run that keeps it: `predictions-SPLIT.csv`."""

from __future__ import annotations

import csv
import dataclasses
import io

import numpy as np

from trainer.evaluation import calibration

COLUMNS = ("key", "label", "predicted", "probability")
MOST_CLASSES = 100  # with a column each; beyond it the file would be mostly zeros


@dataclasses.dataclass(frozen=True)
class Predictions:
    """One model on N records of a split.

    names: of the classes, in order of the ids. keys: of the records. labels: int64 (N,), true ids.
    logits: float32 (N, C); their softmax are the probabilities before calibration.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]
    labels: np.ndarray
    logits: np.ndarray

    def answers(self) -> np.ndarray:
        """int64 (N,): the most probable class, which no temperature changes."""
        return self.logits.argmax(axis=1) if len(self.labels) else np.zeros(0, np.int64)

    def probabilities(self, temperature: float = 1.0) -> np.ndarray:
        """float64 (N, C)."""
        return calibration.softmax(self.logits, temperature)


def to_csv(found: Predictions, temperature: float) -> str:
    """A line a record: key, true class, answer, its probability, and the calibrated probability of every class."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    names = found.names if len(found.names) <= MOST_CLASSES else ()
    writer.writerow([*COLUMNS, *(f"probability of {name}" for name in names)])
    given = found.probabilities(temperature)
    answers = found.answers().tolist()
    for key, label, answer, row in zip(found.keys, found.labels.tolist(), answers, given.tolist(), strict=True):
        shares = [format(value, ".6g") for value in (row[answer], *(row if names else ()))]
        writer.writerow([key, found.names[label], found.names[answer], *shares])
    return text.getvalue()
