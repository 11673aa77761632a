"""Scores the user's trained model on the images of each split."""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.doctor.clock import Clock
from trainer.doctor.finding import NotApplicable
from trainer.doctor.subject import state
from trainer.doctor.subject.sample import choose
from trainer.doctor.subject.subject import (
    OUTPUT_BATCH,
    OUTPUT_IMAGES,
    OUTPUT_SECONDS,
    Split,
    Subject,
    run_model,
)
from trainer.doctor.tools import answer_scores, task
from trainer.doctor.tools.answer_scores import AnswerScore
from trainer.evaluation.scores import intervals

SURE = 2.0  # standard errors of guessing above which a balanced accuracy shows that something was learned
FEWEST = 20  # images; the interval of fewer is wider than 40 points


@dataclasses.dataclass(frozen=True)
class Score:
    """Holds how often a model is right on a split.

    classes: number of classes; guessing is right once in so many.
    true, answered: int64 (N,), the class ids.
    """

    split: str
    classes: int
    true: np.ndarray
    answered: np.ndarray

    @property
    def right(self) -> int:
        return int(np.count_nonzero(self.true == self.answered))

    @property
    def accuracy(self) -> float:
        return self.right / len(self.true)

    @property
    def balanced(self) -> float:
        """Returns the mean of the recalls of the classes that occur."""
        return float(np.mean([np.mean(self.answered[self.true == c] == c) for c in np.unique(self.true)]))

    @property
    def majority(self) -> float:
        """Returns the share of the commonest class."""
        return float(np.unique(self.true, return_counts=True)[1].max() / len(self.true))

    @property
    def interval(self) -> intervals.Interval:
        """Returns Wilson's 95 % interval of the accuracy."""
        return intervals.wilson(self.right, len(self.true))

    @property
    def at_chance(self) -> bool:
        """Tells whether the answers are no better than chance or the majority.

        The balanced accuracy is less than SURE standard errors above guessing, and the interval of the accuracy holds
        the share of the commonest class or lies below it.
        """
        _, counts = np.unique(self.true, return_counts=True)
        chance = 1 / self.classes
        error = float(np.sqrt((chance * (1 - chance) / counts).sum()) / len(counts))
        return self.balanced <= chance + SURE * error and self.interval.low <= self.majority

    @property
    def below_chance(self) -> bool:
        """Tells whether even the upper end of the interval is below guessing."""
        return len(np.unique(self.true)) > 1 and self.interval.high < min(1 / self.classes, 1 - self.majority)

    @property
    def sentence(self) -> str:
        low, high = self.interval
        return (
            f"{self.split}: the model's accuracy on {len(self.true):,} images is {self.accuracy:.1%} "
            f"({low:.1%} to {high:.1%}), balanced {self.balanced:.1%}; guessing gives {1 / self.classes:.1%}, always "
            f"answering the commonest class {self.majority:.1%}"
        )


def of(subject: Subject) -> tuple[Score, ...]:
    """Returns the scores of a model of classes on train and validation, computed once.

    It returns () where the model is not trained, predicts no classes, does not take the images, or has a loss that does
    not look at the labels.
    """
    return tuple(score for score in of_any_task(subject) if isinstance(score, Score))


def of_any_task(subject: Subject) -> tuple[Score | AnswerScore, ...]:
    """Returns the scores on train and validation, computed once.

    The model may predict classes, labels or numbers. It returns () where the model is not trained, does not take the
    images, makes images or texts, or has a loss that does not look at the labels.
    """
    return subject.once("scores", lambda: _of(subject))


def _of(subject: Subject) -> tuple[Score | AnswerScore, ...]:
    if subject.model is None or not state.is_trained(subject) or task.ignores_labels(subject):
        return ()
    found = []
    for split in subject.splits:
        if len(split.sample) < FEWEST:
            continue
        try:
            outputs = subject.outputs if split is subject.splits[-1] else outputs_of(subject, split)
            score = _score(subject, split, outputs)
        except NotApplicable:
            continue
        if score is not None:
            found.append(score)
    return tuple(found)


def outputs_of(subject: Subject, split: Split) -> np.ndarray:
    """Returns the model's outputs for the first images of a split, float32.

    Raises:
      NotApplicable: the model does not take the images.
    """
    count, clock, found = min(OUTPUT_IMAGES, len(split.sample.images)), Clock(OUTPUT_SECONDS), []
    for start in range(0, count, OUTPUT_BATCH):
        found.append(
            run_model(subject.model, choose(split.sample.inputs, slice(start, min(start + OUTPUT_BATCH, count))))
        )
        if clock.over:
            break
    return np.concatenate(found)


def _score(subject: Subject, split: Split, outputs: np.ndarray) -> Score | AnswerScore | None:
    if outputs.ndim > 2 or not np.isfinite(outputs).all():
        return None
    true = split.sample.ids[: len(outputs)]
    labels = split.sample.labels[: len(outputs)]
    if task.is_regression(subject) or task.is_multilabel(subject):
        return answer_scores.of(subject, split.name, labels, outputs)
    if labels.ndim > 1 and labels.shape[-1] > 1 and (np.count_nonzero(labels > 0.5, axis=-1) != 1).any():
        return None  # several classes may be true of one image
    if outputs.size == len(outputs) and set(np.unique(labels)) == {-1, 1}:  # as of a hinge loss
        return Score(split.name, 2, (labels > 0).reshape(-1), outputs.reshape(-1) > 0)
    return Score(split.name, state.classes(subject), true, state.answers(outputs)) if true.min() >= 0 else None
