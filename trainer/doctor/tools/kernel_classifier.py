"""Classifies by simple features with cross-validated kernel ridge regression.

It is quick, and it judges each image by a classifier that did not see it.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.doctor.clock import Clock

FOLDS = 5
RIDGE = 0.3
FEWEST_OF_CLASS = 10


@dataclasses.dataclass(frozen=True)
class Judgement:
    """Holds the cross-validated answers of the classifier.

    probabilities: float64 (N, C), for each image from a classifier that did not see it. Their order is reliable. One
      temperature calibrates their size.
    ids: int64 (N,), labels as columns 0..C-1.
    classes: the label of each column.
    chosen: the rows of the given features that were used.
    memorized: the share of its own training images that the classifier gets right.
    """

    probabilities: np.ndarray
    ids: np.ndarray
    classes: np.ndarray
    chosen: np.ndarray
    memorized: float

    @property
    def recalls(self) -> np.ndarray:
        """Returns the recall of each class, float64 (C,)."""
        right = self.probabilities.argmax(axis=1) == self.ids
        return np.array([right[self.ids == c].mean() for c in range(len(self.classes))])

    @property
    def balanced_accuracy(self) -> float:
        return float(self.recalls.mean())

    @property
    def standard_error(self) -> float:
        """Returns the standard error that the balanced accuracy of guesses has.

        It sums the binomial variances of the classes.
        """
        chance = 1 / len(self.classes)
        counts = np.bincount(self.ids)
        return float(np.sqrt((chance * (1 - chance) / counts).sum()) / len(counts))


def judge(features: np.ndarray, labels: np.ndarray, clock: Clock) -> Judgement | None:
    """Judges how well features (N, F) predict labels (N,); None with too few images.

    At least two classes must have FEWEST_OF_CLASS images. Other classes are left out.
    """
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
    """Returns the Gaussian kernel; its width is the median distance."""
    squares = np.square(features).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * features @ features.T, 0)
    return np.exp(-distances / max(float(np.median(distances)), 1e-12))


def _folds(ids: np.ndarray) -> np.ndarray:
    """Returns a fold for each image; every class is spread evenly over all folds."""
    fold = np.empty(len(ids), np.int64)
    rng = np.random.default_rng(0)
    for c in np.unique(ids):
        members = rng.permutation(np.flatnonzero(ids == c))
        fold[members] = (np.arange(len(members)) + c) % FOLDS
    return fold


def _calibrated(scores: np.ndarray, ids: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the softmax at the temperature with the least weighted log loss.

    The method is that of Guo et al. 2017.
    """
    best: tuple[float, np.ndarray] = (np.inf, scores)
    for temperature in np.geomspace(0.01, 10, 40):
        logits = scores / temperature
        logits -= logits.max(axis=1, keepdims=True)
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        loss = float(-(weights * np.log(probabilities[np.arange(len(ids)), ids] + 1e-12)).mean())
        if loss < best[0]:
            best = loss, probabilities
    return best[1]


def answers_of(features: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the labels that a classifier of (features, labels) gives to other rows.

    Each class weighs the same.
    """
    classes, ids = np.unique(labels, return_inverse=True)
    kernel = _kernel(np.concatenate([features, others]))
    weights = len(ids) / (len(classes) * np.bincount(ids)[ids])
    own = len(features)
    targets = np.eye(len(classes))[ids] - 1 / len(classes)
    solved = np.linalg.solve(kernel[:own, :own] + np.diag(RIDGE / weights), targets)
    found: np.ndarray = classes[(kernel[own:, :own] @ solved).argmax(axis=1)]
    return found
