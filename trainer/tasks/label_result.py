"""Holds the answers of a model of several labels an image, and scores them."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy  # loads its parts when they are first used: they take a quarter of a second

from pipelines.contract import Contract
from pipelines.contract.task import MULTI_LABEL
from pipelines.core.text import listed
from trainer.evaluation import slices
from trainer.evaluation.cautions import FEW, NAMED
from trainer.evaluation.scores import calibration, class_scores, intervals, label_scores, roc_pr
from trainer.evaluation.scores.intervals import Interval
from trainer.evaluation.slices import NO_METADATA, Metadata, Score, Slices
from trainer.tasks import slice_table
from trainer.tasks.shown_result import Chart, Example, Headline, Report, Series, Table, number, reach
from trainer.tasks.task import Result, fitted_rows

SMALLEST = 1e-7  # smaller probabilities are raised to this: it is Keras's own epsilon
MOST_LINES = 8  # labels in a chart
MOST_NAMED = 6  # labels of an image in a picture's text
SCORES = {
    "mean_average_precision": "Mean AP", "macro_f1": "Macro F1", "micro_f1": "Micro F1", "exact": "All labels right",
}  # fmt: skip
IS, ANSWER, PROBABILITY = "is ", "answer ", "probability of "  # columns of predictions-SPLIT.csv, before a label


@dataclasses.dataclass(frozen=True)
class LabelPredictions:
    """Holds the logits of one model for N records of a split.

    truth: bool (N, K). logits: float32 (N, K); their sigmoid gives the probabilities before calibration.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]
    truth: np.ndarray
    logits: np.ndarray


@dataclasses.dataclass(frozen=True)
class LabelFit:
    """Holds the calibration and the threshold of each label.

    The probability of label k is sigmoid(slopes[k] * logit + shifts[k]), and the label is answered from thresholds[k]
    on. split, records: what they were fitted on; "" and 0 without a fit. unfitted: the labels that no record of the
    split carries, or that all carry, so that their probabilities are not calibrated.
    """

    names: tuple[str, ...]
    slopes: tuple[float, ...]
    shifts: tuple[float, ...]
    thresholds: tuple[float, ...]
    split: str = ""
    records: int = 0
    unfitted: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Returns the content of calibration.json."""
        rows = zip(self.names, self.slopes, self.shifts, self.thresholds, strict=True)
        content = {
            "task": MULTI_LABEL,
            "labels": {n: {"slope": a, "shift": b, "threshold": t} for n, a, b, t in rows},
            "split": self.split,
            "records": self.records,
            "unfitted": list(self.unfitted),
        }
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_fit(path: Path, contract: Contract) -> LabelFit:
    """Reads the calibration.json of a run.

    Raises:
      TrainerError: the file is not what a training of the contract's labels writes.
    """
    rows = fitted_rows(path, "labels", contract.labels, ("slope", "shift", "threshold"), positive="slope")
    slopes, shifts, thresholds = rows.values
    return LabelFit(contract.labels, slopes, shifts, thresholds, rows.split, rows.records, rows.unfitted)


@dataclasses.dataclass(frozen=True)
class LabelResult(Result):
    """Holds the predictions on a split and the fitted numbers, and derives all scores.

    metadata: the columns that travel along.
    """

    split: str
    predictions: LabelPredictions
    fitted: LabelFit
    metadata: Metadata = NO_METADATA

    @property
    def truth(self) -> np.ndarray:
        return self.predictions.truth

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """Returns the calibrated probabilities, float64 (N, K)."""
        logits = self.predictions.logits.astype(np.float64)
        return np.asarray(scipy.special.expit(logits * np.array(self.fitted.slopes) + np.array(self.fitted.shifts)))

    @functools.cached_property
    def answers(self) -> np.ndarray:
        """Returns which labels are answered, bool (N, K)."""
        return self.probabilities >= np.array(self.fitted.thresholds)

    @functools.cached_property
    def scores(self) -> dict[str, float]:
        """Returns the scores of all labels together, by the names in SCORES."""
        if not self.records:
            return dict.fromkeys(SCORES, np.nan)
        found = label_scores.scores(self.truth, self.probabilities, self.answers, np.ones((1, self.records)))
        return {name: float(values[0]) for name, values in found.items()}

    @functools.cached_property
    def constant(self) -> dict[str, float]:
        """Returns the best that one answer for all records can get, by score."""
        return label_scores.constant(self.truth)

    @functools.cached_property
    def intervals(self) -> dict[str, Interval]:
        """Returns the 95 % intervals of the scores in SCORES."""
        return {name: intervals.corrected(self._drawn[name], self.scores[name]) for name in SCORES}

    @functools.cached_property
    def of_labels(self) -> dict[str, np.ndarray]:
        """Returns the scores of each label by name, float64 (K,).

        Those that end in "_low" and "_high" are the ends of 95 % intervals.
        """
        truth, given = self.truth, self.answers
        right, answered, support = (part[0] for part in label_scores.counts(truth, given, np.ones((1, self.records))))
        before = scipy.special.expit(self.predictions.logits.astype(np.float64))
        curves = [self.curve(k) for k in range(len(self.names))]
        with np.errstate(invalid="ignore", divide="ignore"):
            found = {
                "support": support,
                "predicted": answered,
                "precision": np.where(answered > 0, right / answered, np.nan),
                "recall": np.where(support > 0, right / support, np.nan),
                "f1": label_scores.f1(right, answered, support),
                "average_precision": np.array([np.nan if c is None else c.average_precision for c in curves]),
                "roc_auc": np.array([np.nan if c is None else c.auc for c in curves]),
                "share": support / max(1, self.records),
                "threshold": np.array(self.fitted.thresholds),
                "ece": self._calibration_errors(self.probabilities),
                "ece_before": self._calibration_errors(before),
                "brier": ((self.probabilities - truth) ** 2).mean(axis=0) if self.records else support * np.nan,
            }
        for name in ("f1", "average_precision"):
            drawn = zip(self._drawn[f"{name} of labels"].T, found[name].tolist(), strict=True)
            ends = [intervals.corrected(values, value) for values, value in drawn]
            found[f"{name}_low"], found[f"{name}_high"] = (np.array(side) for side in zip(*ends, strict=True))
        return found

    def curve(self, k: int) -> roc_pr.Curves | None:
        """Returns the ROC and PR curves of label k.

        The result is None if no record or every record carries it.
        """
        return roc_pr.curves(self.truth[:, k], self.probabilities[:, k])

    def loss(self) -> float:
        """Returns the mean binary cross-entropy of the calibrated probabilities, in nats."""
        if not self.records:
            return float("nan")
        p = np.clip(self.probabilities, SMALLEST, 1 - SMALLEST)
        return float(-np.where(self.truth, np.log(p), np.log1p(-p)).mean())

    def to_dict(self) -> dict[str, Any]:
        result: dict[str, Any] = {"records": self.records, "loss": class_scores.plain(self.loss())}
        for name in SCORES:
            result[name] = class_scores.plain(self.scores[name])
            result[f"{name}_interval"] = [class_scores.plain(end) for end in self.intervals[name]]
        result["constant_answer"] = {name: class_scores.plain(value) for name, value in self.constant.items()}
        result["fitted_on"] = self.fitted.split or None
        if self.metadata.columns:
            result["by_slice"] = self.slices.to_dict()
        columns = {
            name: values.astype(np.int64) if name in ("support", "predicted") else values
            for name, values in self.of_labels.items()
            if not name.endswith(("_low", "_high"))
        }
        result["per_label"] = {
            label: {name: class_scores.plain(values[k]) for name, values in columns.items()}
            | {
                f"{name}_interval": [class_scores.plain(self.of_labels[f"{name}_{end}"][k]) for end in ("low", "high")]
                for name in ("f1", "average_precision")
            }
            for k, label in enumerate(self.names)
        }
        return result

    def report(self) -> Report:
        constant = {
            "mean_average_precision": "at random", "macro_f1": "always the same labels",
            "micro_f1": "always the same labels", "exact": "always the same labels",
        }  # fmt: skip
        headlines = [
            Headline(title, self.scores[name], self.intervals[name], f"{constant[name]}: {number(self.constant[name])}")
            for name, title in SCORES.items()
        ]
        error, before = (float(label_scores.mean(self.of_labels[n][None])[0]) for n in ("ece", "ece_before"))
        told = f"{number(before)} before calibration" if self.fitted.split else "nothing was fitted"
        headlines += [
            Headline("Calibration error", error, None, told),
            Headline(
                "Labels an image", float(self.truth.sum() / max(1, self.records)), None,
                f"{self.answers.sum() / max(1, self.records):.2f} answered",
            ),
        ]  # fmt: skip
        share = f"{100 * self.scores['exact']:.0f} %" if self.records else "none"
        sentence = (
            f"On {self.split}, {self.records:,} records of {len(self.names)} labels, the model gives all labels "
            f"rightly to {share} of them. The best answer that is the same for all records would be right in "
            f"{100 * self.constant['exact']:.0f} %."
            if self.records
            else f"{self.split} has no records."
        )
        about = (
            f"All intervals are 95 % intervals of {intervals.resamples_of(self.records, len(self.names)):,} bootstrap "
            "resamples of the records."
        )
        titles = {"mean_average_precision": "mean AP", "micro_f1": "micro F1"}
        parts = slice_table.table(self.slices, titles, self.scores["mean_average_precision"])
        return Report(sentence, headlines, self._tables(), self._charts(), about, parts)

    @functools.cached_property
    def slices(self) -> Slices:
        """Returns the mean average precision and the micro F1 of parts of the split."""

        def score(positions: np.ndarray) -> dict[str, Score]:
            truth, probabilities, answers = (part[positions] for part in (self.truth, self.probabilities, self.answers))
            own = label_scores.scores(truth, probabilities, answers, np.ones((1, len(positions))))
            cells = len(self.names) * len(self.metadata.columns)
            drawn = [
                label_scores.scores(truth, probabilities, answers, draws)
                for draws in intervals.draws(len(positions), cells)
            ]
            found = {}
            for name in ("mean_average_precision", "micro_f1"):
                value = float(own[name][0])
                resampled = np.concatenate([part[name] for part in drawn])
                found[name] = Score(value, intervals.corrected(resampled, value))
            return found

        return slices.scored(self.metadata, score, self.scores["mean_average_precision"])

    def cautions(self) -> list[str]:
        if not self.records:
            return ["There are no records."]
        sentences = []
        for name, title, of in (
            ("mean_average_precision", "mean average precision", "answers at random"),
            ("macro_f1", "macro F1", "the best answer that is the same for all records"),
            ("micro_f1", "micro F1", "the best answer that is the same for all records"),
        ):
            if self.scores[name] < self.constant[name]:
                sentences.append(f"The {title} is lower than that of {of}.")
            elif self.intervals[name].low <= self.constant[name]:
                sentences.append(f"The {title} does not differ clearly from that of {of}.")
        support = self.truth.sum(axis=0).tolist()
        few = [f"{label} ({n})" for label, n in zip(self.names, support, strict=True) if 0 < n < FEW]
        absent = [label for label, n in zip(self.names, support, strict=True) if not n]
        if few:
            sentences.append(
                f"Fewer than {FEW} records carry these labels, so their scores are very uncertain: "
                f"{listed(few, NAMED)}."
            )
        if absent:
            sentences.append(
                f"No record carries these labels, so the mean average precision leaves them out: "
                f"{listed(absent, NAMED)}."
            )
        if self.fitted.unfitted:
            sentences.append(
                f"In {self.fitted.split}, either no record or every record carries these labels, so their "
                f"probabilities are not calibrated, and their threshold says little: "
                f"{listed(self.fitted.unfitted, NAMED)}."
            )
        if self.split == self.fitted.split:
            sentences.append(
                "The kept epoch, the calibration and the thresholds were chosen on this split: its scores are too "
                "optimistic."
            )
        return sentences

    def scalars(self) -> dict[str, float]:
        found = {f"evaluation/{name}": value for name, value in self.scores.items()}
        aps = zip(self.names, self.of_labels["average_precision"].tolist(), strict=True)
        found |= {f"average_precision/{label}": value for label, value in aps}
        return {name: value for name, value in found.items() if not np.isnan(value)}

    def cells(self) -> tuple[list[str], Iterator[list[str | int]]]:
        names = [before + name for name in self.names for before in (IS, ANSWER, PROBABILITY)]
        rows = zip(self.truth, self.answers, self.probabilities, strict=True)
        return names, ([x for t, a, p in zip(*row, strict=True) for x in (int(t), int(a), f"{p:.6g}")] for row in rows)

    def worst(self, most: int) -> list[Example]:
        wrong = np.where(self.truth != self.answers, np.abs(self.probabilities - self.truth), 0.0)
        worst = wrong.max(axis=1, initial=0.0)
        order = [int(i) for i in np.argsort(-worst, kind="stable")[:most] if worst[i] > 0]
        return [Example(i, _labels(self.names, self.answers[i]), _labels(self.names, self.truth[i])) for i in order]

    @functools.cached_property
    def _drawn(self) -> dict[str, np.ndarray]:
        """Returns the scores of the bootstrap resamples, (R,) or (R, K)."""
        parts = []
        for draws in intervals.draws(self.records, len(self.names)):
            right, given, support = label_scores.counts(self.truth, self.answers, draws)
            parts.append(
                label_scores.scores(self.truth, self.probabilities, self.answers, draws)
                | {
                    "f1 of labels": label_scores.f1(right, given, support),
                    "average_precision of labels": label_scores.average_precisions(
                        self.truth, self.probabilities, draws
                    ),
                }
            )
        if not parts:
            empty = np.full((1, len(self.names)), np.nan)
            return dict.fromkeys(SCORES, empty[:, 0]) | dict.fromkeys(
                ("f1 of labels", "average_precision of labels"), empty
            )
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _calibration_errors(self, probabilities: np.ndarray) -> np.ndarray:
        return np.array([
            calibration.calibration_error(label_scores.reliability(self.truth[:, k], probabilities[:, k]))
            for k in range(len(self.names))
        ])  # fmt: skip

    def _lowest(self) -> list[int]:
        """Returns the labels of the charts, those with the lowest average precision first."""
        found = self.of_labels["average_precision"]
        return [int(k) for k in np.argsort(found, kind="stable")[:MOST_LINES] if not np.isnan(found[k])]

    def _tables(self) -> list[Table]:
        o = self.of_labels
        order = np.argsort(o["average_precision"], kind="stable").tolist()  # NaN is last
        ranges = {
            name: [reach(Interval(*ends)) for ends in zip(o[f"{name}_low"], o[f"{name}_high"], strict=True)]
            for name in ("average_precision", "f1")
        }
        ranking = [
            (
                self.names[k], int(o["support"][k]), o["average_precision"][k], ranges["average_precision"][k],
                o["share"][k], o["roc_auc"][k], o["ece"][k], o["ece_before"][k],
            )
            for k in order
        ]  # fmt: skip
        answers = [
            (
                self.names[k], o["threshold"][k], o["f1"][k], ranges["f1"][k], o["precision"][k], o["recall"][k],
                int(o["predicted"][k]),
            )
            for k in order
        ]  # fmt: skip
        chosen = self.fitted.split
        where = f"chosen on {chosen} for the greatest F1" if chosen else "not chosen: there was no validation split"
        if self.fitted.unfitted:
            where += f" (of {listed(self.fitted.unfitted, NAMED)} it could not be)"
        return [
            Table(
                "Labels",
                "The label with the lowest average precision (AP) comes first. Answers at random get the share of the "
                "label. The last columns are the calibration error, and that before the calibration.",
                ("label", "records", "AP", "95 %", "at random", "AUC", "error", "before"),
                ranking,
            ),
            Table(
                "Answers",
                f"A label is answered if its probability is at least the threshold, which was {where}.",
                ("label", "threshold", "F1", "95 %", "precision", "recall", "answered"),
                answers,
            ),
        ]

    def _charts(self) -> list[Chart]:
        lowest, unit = self._lowest(), (0.0, 1.0)
        few = f" of the {len(lowest)} labels with the lowest AP" if len(lowest) < len(self.names) else ""
        curves = [(self.names[k], c) for k in lowest if (c := self.curve(k)) is not None]
        one_kind = "" if curves else "No label is both on some records and not on others: there is nothing to rank."
        steps = [
            Series(
                name,
                np.repeat(np.concatenate([[0.0], c.recall]), 2)[1:-1],
                np.repeat(c.precision, 2),
                value=c.average_precision,
            )
            for name, c in curves
        ]
        roc = [Series(n, c.false_positive_rate, c.true_positive_rate, value=c.auc) for n, c in curves]
        errors = self.of_labels["ece"].tolist()
        # One group is one point, and no line can be drawn of it.
        too_few = self.records < 2 * label_scores.GROUP
        reliable = [
            Series(self.names[k], *label_scores.shares(self.truth[:, k], self.probabilities[:, k]), value=errors[k])
            for k in ([] if too_few else lowest)
        ]
        no_groups = (
            f"There are {self.records:,} records, and two groups need at least {2 * label_scores.GROUP}: too few to "
            "see whether probabilities are shares."
            if too_few
            else one_kind
        )
        return [
            Chart(
                "Precision and recall, and average precision", f"Every possible threshold{few}.",
                ("recall", "precision"), unit, unit, steps, instead=one_kind,
            ),
            Chart(
                "ROC, and the area under it", "The dotted line is answering at random.",
                ("false positive rate", "true positive rate"), unit, unit, roc, True, one_kind,
            ),
            Chart(
                "Calibration, and the calibration error",
                "Groups of equally many records. On the dotted line, probabilities are shares.",
                ("probability of the label", "share of records with the label"), unit, unit, reliable, True, no_groups,
            ),
        ]  # fmt: skip


def _labels(names: Sequence[str], carried: np.ndarray) -> str:
    found = [name for name, has in zip(names, carried.tolist(), strict=True) if has]
    return listed(found, MOST_NAMED) if found else "no label"
