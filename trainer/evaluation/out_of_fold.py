"""Puts together the answers on each fold by the network that has not seen it.

These out-of-fold predictions judge a way of training on every image of train, each image once.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from trainer.config import TrainerError
from trainer.data.fold_names import OUT_OF_FOLD
from trainer.evaluation import compare
from trainer.evaluation.compare import Spread

NAME = OUT_OF_FOLD
P = TypeVar("P")


class Fold(NamedTuple):
    """Describes the network of one fold.

    number: of the fold. records: originals of the fold. kept: the epoch whose weights were kept; 0 is a fitted head.
    scores: of the network on the fold, by name.
    last: the score by which the epoch was chosen, on the fold at the last epoch; NaN if none was chosen.
    best: the same at the kept epoch.
    """

    number: int
    records: int
    kept: int
    scores: Mapping[str, float]
    best: float
    last: float


@dataclasses.dataclass(frozen=True)
class Folds:
    """Describes all networks of a cross-validation.

    count: folds of a repeat. repeats: how often train was divided. digest: SHA-256 of the dataset's folds.json.
    chosen: the name of the score by which epochs were kept; "" if the last ones were kept.
    served: what the run exports, in words.
    """

    count: int
    repeats: int
    digest: str
    chosen: str
    served: str
    folds: tuple[Fold, ...]

    @property
    def spreads(self) -> dict[str, Spread]:
        """Returns the spread of each score over the folds in which it has a value."""
        found = {}
        for name in self.folds[0].scores:
            values = [value for fold in self.folds if not math.isnan(value := fold.scores[name])]
            if values:
                found[name] = compare.spread(values)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns the part of metrics.json about the folds; None for undefined numbers."""

        def plain(value: float) -> float | None:
            return None if math.isnan(value) else value

        return {
            "count": self.count,
            "repeats": self.repeats,
            "digest": self.digest,
            "served": self.served,
            "epochs_kept_by": self.chosen or None,
            "spread": {name: dataclasses.asdict(value) for name, value in self.spreads.items()},
            "per_fold": [
                {
                    "fold": fold.number,
                    "records": fold.records,
                    "kept_epoch": fold.kept,
                    "scores": {name: plain(value) for name, value in fold.scores.items()},
                    "at_kept_epoch": plain(fold.best),
                    "at_last_epoch": plain(fold.last),
                }
                for fold in self.folds
            ],
        }


def part_name(repeat: int) -> str:
    """Returns the name of the out-of-fold predictions of a repeat."""
    return f"{NAME}-{repeat}" if repeat else NAME


def pooled(found: Sequence[P], keys: Sequence[str]) -> P:
    """Puts together predictions on several folds, in the order of `keys`.

    Args:
      found: dataclasses of one kind, with `keys` of N records and arrays of N rows.

    Raises:
      TrainerError: a record was not answered, or two times.
    """
    values: Any = [vars(one) for one in found]
    answered = [key for one in values for key in one["keys"]]
    place = {key: index for index, key in enumerate(answered)}
    if len(place) != len(answered) or set(place) != set(keys):
        raise TrainerError(
            f"Each of {len(keys)} images should be answered by one network. {len(answered)} answers were found on "
            f"{len(place)} images: the dataset has changed since the folds were trained. Train again without --resume."
        )
    which = np.array([place[key] for key in keys])
    arrays = {
        name: np.concatenate([one[name] for one in values])[which]
        for name, value in values[0].items()
        if isinstance(value, np.ndarray)
    }
    made: Any = found[0]
    whole: P = dataclasses.replace(made, keys=tuple(keys), **arrays)
    return whole


def with_places(table: str, sources: Mapping[str, str], folds: Mapping[str, int] | None = None) -> str:
    """Returns a table of predictions with `source` and `fold` after `key`.

    Args:
      table: the text of a predictions-SPLIT.csv.
      sources: key -> URI of the original image; "" for a key that is missing.
      folds: key -> number of the fold; None: there is no such column.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    rows = csv.reader(io.StringIO(table, newline=""))
    key, *rest = next(rows)
    writer.writerow([key, "source", *([] if folds is None else ["fold"]), *rest])
    for key, *rest in rows:
        writer.writerow([key, sources.get(key, ""), *([] if folds is None else [folds[key]]), *rest])
    return text.getvalue()
