"""A quick classifier on simple features, judged on images that it did not see: kernel ridge regression in folds."""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.doctor.clock import Clock

FOLDS = 5
RIDGE = 0.3
FEWEST_OF_CLASS = 10


@dataclasses.dataclass(frozen=True)
class Judgement:
    """probabilities: float64 (N, C), of each image by a classifier that did not see it; their order is sound, their
    size calibrated by one temperature.

    ids: int64 (N,), labels as columns 0..C-1. classes: label of each column. chosen: rows of the features given.
    memorized: share of its own images that the classifier gets right.
    """

    probabilities: np.ndarray
    ids: np.ndarray
    classes: np.ndarray
    chosen: np.ndarray
    memorized: float

    @property
    def recalls(self) -> np.ndarray:
        """float64 (C,)."""
        right = self.probabilities.argmax(axis=1) == self.ids
        return np.array([right[self.ids == c].mean() for c in range(len(self.classes))])

    @property
    def balanced_accuracy(self) -> float:
        return float(self.recalls.mean())

    @property
    def standard_error(self) -> float:
        """Of the balanced accuracy where every answer is a guess: binomial, class by class."""
        chance = 1 / len(self.classes)
        counts = np.bincount(self.ids)
        return float(np.sqrt((chance * (1 - chance) / counts).sum()) / len(counts))


def judge(features: np.ndarray, labels: np.ndarray, clock: Clock) -> Judgement | None:
    """Judges features (N, F) for labels (N,) of at least two classes with FEWEST_OF_CLASS images; None with fewer."""
    classes, counts = np.unique(labels, return_counts=True)
    classes = classes[counts >= FEWEST_OF_CLASS]
    chosen = np.flatnonzero(np.isin(labels, classes))
    if len(classes) < 2 or not len(chosen):
        return None
    classes = np.unique(labels[chosen])
    ids = np.searchsorted(classes, labels[chosen])
    kernel = _kernel(features[chosen])
    targets = np.eye(len(classes))[ids] - 1 / len(classes)
    weights = len(ids) / (len(classes) * np.bincount(ids)[ids])
    fold = _folds(ids)
    scores = np.empty_like(targets)
    memorized = []
    for k in range(FOLDS):
        clock.check()
        train, test = fold != k, fold == k
        inner = kernel[np.ix_(train, train)] + np.diag(RIDGE / weights[train])
        solved = np.linalg.solve(inner, targets[train])
        scores[test] = kernel[np.ix_(test, train)] @ solved
        memorized.append(np.mean((kernel[np.ix_(train, train)] @ solved).argmax(axis=1) == ids[train]))
    return Judgement(_calibrated(scores, ids, weights), ids, classes, chosen, float(np.mean(memorized)))


def _kernel(features: np.ndarray) -> np.ndarray:
    """Gaussian, as wide as the median distance."""
    squares = np.square(features).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * features @ features.T, 0)
    return np.exp(-distances / max(float(np.median(distances)), 1e-12))


def _folds(ids: np.ndarray) -> np.ndarray:
    """A fold for each image; every class is spread evenly over all of them."""
    fold = np.empty(len(ids), np.int64)
    rng = np.random.default_rng(0)
    for c in np.unique(ids):
        members = rng.permutation(np.flatnonzero(ids == c))
        fold[members] = (np.arange(len(members)) + c) % FOLDS
    return fold


def _calibrated(scores: np.ndarray, ids: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Softmax at the temperature of the least weighted log loss (Guo et al. 2017)."""
    best: tuple[float, np.ndarray] = (np.inf, scores)
    for temperature in np.geomspace(0.01, 10, 40):
        logits = scores / temperature
        logits -= logits.max(axis=1, keepdims=True)
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        loss = float(-(weights * np.log(probabilities[np.arange(len(ids)), ids] + 1e-12)).mean())
        if loss < best[0]:
            best = loss, probabilities
    return best[1]
