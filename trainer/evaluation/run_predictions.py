"""Reads the predictions of finished runs and matches them by record."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from pipelines.core.text import listed
from pipelines.options import config_fields, config_file
from trainer import run_dir
from trainer.config import TrainConfig, TrainerError
from trainer.data.fold_names import is_out_of_fold
from trainer.evaluation.scores import class_scores

NAMED = 3  # records in a message
UNLIKE = ("seed", "output")  # options that do not make another setting


@dataclasses.dataclass(frozen=True)
class Answers:
    """Holds the answers of a run on a split.

    name: directory of the run. keys: keys of N records, sorted. labels, predicted: true and predicted names, (N,).
    config: the options of the run; empty if the directory has none. folds: the fold of each record, int64 (N,), if
    these are out-of-fold predictions.
    """

    name: str
    keys: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    config: dict[str, Any]
    folds: np.ndarray | None = None

    @property
    def right(self) -> np.ndarray:
        """Returns whether each answer is right, bool (N,)."""
        right: np.ndarray = self.labels == self.predicted
        return right

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    @property
    def balanced_accuracy(self) -> float:
        return class_scores.balanced_accuracy(self.matrix)

    @property
    def classes(self) -> list[str]:
        """Returns the names of the classes that have records or were predicted."""
        return sorted({*self.labels.tolist(), *self.predicted.tolist()})

    @property
    def matrix(self) -> np.ndarray:
        """Returns the confusion matrix over `classes`."""
        ids = {name: i for i, name in enumerate(self.classes)}
        true, given = ([ids[name] for name in column.tolist()] for column in (self.labels, self.predicted))
        return class_scores.confusion_matrix(np.array(true), np.array(given), len(ids))

    @property
    def recalls(self) -> dict[str, float]:
        """Returns the recall of every class that has records."""
        values = zip(self.classes, class_scores.recall(self.matrix).tolist(), strict=True)
        return {name: value for name, value in values if not math.isnan(value)}

    @property
    def setting(self) -> str:
        """Returns a key that is equal for runs that differ in their seed only."""
        return setting_of(self.name, self.config)


class Recorded(Protocol):
    """Says which records a run answered, and their truth, (N,)."""

    @property
    def name(self) -> str: ...

    @property
    def keys(self) -> tuple[str, ...]: ...

    @property
    def labels(self) -> np.ndarray: ...


def setting_of(name: str, config: Mapping[str, Any]) -> str:
    """Returns a key that is equal for runs that differ in their seed only.

    Args:
      name: of the run, which is the key of a run without options. config: its options.
    """
    if not config:
        return name
    return json.dumps({k: v for k, v in config.items() if k not in UNLIKE}, sort_keys=True)


def read(directory: str, split: str) -> Answers:
    """Reads the answers on a split from a run's directory.

    Raises:
      TrainerError: the directory has no answers on this split, or the file differs from what training and evaluation
        write.
    """
    try:
        found = sorted((row["key"], row["label"], row["predicted"], row.get("fold")) for row in rows(directory, split))
        keys, labels, predicted, folds = zip(*found, strict=True)
        of_records = None if folds[0] is None else np.array(list(map(int, folds)))
    except (KeyError, TypeError, ValueError) as e:
        path = path_of(directory, split)
        raise TrainerError(f"{str(path)!r} should be as training wrote it ({type(e).__name__}: {e}).") from e
    return Answers(directory, keys, np.array(labels), np.array(predicted), config_of(directory), of_records)


def path_of(directory: str, split: str) -> Path:
    """Returns the path of the predictions of a run on a split."""
    return Path(directory) / run_dir.predictions_file(split)


def columns_of(directory: str, split: str) -> list[str]:
    """Reads the names of the columns of a run's predictions on a split.

    Raises:
      TrainerError: the directory has no answers on this split, or the file is not one in UTF-8.
    """
    with _opened(path_of(directory, split), directory, split) as file:
        return list(csv.DictReader(file).fieldnames or ())


def rows(directory: str, split: str) -> list[dict[str, str]]:
    """Reads the predictions of a run on a split, by column.

    Raises:
      TrainerError: as `columns_of`, or the file holds no records.
    """
    path = path_of(directory, split)
    with _opened(path, directory, split) as file:
        found = list(csv.DictReader(file))
    if not found:
        raise TrainerError(f"{str(path)!r} holds no records: there is nothing to compare.")
    return found


@contextlib.contextmanager
def _opened(path: Path, directory: str, split: str) -> Iterator[TextIO]:
    """Opens the predictions of a run; turns errors into a TrainerError."""
    if not path.is_file():
        raise TrainerError(
            f"{directory!r} should be a training run, or what `evaluate --output DIR` wrote, with answers on split "
            f"{split!r}. It has no {path.name}: train or evaluate again."
        )
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield file
    except (UnicodeDecodeError, csv.Error) as e:
        raise TrainerError(f"{str(path)!r} should be as training wrote it ({type(e).__name__}: {e}).") from e


def check_same_records(runs: Sequence[Recorded]) -> None:
    """Checks that all runs have answers on the same records.

    Raises:
      TrainerError: a record is missing in a run, occurs twice, or has another label; the message names the runs and
        the records.
    """
    first = runs[0]
    for other in runs[1:]:
        for one, two in ((first, other), (other, first)):
            lacking = sorted(set(one.keys) - set(two.keys))
            if lacking:
                raise TrainerError(
                    f"Runs should be compared on the same records. {one.name!r} has {len(lacking)} records that "
                    f"{two.name!r} does not have: {listed(lacking, NAMED)}. Evaluate both on one dataset (`evaluate "
                    "--output DIR`)."
                )
        if first.keys != other.keys:
            raise TrainerError(f"{first.name!r} or {other.name!r} has a record several times: evaluate it again.")
        unlike = [key for key, same in zip(first.keys, first.labels == other.labels, strict=True) if not same]
        if unlike:
            raise TrainerError(
                f"Runs should be compared on the same labels. {len(unlike)} records have another one in {other.name!r} "
                f"than in {first.name!r}: {listed(unlike, NAMED)}."
            )


def check_same_folds(directories: Sequence[str], split: str) -> int:
    """Checks that out-of-fold predictions are of one division into folds.

    Returns:
      The number of folds of a repeat; 0 if the split has no out-of-fold predictions.

    Raises:
      TrainerError: the runs have other folds, or one of them has none; the message names the runs.
    """
    if not is_out_of_fold(split):
        return 0
    found = {}
    for directory in directories:
        path = run_dir.Run(directory).metrics
        try:
            folds = json.loads(path.read_text(encoding="utf-8"))["folds"]
            found[directory] = str(folds["digest"]), int(folds["count"])
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise TrainerError(
                f"{directory!r} should be a run of `train --folds all` to be compared by fold. Its {path.name} says "
                f"nothing of folds ({type(e).__name__})."
            ) from e
    first, *others = directories
    for other in others:
        if found[other] != found[first]:
            raise TrainerError(
                f"Runs should be compared on the same folds. {first!r} and {other!r} were trained on other ones "
                "(folds.json differs): train both on one dataset."
            )
    return found[first][1]


def config_of(directory: str) -> dict[str, Any]:
    """Reads the options that decide the result of a run.

    The dictionary is empty for a directory that an evaluation wrote.
    """
    path = run_dir.Run(directory).config
    found = config_file.read(path, TrainConfig) if path.is_file() else {}
    return {f.name: found[f.name] for f in config_fields.options(TrainConfig) if f.compare and f.name in found}
