"""Runs side by side on the same records, with paired tests and, for several seeds of a setting, the spread."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.config import TrainerError
from trainer.evaluation import intervals, paired_tests, run_predictions
from trainer.evaluation.intervals import Interval
from trainer.evaluation.run_predictions import Answers


@dataclasses.dataclass(frozen=True)
class Setting:
    """Runs that differ in their seed only; often one."""

    name: str
    runs: tuple[Answers, ...]

    @property
    def right(self) -> np.ndarray:
        """float64 (N,): of each record the share of the runs that are right."""
        share: np.ndarray = np.mean([run.right for run in self.runs], axis=0)
        return share


@dataclasses.dataclass(frozen=True)
class Spread:
    """The mean over seeds, the sample standard deviation (None of one run), and the ends."""

    mean: float
    deviation: float | None
    least: float
    greatest: float


@dataclasses.dataclass(frozen=True)
class Test:
    """McNemar's test of two runs. p is as it is, adjusted is after Holm, for all tests of the comparison."""

    first: str
    second: str
    only_first: int
    only_second: int
    p: float
    adjusted: float


@dataclasses.dataclass(frozen=True)
class Difference:
    """A setting less the first setting: balanced accuracy and accuracy with paired 95 % intervals over records.

    seeds: how many runs of the two have equal seeds. seeds_interval: the 95 % interval of the balanced accuracy over
    them, by Student's t for their differences; None of fewer than two.
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


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The runs on a split, the settings that they are of, and what sets each setting apart from the first."""

    split: str
    runs: tuple[Answers, ...]
    settings: tuple[Setting, ...]
    differences: tuple[Difference, ...]

    @property
    def majority(self) -> tuple[str, float]:
        """The commonest class and the accuracy of always answering it: the same for all runs."""
        names, counts = np.unique(self.runs[0].labels, return_counts=True)
        return str(names[counts.argmax()]), float(counts.max() / counts.sum())


def compare(directories: Sequence[str], split: str) -> Comparison:
    """Reads the runs' answers and compares them.

    Raises:
      TrainerError: fewer than two runs, one named twice, no answers, or answers on other records.
    """
    if len(directories) < 2:
        raise TrainerError(f"compare needs at least two runs. Received: {', '.join(directories)}.")
    if len({Path(directory).resolve() for directory in directories}) < len(directories):
        raise TrainerError(f"compare needs different runs. Received one twice: {', '.join(directories)}.")
    runs = [run_predictions.read(directory, split) for directory in directories]
    run_predictions.check_same_records(runs)
    settings = group(runs)
    # Seeds of one setting are set against one another, as far as they go.
    apart = settings if len(settings) > 1 else [Setting(run.name, (run,)) for run in runs]
    return Comparison(split, tuple(runs), tuple(settings), tuple(_differences(apart)))


def group(runs: Sequence[Answers]) -> list[Setting]:
    """Settings in the order of their first runs, named after the options in which they differ."""
    members: dict[str, list[Answers]] = {}
    for run in runs:
        members.setdefault(run.setting, []).append(run)
    groups = list(members.values())
    options = sorted({name for run in runs for name in run.config} - set(run_predictions.UNLIKE))
    differing = [name for name in options if len({repr(g[0].config.get(name)) for g in groups}) > 1]
    return [Setting(_name(g, differing), tuple(g)) for g in groups]


def _name(runs: Sequence[Answers], differing: Sequence[str]) -> str:
    if len(runs) == 1 or not differing:
        return runs[0].name if len(runs) == 1 else f"{runs[0].name} and {len(runs) - 1} more"
    return ", ".join(f"{name.replace('_', '-')}={runs[0].config.get(name)}" for name in differing)


def _differences(settings: Sequence[Setting]) -> list[Difference]:
    first = settings[0]
    pairs = [_pairs(first, other) for other in settings[1:]]
    tests = [_test(one, two) for group_pairs in pairs for one, two in group_pairs]
    adjusted = iter(paired_tests.holm([test.p for test in tests]))
    tests = [dataclasses.replace(test, adjusted=p) for test, p in zip(tests, adjusted, strict=True)]
    found, left = [], iter(tests)
    for other, group_pairs in zip(settings[1:], pairs, strict=True):
        difference = other.right - first.right
        balanced, reach = paired_tests.balanced_difference(difference, first.runs[0].labels)
        of_seeds = [two.balanced_accuracy - one.balanced_accuracy for one, two in group_pairs]
        found.append(
            Difference(
                first.name, other.name, balanced, reach, float(difference.mean()),
                paired_tests.accuracy_difference(difference), len(of_seeds),
                intervals.student(of_seeds) if len(of_seeds) > 1 else None, tuple(next(left) for _ in group_pairs),
            )
        )  # fmt: skip
    return found


def _pairs(first: Setting, other: Setting) -> list[tuple[Answers, Answers]]:
    """The runs to test: one of each where there is only one, else those of equal seeds."""
    if len(first.runs) == len(other.runs) == 1:
        return [(first.runs[0], other.runs[0])]
    by_seed = {run.config.get("seed"): run for run in first.runs}
    return [(by_seed[seed], run) for run in other.runs if (seed := run.config.get("seed")) in by_seed]


def _test(first: Answers, second: Answers) -> Test:
    alone = int((first.right & ~second.right).sum()), int((second.right & ~first.right).sum())
    p = paired_tests.mcnemar(*alone)
    return Test(first.name, second.name, *alone, p, p)


def spread(values: Sequence[float]) -> Spread:
    """Of one number of each run."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, min(values), max(values))
