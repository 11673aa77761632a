"""Scores answers that give each image any number of labels, with pure functions.

`truth` and `answers` are bool (N, K): whether a record carries a label, and whether the model says so. Scores are
computed for R weightings of the records at once, so that the scores of a split, of its bootstrap resamples and of a
paired difference of two models have one definition. A score without a value is NaN.
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # loads its parts when they are first used: they take a quarter of a second

from trainer.evaluation.scores import calibration
from trainer.evaluation.scores.calibration import Bin

GROUP, MOST_GROUPS = 15, 10  # records of a group at least, and groups of a chart at most
PLAIN = 0.5  # the threshold of a label that has none of its own
SLOPES = (0.05, 20.0)  # of a calibration; a fit that ends at one of them has no support in the data


def counts(truth: np.ndarray, answers: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes the right answers, the answers and the records of each label.

    Args:
      truth, answers: bool (N, K). draws: float (R, N), how often each record counts.

    Returns:
      Three arrays float64 (R, K).
    """
    both = (truth & answers).astype(np.float64)
    return draws @ both, draws @ answers.astype(np.float64), draws @ truth.astype(np.float64)


def f1(right: np.ndarray, given: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Returns the F1 scores, 2 right / (given + support); NaN where both are 0."""
    whole = given + support
    return np.asarray(np.divide(2 * right, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0))


def average_precisions(truth: np.ndarray, scores: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Returns the average precision of each label, float64 (R, K).

    The definition is that of `roc_pr.Curves`: records with equal scores are one threshold. NaN for a label that no
    drawn record carries, or that all of them carry.

    Args:
      truth: bool (N, K). scores: float (N, K), such as probabilities. draws: float (R, N).
    """
    found = np.full((len(draws), truth.shape[1]), np.nan)
    for k in range(truth.shape[1]):
        order = np.argsort(-scores[:, k], kind="stable")
        ordered = scores[order, k]
        last = np.append(np.flatnonzero(np.diff(ordered)), len(order) - 1)  # the last one of equal scores
        weights = draws[:, order]
        answered = np.cumsum(weights, axis=1)[:, last]
        hits = np.cumsum(weights * truth[order, k], axis=1)[:, last]
        support, records = hits[:, -1], answered[:, -1]
        gained = np.diff(hits, prepend=0.0, axis=1)
        precision = np.divide(hits, answered, out=np.zeros_like(hits), where=answered > 0)
        known = (support > 0) & (support < records)
        found[known, k] = (gained * precision).sum(axis=1)[known] / support[known]
    return found


def scores(
    truth: np.ndarray, probabilities: np.ndarray, answers: np.ndarray, draws: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the scores of all labels together, each float64 (R,).

    mean_average_precision: over the labels that some records carry and others do not. macro_f1: the mean over the
    labels that are carried or answered. micro_f1: of all pairs of record and label. exact: the share of records whose
    labels are all right.
    """
    right, given, support = counts(truth, answers, draws)
    exact = (truth == answers).all(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "mean_average_precision": mean(average_precisions(truth, probabilities, draws)),
            "macro_f1": mean(f1(right, given, support)),
            "micro_f1": f1(right.sum(axis=1), given.sum(axis=1), support.sum(axis=1)),
            "exact": (draws @ exact) / draws.sum(axis=1),
        }


def mean(values: np.ndarray) -> np.ndarray:
    """Returns the means of rows (R, K) without their NaN; NaN for a row of NaN only."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0))


def constant(truth: np.ndarray) -> dict[str, float]:
    """Returns the best that the same answer for every record can get, by score.

    For the F1 scores it is the best set of labels: those from some share on, and for the macro F1 all that a record
    carries. For the mean average precision it is the mean share, which is what answers at random get.
    """
    records = len(truth)
    if not records:
        return dict.fromkeys(("mean_average_precision", "macro_f1", "micro_f1", "exact"), math.nan)
    carried = truth.sum(axis=0)
    falling = np.sort(carried)[::-1]
    micro = 2 * np.cumsum(falling) / (records * np.arange(1, len(falling) + 1) + carried.sum())
    known = (carried > 0) & (carried < records)
    _, repeats = np.unique(truth, axis=0, return_counts=True)
    present = carried[carried > 0]
    return {
        "mean_average_precision": float((carried[known] / records).mean()) if known.any() else math.nan,
        "macro_f1": float((2 * present / (records + present)).mean()) if len(present) else math.nan,
        "micro_f1": float(micro.max()),
        "exact": float(repeats.max() / records),
    }


def fit_calibration(logits: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Fits a slope and a shift, so that sigmoid(slope * logit + shift) is the share.

    It is the logistic regression of Platt 1999 ("Probabilistic outputs for support vector machines"), with his
    targets: of P records with the label and N without they are (P + 1) / (P + 2) and 1 / (N + 2). The slope is
    positive, so the order of the records stays. A shift undoes what weights of the loss did to the probabilities.

    Args:
      logits: float (N,). truth: bool (N,).

    Returns:
      (1, 0), which changes nothing, if no record carries the label or if all of them do.
    """
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return 1.0, 0.0
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    s = np.asarray(logits, np.float64)

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        z = values[0] * s + values[1]
        error = scipy.special.expit(z) - target
        return float(np.mean(np.logaddexp(0.0, z) - target * z)), np.array([np.mean(error * s), np.mean(error)])

    found = scipy.optimize.minimize(objective, np.array([1.0, 0.0]), jac=True, bounds=[SLOPES, (None, None)]).x
    return float(found[0]), float(found[1])


def best_threshold(truth: np.ndarray, probability: np.ndarray) -> float:
    """Returns the threshold with the greatest F1 score of one label.

    A record gets the label if its probability is at least the threshold. Candidates are PLAIN and the middles between
    neighbouring probabilities; of equal ones it is the one nearest to PLAIN, which is also the answer if no record
    carries the label.

    Args:
      truth: bool (N,). probability: float (N,).
    """
    if not truth.any():
        return PLAIN
    values = np.unique(probability)
    candidates = np.concatenate([[PLAIN], (values[1:] + values[:-1]) / 2])
    every, own = np.sort(probability), np.sort(probability[truth])
    given = len(every) - np.searchsorted(every, candidates)
    right = len(own) - np.searchsorted(own, candidates)
    found = np.round(2 * right / (given + len(own)), 12)
    best = candidates[found == found.max()]
    return float(best[np.abs(best - PLAIN).argmin()])


def shares(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the mean probability and the share with the label, by group.

    The groups have equally many records, at least GROUP of them, and rise by the probability. Bins of equal width
    would hold most records in one of them, where a label is rare.

    Args:
      truth: bool (N,). probability: float (N,).

    Returns:
      Two arrays float64 (G,).
    """
    order = np.argsort(probability, kind="stable")
    groups = np.array_split(order, min(MOST_GROUPS, max(1, len(order) // GROUP)))
    known = [group for group in groups if len(group)]
    return np.array([probability[g].mean() for g in known]), np.array([truth[g].mean() for g in known])


def reliability(truth: np.ndarray, probability: np.ndarray) -> list[Bin]:
    """Groups records by the probability of one label, as `calibration.reliability`.

    The `accuracy` of a bin is the share of its records that carry the label.
    """
    as_two = np.stack([probability, np.zeros_like(probability)], axis=1)  # class 0 is to carry the label
    return calibration.reliability((~truth).astype(np.int64), as_two)
