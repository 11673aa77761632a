"""Scores a trained model that predicts several labels an image, or numbers."""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools import task
from trainer.evaluation.scores import intervals, label_scores, number_scores
from trainer.evaluation.scores.intervals import Interval

RECORDS = 256  # greatest number of images that are scored; each costs up to 2,000 resamples
MOST_WIDTH = 64  # labels or numbers an image; more are a picture or a text that is to be made


@dataclasses.dataclass(frozen=True)
class AnswerScore:
    """Holds the score of a model on a split, and that of a constant answer.

    measure: name of the score. guess: words for the constant answer. value, constant: the score of the model and of
    the constant answer. interval: 95 % bootstrap interval of `value` over the images.
    """

    split: str
    images: int
    measure: str
    value: float
    interval: Interval
    guess: str
    constant: float

    @property
    def at_chance(self) -> bool:
        """Tells whether the model is not clearly better than the constant answer."""
        return bool(self.interval.low <= self.constant)

    @property
    def sentence(self) -> str:
        return (
            f"{self.split}: the model's {self.measure} on {self.images:,} images is {self.value:.3f} "
            f"({self.interval.low:.3f} to {self.interval.high:.3f}); {self.guess} gives {self.constant:.3f}"
        )


def of(subject: Subject, split: str, labels: np.ndarray, outputs: np.ndarray) -> AnswerScore | None:
    """Returns the score of a model's outputs, or None.

    It is None where the subject has classes, or where the score has no value.

    Args:
      split: the name of the split. labels: (N,) or (N, K). outputs: float32 (N, ...), finite.
    """
    truth, given = (values[:RECORDS].reshape(min(len(values), RECORDS), -1) for values in (labels, outputs))
    if truth.shape != given.shape or truth.shape[1] > MOST_WIDTH or not np.isfinite(truth).all():
        return None
    if task.is_regression(subject):
        # Of several numbers the mean counts, as in the evaluation of the trainer.
        measure, score, guess, constant = "R²", _r2, "always answering their mean", 0.0
    elif task.is_multilabel(subject):
        truth = truth > 0.5
        measure, score, guess = "mean average precision", _average_precision, "answering at random"
        constant = label_scores.constant(truth)["mean_average_precision"]
    else:
        return None
    value = float(score(truth, given, np.ones((1, len(truth))))[0])
    if not np.isfinite(value):
        return None
    drawn = np.concatenate([score(truth, given, draws) for draws in intervals.draws(len(truth), truth.shape[1])])
    return AnswerScore(split, len(truth), measure, value, intervals.corrected(drawn, value), guess, constant)


def _r2(truth: np.ndarray, given: np.ndarray, draws: np.ndarray) -> np.ndarray:
    columns = range(truth.shape[1])
    return label_scores.mean(
        np.stack([number_scores.scores(truth[:, k], given[:, k], draws)["r2"] for k in columns], axis=1)
    )


def _average_precision(truth: np.ndarray, given: np.ndarray, draws: np.ndarray) -> np.ndarray:
    return label_scores.mean(label_scores.average_precisions(truth, given, draws))
