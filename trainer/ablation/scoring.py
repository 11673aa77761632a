"""Scores of answers, whole and resampled: pure functions on NumPy arrays.

Resampling tells what the scores owe to the images that happen to be in the test split. Images are drawn with
replacement within each class (a stratified bootstrap: Efron and Tibshirani 1993, "An Introduction to the Bootstrap"),
so that the natural distribution stays; the same draws for all variants, so that they can be subtracted.
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
BLOCK = 1 << 23  # weights held at a time


def scores(truth: np.ndarray, answers: np.ndarray, classes: int, rare: int) -> dict[str, float]:
    """int (N,) true ids and int (N,) given ids -> the score of each of METRICS. NaN without records of any class."""
    found = _weighted(np.ones((1, len(truth)), np.float32), truth, answers, classes, rare)
    return {name: float(values[0]) for name, values in found.items()}


def differences(
    truth: np.ndarray, ours: np.ndarray, theirs: np.ndarray, classes: int, rare: int, rounds: int = ROUNDS
) -> dict[str, np.ndarray]:
    """Resampled differences, ours - theirs, of the scores' means over the seeds.

    Args:
      truth: int (N,) true ids.
      ours, theirs: int (S, N) given ids, a row a seed.

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
    """How often each image is drawn: float32 (block, N), rounds in all."""
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
    """Each record counts `weights` times: (R, N) -> (R,) for each of METRICS, as `evaluation/metrics` defines them."""
    true, given = (np.eye(classes, dtype=np.float32)[ids] for ids in (truth, answers))  # (N, C)
    support, times, right = (weights.astype(np.float64) @ m for m in (true, given, true * given))  # (R, C)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, f1 = right / support, 2 * right / (support + times)  # NaN where a class is nowhere
    with_mean = {"balanced_accuracy": recall, "macro_f1": f1}
    means = {name: np.nanmean(values, axis=1) for name, values in with_mean.items()}
    return {"accuracy": right.sum(axis=1) / support.sum(axis=1), **means, "rare_recall": recall[:, rare]}
