"""Computes all numbers that describe one model on one split."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import numpy as np

from trainer.evaluation import slices
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.scores import abstention, calibration, class_scores, grades, intervals, roc_pr
from trainer.evaluation.scores.calibration import Bin, Calibration
from trainer.evaluation.scores.class_scores import Scores
from trainer.evaluation.scores.grades import Grades
from trainer.evaluation.scores.intervals import Interval
from trainer.evaluation.slices import NO_METADATA, Metadata, Score, Slices

COVERAGES = (1.0, 0.9, 0.75, 0.5, 0.25)  # shares of the records whose error is shown


class Answered(NamedTuple):
    """Holds what a threshold of abstaining does on a split.

    probability: the threshold. answered, wrong: records that are answered, and wrong ones among them, of `records`.
    """

    probability: float
    answered: int
    wrong: int
    records: int

    @property
    def coverage(self) -> float:
        """Returns the share of the records that are answered, NaN without records."""
        return self.answered / self.records if self.records else math.nan

    @property
    def error(self) -> float:
        """Returns the share of wrong answers among the answered, NaN without any."""
        return self.wrong / self.answered if self.answered else math.nan

    @property
    def reach(self) -> Interval:
        """Returns the 95 % interval of the error."""
        return intervals.wilson(self.wrong, self.answered)

    def to_dict(self) -> dict[str, Any]:
        """Returns values for metrics.json."""
        return {
            "threshold": self.probability,
            "answered": self.answered,
            "wrong": self.wrong,
            "coverage": class_scores.plain(self.coverage),
            "coverage_interval": _pair(intervals.wilson(self.answered, self.records)),
            "error": class_scores.plain(self.error),
            "error_interval": _pair(self.reach),
        }


class Areas(NamedTuple):
    """Holds the areas below the curves of a class: see `roc_pr.Curves`."""

    auc: float
    average_precision: float


@dataclasses.dataclass(frozen=True)
class Assessment:
    """Holds the predictions on a split and the calibration, and derives all scores.

    The calibration was fitted on another split or on this one. Scores are those of the plain answers, which are the
    most probable classes, unless the docstring says otherwise. Probabilities are calibrated unless the name contains
    "before". `metadata` has the columns that travel along.
    """

    split: str
    predictions: Predictions
    fitted: Calibration
    metadata: Metadata = NO_METADATA

    @property
    def labels(self) -> tuple[str, ...]:
        return self.predictions.names

    @property
    def records(self) -> int:
        return len(self.predictions.labels)

    @property
    def keys(self) -> tuple[str, ...]:
        """Returns the keys of the records."""
        return self.predictions.keys

    @property
    def matrix(self) -> np.ndarray:
        """Returns the confusion matrix, int64 (C, C)."""
        return self.scores.matrix

    @functools.cached_property
    def scores(self) -> Scores:
        """Returns the scores of the plain answers.

        The loss is computed as in training, before calibration.
        """
        found = self.predictions
        return class_scores.score(found.labels, found.probabilities(), found.names)

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """Returns the calibrated probabilities, float64 (N, C)."""
        return self.predictions.probabilities(self.fitted.temperature)

    @functools.cached_property
    def intervals(self) -> dict[str, Interval]:
        """Returns the 95 % intervals of accuracy, balanced_accuracy and macro_f1."""
        return intervals.of_matrix(self.matrix)

    @functools.cached_property
    def grades(self) -> Grades | None:
        """Returns the scores of grades, or None if the classes have no order."""
        return grades.of(self.matrix) if self.fitted.ordered else None

    def curve(self, c: int) -> roc_pr.Curves | None:
        """Returns the ROC and PR curves of class `c` against all others.

        The result is None if the class has no records or if no other class has any.
        """
        return roc_pr.curves(self.predictions.labels == c, self.probabilities[:, c])

    @functools.cached_property
    def areas(self) -> list[Areas | None]:
        """Returns the areas below the curves of each class, None for a class without.

        The curves of 10,000 classes would take as much memory as all predictions, four times over.
        """
        found = (self.curve(c) for c in range(len(self.labels)))
        return [None if curve is None else Areas(curve.auc, curve.average_precision) for curve in found]

    def curves_of_the_lowest(self, most: int) -> list[tuple[int, roc_pr.Curves]]:
        """Returns (class, curves) of at most `most` classes.

        They are those with the lowest average precision, in this order.
        """
        known = [(areas.average_precision, c) for c, areas in enumerate(self.areas) if areas is not None]
        found = ((c, self.curve(c)) for _, c in sorted(known)[:most])
        return [(c, curve) for c, curve in found if curve is not None]

    def reliability(self, before: bool = False) -> list[Bin]:
        """Returns the bins of the reliability plot, of uncalibrated answers with `before`."""
        given = self.predictions.probabilities() if before else self.probabilities
        return calibration.reliability(self.predictions.labels, given)

    @functools.cached_property
    def at_threshold(self) -> Scores | None:
        """Returns the scores with the decision threshold, or None without a threshold."""
        chosen = self.fitted.threshold
        return None if chosen is None else self.answered_from(chosen.probability)

    def answered_from(self, probability: float) -> Scores | None:
        """Returns the scores of a binary classifier with another threshold.

        The answer is the class to find if its probability is at least `probability`. None without a threshold, so
        also for more than two classes.
        """
        chosen = self.fitted.threshold
        if chosen is None:
            return None
        positive = self.probabilities[:, chosen.label_id] >= probability
        answers = np.where(positive, chosen.label_id, 1 - chosen.label_id)
        return dataclasses.replace(
            self.scores, matrix=class_scores.confusion_matrix(self.predictions.labels, answers, 2)
        )

    @functools.cached_property
    def risk_coverage(self) -> abstention.Curve:
        """Returns what each threshold of abstaining would do."""
        right = self.predictions.answers() == self.predictions.labels
        return abstention.curve(self.probabilities.max(axis=1, initial=0.0), right)

    @property
    def abstaining(self) -> Answered | None:
        """Returns what the chosen threshold of abstaining does, or None without one."""
        chosen = self.fitted.abstention
        if chosen is None:
            return None
        given = abstention.answered(self.probabilities.max(axis=1, initial=0.0), chosen.probability)
        wrong = given & (self.predictions.answers() != self.predictions.labels)
        return Answered(chosen.probability, int(given.sum()), int(wrong.sum()), self.records)

    def at_coverages(self) -> list[Answered]:
        """Returns thresholds that answer the shares COVERAGES, or a little more."""
        found = self.risk_coverage
        if not self.records:
            return []
        places = [int(np.searchsorted(found.answered, math.ceil(share * self.records))) for share in COVERAGES]
        return [
            Answered(float(found.probability[i]), int(found.answered[i]), int(found.wrong[i]), self.records)
            for i in dict.fromkeys(places)
        ]

    def worst(self, most: int) -> np.ndarray:
        """Returns the positions (int64) of at most `most` wrong answers.

        Answers with the highest probability come first.
        """
        answers = self.predictions.answers()
        wrong = np.flatnonzero(answers != self.predictions.labels)
        confidence = self.probabilities[wrong, answers[wrong]]
        return wrong[np.argsort(-confidence, kind="stable")][:most]

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of metrics.json: plain numbers, None for undefined ones."""
        result = self.scores.to_dict()
        for name, interval in self.intervals.items():
            result[f"{name}_interval"] = _pair(interval)
        for c, own in enumerate(result["per_class"].values()):
            hits, support, given = int(self.matrix[c, c]), own["support"], own["predicted"]
            own["recall_interval"] = _pair(intervals.wilson(hits, support))
            own["precision_interval"] = _pair(intervals.wilson(hits, given))
            areas = self.areas[c]
            own["roc_auc"] = None if areas is None else areas.auc
            own["average_precision"] = None if areas is None else areas.average_precision
        for name, attribute in (("macro_roc_auc", "auc"), ("macro_average_precision", "average_precision")):
            result[name] = class_scores.plain(self.mean_of_curves(attribute))
        if self.grades is not None:
            result["grades"] = self.grades.to_dict()
        if self.metadata.columns:
            result["by_slice"] = self.slices.to_dict()
        result["risk_coverage"] = [row.to_dict() for row in self.at_coverages()]
        if self.fitted.abstention is not None and self.abstaining is not None:
            about = {"wanted_error": self.fitted.abstention.wanted, "promised": self.fitted.abstention.promised}
            result["abstention"] = about | self.abstaining.to_dict()
        return result | {"calibration": self._calibration(), "decision": self._decision()}

    @functools.cached_property
    def slices(self) -> Slices:
        """Returns the balanced accuracy and the accuracy of parts of the split.

        The balanced accuracy is the mean over the classes that have records in the part.
        """
        answers = self.predictions.answers()

        def score(positions: np.ndarray) -> dict[str, Score]:
            matrix = class_scores.confusion_matrix(
                self.predictions.labels[positions], answers[positions], len(self.labels)
            )
            reach = intervals.wilson(int(matrix.trace()), len(positions))
            # The balanced accuracy of one class is its accuracy.
            alone = np.count_nonzero(matrix.sum(axis=1)) == 1
            balanced = reach if alone else intervals.of_matrix(matrix)["balanced_accuracy"]
            return {
                "balanced_accuracy": Score(class_scores.balanced_accuracy(matrix), balanced),
                "accuracy": Score(class_scores.accuracy(matrix), reach),
            }

        whole = class_scores.balanced_accuracy(self.matrix)
        return slices.scored(self.metadata, score, whole, labels=self.predictions.labels)

    def mean_of_curves(self, attribute: str) -> float:
        """Returns the mean of "auc" or "average_precision" over all classes with a curve.

        NaN if no class has a curve.
        """
        values = [getattr(areas, attribute) for areas in self.areas if areas is not None]
        return sum(values) / len(values) if values else math.nan

    def calibration_scores(self, before: bool = False) -> dict[str, float]:
        """Returns the calibration scores by name.

        ece: expected calibration error. ece_by_chance: the error of a perfectly calibrated model, from chance alone.
        loss: cross entropy in nats. brier: Brier score.
        """
        labels = self.predictions.labels
        given = self.predictions.probabilities() if before else self.probabilities
        return {
            "ece": calibration.calibration_error(self.reliability(before)),
            "loss": class_scores.cross_entropy(labels, given),
            "brier": calibration.brier(labels, given),
            "ece_by_chance": calibration.error_by_chance(given),
        }

    def _calibration(self) -> dict[str, Any]:
        sides = {"before": True, "after": False}
        return {
            "temperature": self.fitted.temperature,
            "fitted_on": self.fitted.split or None,
            "bins": calibration.BINS,
            **{n: {k: class_scores.plain(v) for k, v in self.calibration_scores(b).items()} for n, b in sides.items()},
            "reliability": [{k: class_scores.plain(v) for k, v in b._asdict().items()} for b in self.reliability()],
        }

    def _decision(self) -> dict[str, Any] | None:
        chosen, found = self.fitted.threshold, self.at_threshold
        if chosen is None or found is None:
            return None
        whole = found.to_dict()
        names = ("accuracy", "balanced_accuracy", "per_class", "confusion_matrix")
        middle = intervals.of_matrix(found.matrix)["balanced_accuracy"]
        return {
            "label": chosen.label,
            "threshold": chosen.probability,
            "chosen_on": self.fitted.split,
            "balanced_accuracy_interval": _pair(middle),
            **{name: whole[name] for name in names},
        }


def _pair(interval: Interval) -> list[float | int | None]:
    return [class_scores.plain(value) for value in interval]
