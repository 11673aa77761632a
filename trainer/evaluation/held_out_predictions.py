"""Gathers the predictions of records by models that did not see them.

They are read from the predictions-SPLIT.csv of runs: of splits that were not trained on, and the out-of-fold ones of
train. Several runs, or repeats of folds, may judge parts of the records, or the same ones: then their mean counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines import contract as contracts
from pipelines.contract.task import CLASSES, MULTI_LABEL, labels_text
from pipelines.core.text import listed
from pipelines.options import config_file
from trainer import run_dir
from trainer.config import TRAIN_SPLIT, TrainConfig, TrainerError
from trainer.data import origins
from trainer.evaluation import label_check, predictions, run_predictions
from trainer.evaluation.label_check import Doubts

OUT_OF_FOLD = "out-of-fold"  # begins what stands in place of a split in the name of the file: records of train
ORIGINAL = "-000"  # ends the key of a record that is no copy
PROBABILITY, IS, TRUE, ANSWER = "probability of ", "is ", "true ", "answer "  # before a name, in a column


class Judged(NamedTuple):
    """Holds the records that were judged.

    kind: of the task. names: of the classes, labels or targets. keys: of N records. places: the dataset and the split
    of each. truth: int64 (N,), bool (N, K) or float64 (N, K). given: the probabilities or the answers, float64 (N, K);
    of more than 100 classes float32, with the likeliest classes of each record only.
    splits: what was judged, for people.
    """

    kind: str
    names: tuple[str, ...]
    keys: tuple[str, ...]
    places: tuple[tuple[str, str], ...]
    truth: np.ndarray
    given: np.ndarray
    splits: tuple[str, ...]

    def doubts(self) -> Doubts:
        """Returns the records whose label is doubted."""
        if self.kind == CLASSES:
            return label_check.of_classes(self.truth, self.given)
        return (label_check.of_labels if self.kind == MULTI_LABEL else label_check.of_numbers)(self.truth, self.given)

    def text(self, value: np.ndarray) -> str:
        """Returns a label, or what is suggested for it, as ledgers have it."""
        if self.kind == CLASSES:
            return self.names[int(value)]
        if self.kind == MULTI_LABEL:
            return labels_text(name for name, has in zip(self.names, value.tolist(), strict=True) if has)
        return ",".join(format(number, ".6g") for number in value.tolist())

    @property
    def agreement(self) -> float:
        """Returns the share of the labels that are the predictions' own answers.

        It is NaN of numbers, and without records.
        """
        if not self.keys or self.kind not in (CLASSES, MULTI_LABEL):
            return float("nan")
        said = self.given.argmax(axis=1) if self.kind == CLASSES else self.given > 0.5
        return float((said == self.truth).mean())


class Doubt(NamedTuple):
    """Describes a record whose label is doubted.

    of_label, of_suggested: their probabilities; NaN if there are none. margin: as `label_check` has it.
    """

    key: str
    path: str
    data: str
    split: str
    label: str
    suggested: str
    margin: float
    of_label: float = math.nan
    of_suggested: float = math.nan


def doubts(judged: Judged, found: Doubts, most: int) -> list[Doubt]:
    """Returns the surest doubts, with the paths of their images.

    Raises:
      TrainerError: a ledger is missing or damaged.
    """
    paths: dict[tuple[str, str], dict[str, str]] = {}
    made = []
    for at, margin, suggested in list(
        zip(found.positions.tolist(), found.margins.tolist(), found.suggested, strict=True)
    )[:most]:
        place, key = judged.places[at], judged.keys[at]
        if place not in paths:
            paths[place] = origins.paths(*place)
        truth, given = judged.truth[at], judged.given[at]
        data, split = place
        doubt = Doubt(key, paths[place].get(key, ""), data, split, judged.text(truth), judged.text(suggested), margin)
        if judged.truth.ndim == 1:
            doubt = doubt._replace(of_label=float(given[int(truth)]), of_suggested=float(given[int(suggested)]))
        made.append(doubt)
    return made


def read(runs: Sequence[str], data: str = "") -> Judged:
    """Reads the predictions of runs.

    Args:
      runs: directories of trainings, or of evaluations.
      data: the dataset; "" is that of each run.

    Raises:
      TrainerError: a run has no predictions, or they do not fit the dataset or one another.
    """
    found: dict[str, tuple[tuple[str, str], np.ndarray, list[np.ndarray]]] = {}
    splits: list[str] = []
    contract = None
    for run in runs:
        directory = data or _data_of(run)
        contract = contract or contracts.load(directory)
        of_run = contracts.load(directory)
        if (of_run.task.kind, of_run.labels, of_run.task.targets) != (
            contract.task.kind, contract.labels, contract.task.targets
        ):  # fmt: skip
            raise TrainerError(f"{run!r} answers something else than {runs[0]!r}: check the labels of each alone.")
        for split in _splits(run):
            splits.append(f"{split} of {Path(run).name or run}")
            place = (directory, TRAIN_SPLIT if split.startswith(OUT_OF_FOLD) else split)
            for key, truth, given in _rows(run, split, contract):
                before = found.setdefault(key, (place, truth, []))
                if not np.array_equal(before[1], truth):
                    raise TrainerError(
                        f"Record {key} has two labels in these runs: check runs of one dataset together."
                    )
                before[2].append(given)
    if contract is None or not found:
        raise TrainerError(f"No record was judged by {listed(map(repr, runs), 3)}.")
    names = contract.task.targets or contract.labels
    return Judged(
        contract.task.kind,
        names,
        tuple(found),
        tuple(place for place, *_ in found.values()),
        np.stack([truth for _, truth, _ in found.values()]),
        np.stack([np.mean(given, axis=0) for *_, given in found.values()]),
        tuple(splits),
    )


def _data_of(run: str) -> str:
    path = run_dir.Run(run).config
    if not path.is_file():
        raise TrainerError(f"{run!r} does not say which dataset it was made of: name it with --data DIR.")
    return str(config_file.read(path, TrainConfig)["data"])


def _splits(run: str) -> list[str]:
    """Returns the splits of which a run has predictions, but for train."""
    before, _, after = run_dir.predictions_file("*").partition("*")
    found = sorted(
        file.name.removeprefix(before).removesuffix(after) for file in Path(run).glob(run_dir.predictions_file("*"))
    )
    if not found:
        raise TrainerError(
            f"{run!r} should be a finished training run, or what `evaluate --output DIR` wrote. It has no predictions."
        )
    return [split for split in found if split != TRAIN_SPLIT]


def _rows(run: str, split: str, contract: contracts.Contract) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Returns (key, label, prediction) of the originals in a file of predictions."""
    rows = [row for row in run_predictions.rows(run, split) if row["key"].endswith(ORIGINAL)]
    columns = run_predictions.columns_of(run, split)
    names = contract.task.targets or contract.labels
    before = ANSWER if contract.task.targets else PROBABILITY
    if contract.task.kind == CLASSES and len(names) > predictions.MOST_CLASSES:
        return _rows_of_many(run, split, rows, contract.labels)
    absent = [name for name in names if f"{before}{name}" not in columns]
    if absent:
        raise TrainerError(
            f"{str(run_predictions.path_of(run, split))!r} has no column {before + absent[0]!r}. It should have one "
            "for each class, label or number: evaluate again."
        )
    ids = {name: i for i, name in enumerate(contract.labels)}
    try:
        return [(row["key"], _truth(row, contract, ids), _numbers(row, before, names)) for row in rows]
    except (KeyError, ValueError, TypeError) as e:
        path = str(run_predictions.path_of(run, split))
        raise TrainerError(f"{path!r} should be as training wrote it ({type(e).__name__}: {e}).") from e


def _rows_of_many(
    run: str, split: str, rows: Sequence[dict[str, str]], labels: Sequence[str]
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Returns what `_rows` does, of a file with the likeliest classes only.

    The probability of the others counts as 0: each of them is smaller than those that are known.
    """
    ids = {name: i for i, name in enumerate(labels)}
    found = []
    try:
        for row in rows:
            given = np.zeros(len(labels), np.float32)
            given[ids[row["label"]]] = float(row[predictions.OF_LABEL])
            for name, share in (("predicted", "probability"), *predictions.NEXT):
                given[ids[row[name]]] = float(row[share])
            found.append((row["key"], np.array(ids[row["label"]]), given))
    except (KeyError, ValueError, TypeError) as e:
        path = str(run_predictions.path_of(run, split))
        raise TrainerError(
            f"{path!r} should have for each record the {predictions.LIKELIEST} likeliest classes and their "
            f"probabilities, as this version writes them ({type(e).__name__}: {e}): evaluate again with --output DIR."
        ) from e
    return found


def _truth(row: dict[str, str], contract: contracts.Contract, ids: dict[str, int]) -> np.ndarray:
    if contract.task.kind == CLASSES:
        return np.array(ids[row["label"]])
    if contract.task.kind == MULTI_LABEL:
        return _numbers(row, IS, contract.labels) > 0.5
    return _numbers(row, TRUE, contract.task.targets)


def _numbers(row: dict[str, str], before: str, names: Sequence[str]) -> np.ndarray:
    return np.array([float(row[before + name]) for name in names])
