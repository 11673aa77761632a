"""Compares runs on the same records with paired tests.

For several seeds of a setting it also computes the spread of the scores.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from trainer.config import TrainerError
from trainer.evaluation import run_predictions
from trainer.evaluation.run_predictions import Answers
from trainer.evaluation.scores import intervals, paired_tests
from trainer.evaluation.scores.intervals import Interval


@dataclasses.dataclass(frozen=True)
class Setting:
    """Holds the runs that differ in their seed only. Often there is only one."""

    name: str
    runs: tuple[Answers, ...]

    @property
    def right(self) -> np.ndarray:
        """Returns for each record the share of runs that are right, float64 (N,)."""
        share: np.ndarray = np.mean([run.right for run in self.runs], axis=0)
        return share


@dataclasses.dataclass(frozen=True)
class Spread:
    """Describes a score over several seeds.

    deviation: the sample standard deviation; None for one run. least, greatest: the range.
    """

    mean: float
    deviation: float | None
    least: float
    greatest: float


@dataclasses.dataclass(frozen=True)
class Test:
    """Holds the result of McNemar's test of two runs.

    only_first, only_second: records that only this run has right. p: the p-value of this test alone. adjusted: the
    p-value after Holm's correction for all tests of the comparison.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    p: float
    adjusted: float


@dataclasses.dataclass(frozen=True)
class Difference:
    """Describes the difference between a setting and the first setting.

    balanced_accuracy, accuracy: score of the second minus score of the first, with paired 95 % intervals over records.
    seeds: number of pairs of runs with equal seeds; 1 if each setting has one run, also with different seeds.
    seeds_interval: the 95 % interval of the difference of balanced accuracies over these pairs, by Student's t; None
    for fewer than two pairs.
    folds_interval: the 95 % interval of the difference of balanced accuracies over folds, paired by fold; None if these
    are not out-of-fold predictions.
    """

    first: str
    second: str
    balanced_accuracy: float
    balanced_interval: Interval
    accuracy: float
    accuracy_interval: Interval
    seeds: int
    seeds_interval: Interval | None
    tests: tuple[Test, ...]
    folds_interval: Interval | None = None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Holds the runs on a split, their settings and the differences.

    differences: each setting against the first one. If there is only one setting, each run against the first run.
    """

    split: str
    runs: tuple[Answers, ...]
    settings: tuple[Setting, ...]
    differences: tuple[Difference, ...]

    @property
    def majority(self) -> tuple[str, float]:
        """Returns the most common class and the accuracy of always answering it.

        All runs have the same records, so the result is the same for all.
        """
        names, counts = np.unique(self.runs[0].labels, return_counts=True)
        return str(names[counts.argmax()]), float(counts.max() / counts.sum())


def compare(directories: Sequence[str], split: str) -> Comparison:
    """Reads the answers of runs on a split and compares them.

    Raises:
      TrainerError: there are fewer than two runs, a run is named twice, a run has no answers on the split, or the
        answers are not on the same records.
    """
    check_directories(directories)
    folds = run_predictions.check_same_folds(directories, split)
    runs = [run_predictions.read(directory, split) for directory in directories]
    run_predictions.check_same_records(runs)
    settings = group(runs)
    # With one setting only, the runs are compared with each other: they differ in their seeds.
    apart = settings if len(settings) > 1 else [Setting(run.name, (run,)) for run in runs]
    return Comparison(split, tuple(runs), tuple(settings), tuple(_differences(apart, folds)))


def check_directories(directories: Sequence[str]) -> None:
    """Raises TrainerError if there are fewer than two runs, or one is named twice."""
    if len(directories) < 2:
        raise TrainerError(f"compare needs at least two runs. Received: {', '.join(directories)}.")
    if len({Path(directory).resolve() for directory in directories}) < len(directories):
        raise TrainerError(f"compare needs different runs. Received one twice: {', '.join(directories)}.")


def are_classifiers(directories: Sequence[str], split: str) -> bool:
    """Tells whether the runs answer classes. `trainer.tasks.compare` compares others.

    Raises:
      TrainerError: only some of them do, or as `run_predictions.columns_of`.
    """
    check_directories(directories)
    others = [name for name in directories if not _are_classes(run_predictions.columns_of(name, split))]
    if others and len(others) < len(directories):
        first = next(name for name in directories if name not in others)
        raise TrainerError(
            f"Runs should be compared on one task. {first!r} answers classes, and {others[0]!r} labels or numbers: "
            "compare runs of one dataset."
        )
    return not others


def _are_classes(columns: Sequence[str]) -> bool:
    return "label" in columns or not any(name.startswith(("is ", "true ")) for name in columns)


class Configured(Protocol):
    """Says of which setting a run is."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> Mapping[str, Any]: ...

    @property
    def setting(self) -> str: ...


R = TypeVar("R", bound=Configured)


def group(runs: Sequence[Answers]) -> list[Setting]:
    """Groups runs into settings, in the order of their first runs."""
    return [Setting(name, members) for name, members in grouped(runs)]


def grouped(runs: Sequence[R]) -> list[tuple[str, tuple[R, ...]]]:
    """Groups runs by their setting, in the order of their first runs.

    A setting is named after the options in which the settings differ.
    """
    members: dict[str, list[R]] = {}
    for run in runs:
        members.setdefault(run.setting, []).append(run)
    groups = list(members.values())
    options = sorted({name for run in runs for name in run.config} - set(run_predictions.UNLIKE))
    differing = [name for name in options if len({repr(g[0].config.get(name)) for g in groups}) > 1]
    return [(_name(g, differing), tuple(g)) for g in groups]


def _name(runs: Sequence[Configured], differing: Sequence[str]) -> str:
    if len(runs) == 1 or not differing:
        return runs[0].name if len(runs) == 1 else f"{runs[0].name} and {len(runs) - 1} more"
    return ", ".join(f"{name.replace('_', '-')}={runs[0].config.get(name)}" for name in differing)


def _differences(settings: Sequence[Setting], folds: int) -> list[Difference]:
    first = settings[0]
    found_pairs = [pairs(first.runs, other.runs) for other in settings[1:]]
    tests = [_test(one, two) for group_pairs in found_pairs for one, two in group_pairs]
    adjusted = iter(paired_tests.holm([test.p for test in tests]))
    tests = [dataclasses.replace(test, adjusted=p) for test, p in zip(tests, adjusted, strict=True)]
    found, left = [], iter(tests)
    for other, group_pairs in zip(settings[1:], found_pairs, strict=True):
        difference = other.right - first.right
        balanced, reach = paired_tests.balanced_difference(difference, first.runs[0].labels)
        of_seeds = [two.balanced_accuracy - one.balanced_accuracy for one, two in group_pairs]
        found.append(
            Difference(
                first.name, other.name, balanced, reach, float(difference.mean()),
                paired_tests.accuracy_difference(difference), len(of_seeds),
                intervals.student(of_seeds) if len(of_seeds) > 1 else None, tuple(next(left) for _ in group_pairs),
                _over_folds(first, other, folds),
            )
        )  # fmt: skip
    return found


def _over_folds(first: Setting, other: Setting, folds: int) -> Interval | None:
    """Computes the interval of the difference of balanced accuracies over folds."""
    of_records = first.runs[0].folds
    if not folds or of_records is None:
        return None
    labels, gained = first.runs[0].labels, other.right - first.right
    values = []
    for fold in np.unique(of_records):
        own = of_records == fold
        of_classes = [gained[own & (labels == label)].mean() for label in np.unique(labels[own])]
        values.append(float(np.mean(of_classes)))
    return intervals.over_folds(values, folds)


def pairs(first: Sequence[R], other: Sequence[R]) -> list[tuple[R, R]]:
    """Returns the pairs of runs of two settings to compare.

    If each setting has one run it is this pair. Otherwise it is all pairs with equal seeds.
    """
    if len(first) == len(other) == 1:
        return [(first[0], other[0])]
    by_seed = {run.config.get("seed"): run for run in first}
    return [(by_seed[seed], run) for run in other if (seed := run.config.get("seed")) in by_seed]


def _test(first: Answers, second: Answers) -> Test:
    alone = int((first.right & ~second.right).sum()), int((second.right & ~first.right).sum())
    p = paired_tests.mcnemar(*alone)
    return Test(first.name, second.name, *alone, p, p)


def spread(values: Sequence[float]) -> Spread:
    """Computes the spread of one number per run."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, min(values), max(values))
