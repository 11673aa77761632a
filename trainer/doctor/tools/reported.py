"""Compares accuracies that a program reported with those that the doctor measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from trainer.doctor.finding import NotApplicable
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import Split, Subject
from trainer.doctor.tools import scores, task
from trainer.doctor.tools.scores import Score

FAR = 0.3  # beyond the measured 95 % interval; augmentation and dropout cost less in training
LIKE_MAJORITY = 0.1  # an accuracy of training less than this above the commonest class shows nothing learned
FEWEST = 3  # epochs; the accuracy of training is a mean over an epoch in which the model learns
UNLIKE = 0.2  # half the sum of the differences of the class shares; a sorted split begins with other classes
CHANCE = 0.02  # above guessing
# Words in the names of shares that are no accuracy of all answers.
OTHERS = {"top", "k", "balanced", "class", "mean", "positive", "negative", "pos", "neg", "per"}


def is_accuracy(name: str) -> bool:
    """Tells by its name whether a metric is the share of right answers."""
    words = re.split(r"[_\W]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return bool({"acc", "accuracy"} & set(words)) and not OTHERS & set(words)


def doubts_of_history(subject: Subject) -> Iterator[str]:
    """Yields sentences on accuracies of a history that the model contradicts."""
    history = subject.history or {}
    for score in scores.of(subject):
        split = subject.split(score.split)
        prefix = "val_" if split is subject.validation else ""
        for name, values in history.items():
            if name.startswith("val_") != bool(prefix) or not is_accuracy(name.removeprefix(prefix)) or not values:
                continue
            low, high = score.interval
            value = min(values, key=lambda one: max(low - one, one - high))  # of the epoch whose weights were kept
            nothing = bool(prefix) or (len(values) >= FEWEST and value <= score.majority + LIKE_MAJORITY)
            if _contradicts(value, score, split) and nothing:
                yield f"fit reported {name} {value:.1%} at best, and {_measured(score)}"


def doubt_of_evaluation(told: str, values: Mapping[str, float], subject: Subject) -> str:
    """Returns a sentence if what evaluate reported speaks against the model.

    It is an accuracy of guessing, or one far from that which was measured. It returns "" otherwise.

    Args:
      told: where it was called.
      subject: has the data of evaluate as validation; None as validation where they cannot be read again.
    """
    name, value = next(((n, v) for n, v in values.items() if is_accuracy(n) and 0 <= v <= 1), ("", 0.0))
    if not name or task.is_regression(subject) or task.is_multilabel(subject):
        return ""
    score = next(
        (one for one in scores.of(subject) if subject.validation and one.split == subject.validation.name), None
    )
    sentence = f"{told} reported {name} {value:.1%}"
    if score is not None and subject.validation is not None:
        if _contradicts(value, score, subject.validation):
            return f"{sentence}, and {_measured(score)}"
        return f"{sentence}, which is no better than guessing" if score.at_chance else ""
    try:
        guess = 1 / state.classes(subject)
    except NotApplicable:
        return ""
    return f"{sentence}, and guessing gives {guess:.1%}" if name in state.ACCURACIES and value <= guess + CHANCE else ""


def _contradicts(value: float, score: Score, split: Split) -> bool:
    low, high = score.interval
    far = value < low - FAR or high + FAR < value <= 1
    return far and _unlike(score.true, split.sample.labels_seen) < UNLIKE


def _unlike(some: Sequence[int] | np.ndarray, others: Sequence[int] | np.ndarray) -> float:
    """Returns half the sum of the differences of the class shares, 0 to 1."""
    classes = np.union1d(some, others)
    shares = [np.array([np.mean(np.asarray(ids) == one) for one in classes]) for ids in (some, others)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _measured(score: Score) -> str:
    return f"the model is right on {score.accuracy:.1%} of {len(score.true):,} {score.split} images"
