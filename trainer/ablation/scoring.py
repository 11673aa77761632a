"""Computes scores of predicted classes, and their bootstrap differences, in NumPy.

The bootstrap measures how much a score depends on which images the test split holds. It draws images with replacement
within each class (a stratified bootstrap: Efron and Tibshirani 1993, "An Introduction to the Bootstrap"), so that the
class distribution stays the same. All variants get the same draws, so that their scores can be subtracted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "rare_recall": "recall of the rare class",
}
ROUNDS = 2000
BLOCK = 1 << 23  # number of weights held in memory at a time


def scores(truth: np.ndarray, answers: np.ndarray, classes: int, rare: int) -> dict[str, float]:
    """Computes each of METRICS from true and predicted class ids.

    Means over classes leave out a class whose value is undefined. The recall of the rare class is NaN if that class has
    no records.
    Args:
      truth: int (N,), true class ids.
      answers: int (N,), predicted class ids.
      classes: number of classes.
      rare: id of the rare class.
    """
    found = _weighted(np.ones((1, len(truth)), np.float32), truth, answers, classes, rare)
    return {name: float(values[0]) for name, values in found.items()}


def differences(
    truth: np.ndarray, ours: np.ndarray, theirs: np.ndarray, classes: int, rare: int, rounds: int = ROUNDS
) -> dict[str, np.ndarray]:
    """Computes bootstrap differences, ours - theirs, of the scores' means over seeds.

    Args:
      truth: int (N,), true class ids.
      ours, theirs: int (S, N), predicted class ids, one row per seed.

    Returns:
      float64 (rounds,) for each of METRICS. The draws are the same in every call.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}
    for weights in _draws(truth, rounds):
        mine, other = (
            [_weighted(weights, truth, answers, classes, rare) for answers in side] for side in (ours, theirs)
        )  # fmt: skip
        for name in METRICS:
            parts[name].append(np.mean([s[name] for s in mine], axis=0) - np.mean([s[name] for s in other], axis=0))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _draws(truth: np.ndarray, rounds: int) -> Iterator[np.ndarray]:
    """Yields how often each image is drawn, as float32 blocks (block, N).

    All blocks together have `rounds` rows.
    """
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(truth == label) for label in np.unique(truth)]
    block = max(1, BLOCK // max(1, len(truth)))
    for start in range(0, rounds, block):
        weights = np.zeros((min(block, rounds - start), len(truth)), np.float32)
        for ids in members:
            weights[:, ids] = rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), len(weights))
        yield weights


def _weighted(
    weights: np.ndarray, truth: np.ndarray, answers: np.ndarray, classes: int, rare: int
) -> dict[str, np.ndarray]:
    """Computes each of METRICS, float (R,), with record weights (R, N).

    A record counts `weights` times. The metrics are defined as in `evaluation/scores/metrics`.
    """
    true, given = (np.eye(classes, dtype=np.float32)[ids] for ids in (truth, answers))  # (N, C)
    support, times, right = (weights.astype(np.float64) @ m for m in (true, given, true * given))  # (R, C)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, f1 = right / support, 2 * right / (support + times)  # NaN for a class without records
    with_mean = {"balanced_accuracy": recall, "macro_f1": f1}
    means = {name: np.nanmean(values, axis=1) for name, values in with_mean.items()}
    return {"accuracy": right.sum(axis=1) / support.sum(axis=1), **means, "rare_recall": recall[:, rare]}
