"""Compares runs that answer labels or numbers on the same records.

`evaluation.compare` compares classifiers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.core.text import listed
from trainer.config import TrainerError
from trainer.evaluation import compare, run_predictions
from trainer.evaluation.compare import Spread
from trainer.evaluation.scores import intervals
from trainer.evaluation.scores.intervals import Interval
from trainer.tasks.kinds import COMPARABLE
from trainer.tasks.task import Comparable, Compared


@dataclasses.dataclass(frozen=True)
class Run:
    """Holds the answers of a run on a split.

    name: its directory. found: the answers, sorted by key. config: the options of the run; empty if the directory has
    none. folds: the fold of each record, int64 (N,), if these are out-of-fold predictions.
    """

    name: str
    found: Compared
    config: Mapping[str, Any]
    folds: np.ndarray | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        return self.found.keys

    @property
    def labels(self) -> np.ndarray:
        """Returns the truth of each record as text, (N,)."""
        return np.array([row.tobytes().hex() for row in self.found.truth])

    @property
    def setting(self) -> str:
        """Returns a key that is equal for runs that differ in their seed only."""
        return run_predictions.setting_of(self.name, self.config)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Holds the scores of the runs that differ in their seed only.

    drawn: score -> the mean over the runs in each bootstrap resample, float64 (R,). spreads: of each score.
    """

    name: str
    runs: tuple[str, ...]
    drawn: Mapping[str, np.ndarray]
    spreads: Mapping[str, Spread]


@dataclasses.dataclass(frozen=True)
class Difference:
    """Describes how a score of a setting differs from that of the first setting.

    value: the second minus the first. interval: its paired 95 % interval over records. seeds_interval: that over pairs
    of equal seeds, by Student's t; None for fewer than two pairs. verdict: "better", "worse" or "no clear difference".
    folds_interval: that over folds, paired by fold; None if these are not out-of-fold predictions.
    """

    first: str
    second: str
    score: str
    value: float
    interval: Interval
    seeds_interval: Interval | None
    verdict: str
    folds_interval: Interval | None = None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Holds the scores of runs on a split, and the differences of settings.

    scores, intervals: for each run, by score. differences: of each further setting to the first one, by score.
    """

    split: str
    kind: str
    records: int
    runs: tuple[Run, ...]
    scores: tuple[Mapping[str, float], ...]
    intervals: tuple[Mapping[str, Interval], ...]
    settings: tuple[Setting, ...]
    differences: tuple[Difference, ...]


def compare_runs(directories: Sequence[str], split: str) -> Comparison:
    """Reads the answers of runs on a split and compares them.

    Raises:
      TrainerError: there are fewer than two runs, they have different tasks, labels or numbers, a run has no answers on
        the split, or the answers are not on the same records.
    """
    compare.check_directories(directories)
    folds = run_predictions.check_same_folds(directories, split)
    found = [_read(directory, split) for directory in directories]
    task, runs = found[0][0], [run for _, run in found]
    for other, run in found[1:]:
        if other.kind != task.kind:
            raise TrainerError(
                f"Runs should be compared on one task. {runs[0].name!r} has the task {task.kind}, and {run.name!r} "
                f"{other.kind}: compare runs of one dataset."
            )
        if run.found.names != runs[0].found.names:
            raise TrainerError(
                f"Runs should be compared on the same answers. {runs[0].name!r} has "
                f"{listed(runs[0].found.names, 12)}, and {run.name!r} {listed(run.found.names, 12)}."
            )
    run_predictions.check_same_records(runs)
    return _compared(task, split, runs, folds)


def _read(directory: str, split: str) -> tuple[Comparable, Run]:
    """Reads the answers of a run, with the task that its columns are of."""
    rows = run_predictions.rows(directory, split)
    columns = list(rows[0])
    task = next((t for t in COMPARABLE if any(name.startswith(t.column) for name in columns)), None)
    try:
        if task is None:
            raise ValueError("no columns of labels or of numbers")
        ordered = sorted(rows, key=lambda row: row["key"])
        found = task.compared({name: [row[name] for row in ordered] for name in columns})
        folds = np.array([int(row["fold"]) for row in ordered]) if "fold" in columns else None
    except (KeyError, TypeError, ValueError) as e:
        path = run_predictions.path_of(directory, split)
        raise TrainerError(f"{str(path)!r} should be as training wrote it ({type(e).__name__}: {e}).") from e
    return task, Run(directory, found, run_predictions.config_of(directory), folds)


def _compared(task: Comparable, split: str, runs: Sequence[Run], folds: int) -> Comparison:
    records, cells = len(runs[0].keys), 4 * len(runs[0].found.names)
    once = [{n: float(v[0]) for n, v in task.scores(run.found, np.ones((1, records))).items()} for run in runs]
    # The same resamples of records for all runs: the differences are paired.
    parts = [[task.scores(run.found, draws) for run in runs] for draws in intervals.draws(records, cells)]
    drawn = [{name: np.concatenate([part[i][name] for part in parts]) for name in once[0]} for i in range(len(runs))]
    of = {id(run): i for i, run in enumerate(runs)}
    groups = compare.grouped(runs)
    # With one setting only, the runs are compared with each other: they differ in their seeds.
    apart = groups if len(groups) > 1 else [(run.name, (run,)) for run in runs]

    def setting(name: str, members: tuple[Run, ...]) -> Setting:
        own = [of[id(run)] for run in members]
        means = {score: np.mean([drawn[i][score] for i in own], axis=0) for score in once[0]}
        spreads = {score: compare.spread([once[i][score] for i in own]) for score in once[0]}
        return Setting(name, tuple(run.name for run in members), means, spreads)

    first, *others = [setting(*group) for group in apart]
    differences = []
    own_folds = _of_folds(task, runs, folds)
    for other, (_, members) in zip(others, apart[1:], strict=True):
        pairs = [(of[id(a)], of[id(b)]) for a, b in compare.pairs(apart[0][1], members)]
        for score in once[0]:
            value = other.spreads[score].mean - first.spreads[score].mean
            reach = intervals.corrected(other.drawn[score] - first.drawn[score], value)
            of_seeds = [once[b][score] - once[a][score] for a, b in pairs]
            seeds = intervals.student(of_seeds) if len(of_seeds) > 1 else None
            over = _over_folds(own_folds, [[of[id(run)] for run in m] for m in (apart[0][1], members)], score, folds)
            verdict = _verdict([i for i in (reach, seeds, over) if i], task.is_greater_better(score))
            differences.append(Difference(first.name, other.name, score, value, reach, seeds, verdict, over))
    each = zip(drawn, once, strict=True)
    return Comparison(
        split, task.kind, records, tuple(runs), tuple(once),
        tuple({name: intervals.corrected(values, own[name]) for name, values in d.items()} for d, own in each),
        tuple(setting(*group) for group in groups), tuple(differences),
    )  # fmt: skip


def _of_folds(task: Comparable, runs: Sequence[Run], folds: int) -> list[dict[str, list[float]]]:
    """Returns for each run the scores on each fold, by name; [] if there are no folds."""
    of_records = runs[0].folds
    if not folds or of_records is None:
        return []
    masks = [of_records == fold for fold in np.unique(of_records)]
    found = []
    for run in runs:
        parts = [
            run.found._replace(
                keys=tuple(np.array(run.keys)[own]), truth=run.found.truth[own], answers=run.found.answers[own]
            )
            for own in masks
        ]
        each = [task.scores(part, np.ones((1, len(part.keys)))) for part in parts]
        found.append({name: [float(own[name][0]) for own in each] for name in each[0]})
    return found


def _over_folds(
    found: Sequence[Mapping[str, Sequence[float]]], members: Sequence[Sequence[int]], score: str, folds: int
) -> Interval | None:
    """Computes the interval of the difference of a score over folds.

    Args:
      found: of `_of_folds`. members: the numbers of the runs of both settings.
    """
    if not found:
        return None
    first, second = (np.mean([found[i][score] for i in numbers], axis=0) for numbers in members)
    values = [float(value) for value in second - first if not np.isnan(value)]
    return intervals.over_folds(values, folds) if len(values) > 1 else None


def _verdict(found: Sequence[Interval], greater: bool) -> str:
    """Returns a verdict, "better" or "worse" only if no interval contains 0."""
    if all(low > 0 for low, _ in found):
        return "better" if greater else "worse"
    if all(high < 0 for _, high in found):
        return "worse" if greater else "better"
    return "no clear difference"
