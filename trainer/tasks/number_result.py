"""Holds the answers of a model of numbers, and scores them."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.contract import Contract
from pipelines.contract.task import REGRESSION
from trainer.evaluation import slices
from trainer.evaluation.scores import class_scores, intervals, label_scores, number_scores
from trainer.evaluation.scores.intervals import Interval
from trainer.evaluation.slices import NO_METADATA, Metadata, Score, Slices
from trainer.tasks import slice_table
from trainer.tasks.shown_result import Chart, Example, Headline, Report, Series, Table, number, reach
from trainer.tasks.task import Result, fitted_rows

MOST_RESIDUALS = 3  # numbers whose residuals are in the table of slices
MOST_CHARTS = 8  # numbers that have a chart
MOST_POINTS = 2000  # of a chart
MOST_NAMED = 4  # numbers of an image in a picture's text
FEW = 30  # records; with fewer the scores are very uncertain
SCORES = ("mae", "rmse", "r2", "spearman")
TITLES = {"mae": "MAE", "rmse": "RMSE", "r2": "R²", "spearman": "Spearman"}
CONSTANTS = ("mean", "median")
TRUE, ANSWER = "true ", "answer "  # columns of predictions-SPLIT.csv, before the name of a number


@dataclasses.dataclass(frozen=True)
class NumberPredictions:
    """Holds the answers of one model for N records of a split.

    truth: float32 (N, K), in the units of the table. standardized: float32 (N, K), the network's outputs.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]
    truth: np.ndarray
    standardized: np.ndarray


@dataclasses.dataclass(frozen=True)
class NumberFit:
    """Holds the statistics of train that a model was trained with, one number each.

    split, records: the split that chose the epoch; "" and 0 for none.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    median: tuple[float, ...]
    split: str = ""
    records: int = 0

    def to_json(self) -> str:
        """Returns the content of calibration.json."""
        rows = zip(self.names, self.mean, self.std, self.median, strict=True)
        content = {
            "task": REGRESSION,
            "targets": {n: {"mean": mean, "std": std, "median": median} for n, mean, std, median in rows},
            "split": self.split,
            "records": self.records,
        }
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_fit(path: Path, contract: Contract) -> NumberFit:
    """Reads the calibration.json of a run.

    Raises:
      TrainerError: the file is not what a training of the contract's numbers writes.
    """
    names = contract.task.targets
    rows = fitted_rows(path, "targets", names, ("mean", "std", "median"), positive="std")
    mean, std, median = rows.values
    return NumberFit(names, mean, std, median, rows.split, rows.records)


@dataclasses.dataclass(frozen=True)
class NumberResult(Result):
    """Holds the predictions on a split, and derives all scores.

    metadata: the columns that travel along.
    """

    split: str
    predictions: NumberPredictions
    fitted: NumberFit
    metadata: Metadata = NO_METADATA

    @property
    def truth(self) -> np.ndarray:
        """Returns the true numbers, float64 (N, K)."""
        return self.predictions.truth.astype(np.float64)

    @functools.cached_property
    def answers(self) -> np.ndarray:
        """Returns the answers in the units of the table, float64 (N, K)."""
        scaled = self.predictions.standardized.astype(np.float64) * np.array(self.fitted.std)
        return np.asarray(scaled + np.array(self.fitted.mean))

    @functools.cached_property
    def of_targets(self) -> list[dict[str, float]]:
        """Returns the scores of each number, by the names in SCORES."""
        return [self._scores(k, self.answers[:, k]) for k in range(len(self.names))]

    @functools.cached_property
    def of_constants(self) -> list[dict[str, dict[str, float]]]:
        """Returns for each number the scores of the constant answers in CONSTANTS."""
        return [
            {
                name: {"value": value} | self._scores(k, np.full(self.records, value))
                for name in CONSTANTS
                for value in [getattr(self.fitted, name)[k]]
            }
            for k in range(len(self.names))
        ]

    @functools.cached_property
    def scores(self) -> dict[str, float]:
        """Returns the scores over all numbers.

        They are the means of `r2` and `spearman`, and `mean_absolute_error` in standard deviations of train.
        """
        found = {
            name: float(label_scores.mean(np.array([[own[name] for own in self.of_targets]]))[0])
            for name in ("r2", "spearman")
        }
        errors = [own["mae"] / std for own, std in zip(self.of_targets, self.fitted.std, strict=True)]
        return found | {"mean_absolute_error": float(np.mean(errors))}

    @functools.cached_property
    def intervals(self) -> list[dict[str, Interval]]:
        """Returns the 95 % intervals of the scores of each number."""
        return [
            {name: intervals.corrected(values, own[name]) for name, values in drawn.items()}
            for drawn, own in zip(self._drawn, self.of_targets, strict=True)
        ]

    @functools.cached_property
    def intervals_of_all(self) -> dict[str, Interval]:
        """Returns the 95 % intervals of `scores`."""
        means = {
            name: label_scores.mean(np.stack([own[name] for own in self._drawn], axis=1)) for name in ("r2", "spearman")
        }
        errors = [own["mae"] / std for own, std in zip(self._drawn, self.fitted.std, strict=True)]
        drawn = means | {"mean_absolute_error": np.mean(errors, axis=0)}
        return {name: intervals.corrected(values, self.scores[name]) for name, values in drawn.items()}

    def to_dict(self) -> dict[str, Any]:
        result: dict[str, Any] = {"records": self.records}
        for name, value in self.scores.items():
            result[name] = class_scores.plain(value)
            result[f"{name}_interval"] = [class_scores.plain(end) for end in self.intervals_of_all[name]]
        result["chosen_on"] = self.fitted.split or None
        if self.metadata.columns:
            result["by_slice"] = self.slices.to_dict()
        result["per_target"] = {
            name: {score: class_scores.plain(self.of_targets[k][score]) for score in SCORES}
            | {f"{score}_interval": [class_scores.plain(end) for end in self.intervals[k][score]] for score in SCORES}
            | {
                f"always_the_{constant}": {score: class_scores.plain(value) for score, value in own.items()}
                for constant, own in self.of_constants[k].items()
            }
            for k, name in enumerate(self.names)
        }
        return result

    def report(self) -> Report:
        if len(self.names) == 1:
            own, drawn, constants = self.of_targets[0], self.intervals[0], self.of_constants[0]
            headlines = [
                Headline(
                    TITLES[score], own[score], drawn[score],
                    "a constant has none" if score == "spearman" else ", ".join(
                        f"always the {name}: {number(constants[name][score])}" for name in CONSTANTS
                    ),
                )
                for score in SCORES
            ]  # fmt: skip
            what = f"the error of {self.names[0]} is {number(own['mae'])} on average"
            constant = f"always answering the mean of train would err by {number(constants['mean']['mae'])}"
        else:
            constants_of_all = [
                float(np.mean([c["mean"]["mae"] / s for c, s in zip(self.of_constants, self.fitted.std, strict=True)]))
            ]
            headlines = [
                Headline("Mean R²", self.scores["r2"], self.intervals_of_all["r2"], "always the mean: about 0"),
                Headline(
                    "Mean Spearman", self.scores["spearman"], self.intervals_of_all["spearman"], "a constant has none"
                ),
                Headline(
                    "MAE / std of train", self.scores["mean_absolute_error"],
                    self.intervals_of_all["mean_absolute_error"], f"always the mean: {number(constants_of_all[0])}",
                ),
            ]  # fmt: skip
            what = f"the error is {number(self.scores['mean_absolute_error'])} standard deviations of train on average"
            constant = f"always answering the mean of train would err by {number(constants_of_all[0])}"
        sentence = f"On {self.split}, {self.records:,} records, {what}; {constant}."
        about = (
            f"All intervals are 95 % intervals of {intervals.resamples_of(self.records, 4 * len(self.names)):,} "
            "bootstrap resamples of the records."
        )
        parts = slice_table.table(self.slices, self._titles(), self._whole())
        return Report(sentence, headlines, [self._table()], self._charts(), about, parts)

    @functools.cached_property
    def slices(self) -> Slices:
        """Returns the errors of parts of the split.

        MAE is that of one number, or the mean over several in standard deviations of train. The residual of a number is
        the mean of answer - truth: above 0 the answers are too great.
        """
        errors = self.answers - self.truth
        scale = np.array(self.fitted.std) if len(self.names) > 1 else np.ones(1)

        names = ["mae", *(f"residual of {name}" for name in self.names)]

        def score(positions: np.ndarray) -> dict[str, Score]:
            own = errors[positions]
            values = np.concatenate([(np.abs(own) / scale).mean(axis=1, keepdims=True), own], axis=1)
            drawn = slices.resampled_means(values, len(names) * len(self.metadata.columns))
            return {
                name: Score(float(values[:, k].mean()), intervals.percentiles(drawn[:, k]))
                for k, name in enumerate(names)
            }

        return slices.scored(self.metadata, score, self._whole(), greater=False)

    def _whole(self) -> float:
        """Returns the score that decides which slice is worse, of all records."""
        return self.of_targets[0]["mae"] if len(self.names) == 1 else self.scores["mean_absolute_error"]

    def _titles(self) -> dict[str, str]:
        """Returns the headings of the scores of slices."""
        if len(self.names) == 1:
            return {"mae": "MAE", f"residual of {self.names[0]}": "residual"}
        residuals = {f"residual of {name}": f"residual of {name}" for name in self.names[:MOST_RESIDUALS]}
        return {"mae": "MAE / std of train", **residuals}

    def cautions(self) -> list[str]:
        if not self.records:
            return ["There are no records."]
        sentences = []
        for k, name in enumerate(self.names):
            low = self.intervals[k]["r2"].low
            best = max(self.of_constants[k][c]["r2"] for c in CONSTANTS)
            if np.isnan(low):
                sentences.append(f"All records have the same {name}, so its R² and Spearman have no value.")
            elif low <= max(best, 0.0):
                sentences.append(f"The R² of {name} does not differ clearly from that of always answering one number.")
        if self.records < FEW:
            sentences.append(f"There are fewer than {FEW} records, so the scores are very uncertain.")
        if self.split == self.fitted.split:
            sentences.append("The kept epoch was chosen on this split: its scores are too optimistic.")
        return sentences

    def scalars(self) -> dict[str, float]:
        found = {f"evaluation/{name}": value for name, value in self.scores.items()}
        for name, own in zip(self.names, self.of_targets, strict=True):
            found |= {f"{score}/{name}": value for score, value in own.items()}
        return {name: value for name, value in found.items() if not np.isnan(value)}

    def cells(self) -> tuple[list[str], Iterator[list[str | int]]]:
        names = [before + name for name in self.names for before in (TRUE, ANSWER)]
        rows = zip(self.truth.tolist(), self.answers.tolist(), strict=True)
        return names, ([format(x, ".8g") for pair in zip(*row, strict=True) for x in pair] for row in rows)

    def worst(self, most: int) -> list[Example]:
        """Returns the records with the largest errors, at most a quarter of all.

        Every answer is off by something, so all records of a small split would be shown.
        """
        most = min(most, -(-self.records // 4))
        error = np.abs(self.answers - self.truth) / np.array(self.fitted.std)
        order = np.argsort(-error.max(axis=1, initial=0.0), kind="stable")[:most].tolist()
        return [
            Example(i, _numbers(self.names, self.answers[i], error[i]), _numbers(self.names, self.truth[i], error[i]))
            for i in order
        ]

    @functools.cached_property
    def _drawn(self) -> list[dict[str, np.ndarray]]:
        """Returns for each number the scores of the bootstrap resamples, (R,)."""
        parts: list[list[dict[str, np.ndarray]]] = [[] for _ in self.names]
        for draws in intervals.draws(self.records, 4 * len(self.names)):
            for k, found in enumerate(parts):
                found.append(number_scores.scores(self.truth[:, k], self.answers[:, k], draws))
        none = dict.fromkeys(SCORES, np.full(1, np.nan))
        return [
            {name: np.concatenate([part[name] for part in found]) for name in SCORES} if found else none
            for found in parts
        ]

    def _scores(self, k: int, answers: np.ndarray) -> dict[str, float]:
        if not self.records:
            return dict.fromkeys(SCORES, np.nan)
        found = number_scores.scores(self.truth[:, k], answers, np.ones((1, self.records)))
        return {name: float(values[0]) for name, values in found.items()}

    def _table(self) -> Table:
        rows: list[tuple[str | int | float, ...]] = []
        for k, name in enumerate(self.names):
            own, drawn, constants = self.of_targets[k], self.intervals[k], self.of_constants[k]
            for score in SCORES:
                beside = (constants[constant][score] for constant in CONSTANTS)
                rows.append((f"{name}: {TITLES[score]}", own[score], reach(drawn[score]), *beside))
        told = "MAE and RMSE are in the units of the table. Mean and median are those of train."
        return Table("Numbers", told, ("score", "value", "95 %", "always the mean", "always the median"), rows)

    def _charts(self) -> list[Chart]:
        charts = []
        shown = np.arange(self.records)
        if self.records > MOST_POINTS:
            shown = np.linspace(0, self.records - 1, MOST_POINTS).astype(np.int64)
        few = f" {MOST_POINTS:,} of the records are shown." if self.records > MOST_POINTS else ""
        for k, name in enumerate(self.names[:MOST_CHARTS]):
            true, given = self.truth[shown, k], self.answers[shown, k]
            if not len(true):
                continue
            ends = (float(min(true.min(), given.min())), float(max(true.max(), given.max())))
            ends = ends if ends[0] < ends[1] else (ends[0] - 1.0, ends[1] + 1.0)
            series = [Series(name, true, given, points=True)]
            told = f"On the dotted line, the answer is right.{few}"
            charts.append(Chart(f"{name}: truth and answer", told, ("truth", "answer"), ends, ends, series, True))
        return charts


def _numbers(names: Sequence[str], values: np.ndarray, error: np.ndarray) -> str:
    """Returns the numbers of a record with the greatest errors, those first."""
    order = np.argsort(-error, kind="stable")[:MOST_NAMED].tolist()
    if len(names) == 1:
        return number(float(values[0]))
    return ", ".join(f"{names[k]} {number(float(values[k]))}" for k in order)
