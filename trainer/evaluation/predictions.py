"""Defines the predictions of a model and writes them as predictions-SPLIT.csv."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from trainer.evaluation.scores import calibration
from trainer.evaluation.slices import NO_METADATA, Metadata

COLUMNS = ("key", "label", "predicted", "probability")
MOST_CLASSES = 100  # each has a column; with more classes the file would be mostly zeros
LIKELIEST = 5  # classes of a record whose probabilities are written where there are more
OF_LABEL = "probability of the label"
NEXT = tuple((f"class {rank}", f"probability of class {rank}") for rank in range(2, LIKELIEST + 1))  # of rank 2 and on


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
    probabilities are calibrated with `temperature`. If there are more than MOST_CLASSES, the columns of all classes are
    replaced by the probability of the true class and by the LIKELIEST classes with their probabilities. Those that
    travel along are the last ones, under the names that records have for them.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    are_all = len(found.names) <= MOST_CLASSES
    shown = [f"probability of {name}" for name in found.names] if are_all else [OF_LABEL, *itertools.chain(*NEXT)]
    writer.writerow([*COLUMNS, *shown, *metadata.features])
    given = found.probabilities(temperature)
    answers = found.answers().tolist()
    cells = metadata.rows(len(found.keys))
    for key, label, answer, row, others in zip(found.keys, found.labels.tolist(), answers, given, cells, strict=True):
        shares = map(_share, row) if are_all else _likeliest(row, label, answer, found.names)
        writer.writerow([key, found.names[label], found.names[answer], _share(row[answer]), *shares, *others])
    return text.getvalue()


def _likeliest(given: np.ndarray, label: int, answer: int, names: Sequence[str]) -> Iterator[str]:
    """Yields the cells of the columns OF_LABEL and NEXT.

    Args:
      given: float64 (C,), the probabilities of a record.
    """
    yield _share(given[label])
    others = np.where(np.arange(len(given)) == answer, -1.0, given)
    likeliest = np.argpartition(-others, len(NEXT))[: len(NEXT)]
    for at in likeliest[np.argsort(-others[likeliest], kind="stable")].tolist():
        yield names[at]
        yield _share(given[at])


def _share(value: float) -> str:
    return format(float(value), ".6g")
