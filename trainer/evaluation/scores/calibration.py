"""Calibrates probabilities by temperature scaling and measures their calibration.

A model is overconfident if only 7 of 10 answers with probability 0.9 are right. Dividing its logits by a temperature,
which is fitted on the validation split, changes the probabilities and no answer (Guo et al. 2017, "On calibration of
modern neural networks"). The functions are pure functions on NumPy arrays. Exports read the calibration of a run from
its `calibration.json`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer.config import TrainerError
from trainer.evaluation.scores.abstention import Abstention
from trainer.run_dir import CALIBRATION

BINS = 15  # of equal width, as in Guo et al. 2017
LEAST, GREATEST = 0.05, 100.0  # temperatures; a fit that ends at one of them has no support in the data
AT_ONCE = 1 << 20  # logits that the fit holds in float64
STEPS, PRECISION = 100, 1e-9  # of the fit; Newton's method needs about eight steps


class Bin(NamedTuple):
    """Describes the answers with a probability in (low, high].

    confidence and accuracy are NaN if there are none.
    """

    low: float
    high: float
    records: int
    confidence: float  # mean probability of the answer
    accuracy: float  # share of right answers


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Holds the decision threshold of a binary classifier.

    The classifier answers `label` (id `label_id`) if its probability is at least `probability`.
    """

    label: str
    label_id: int
    probability: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Holds the temperature and the thresholds that were fitted on a split.

    threshold: of two classes. abstention: if the model may abstain.

    split, records: the name of that split and its number of records. Without a fit the temperature is 1, which changes
    nothing, and split is "". ordered: whether the classes are grades, in the order of their ids.
    """

    temperature: float = 1.0
    threshold: Threshold | None = None
    split: str = ""
    records: int = 0
    abstention: Abstention | None = None
    ordered: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of calibration.json."""
        content = dataclasses.asdict(self)
        if self.abstention is None:
            del content["abstention"]
        if not self.ordered:
            del content["ordered"]
        return content

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


UNCALIBRATED = Calibration()


def read(directory: str | os.PathLike[str]) -> Calibration:
    """Reads the calibration of a run from its calibration.json.

    Runs of earlier versions do not have this file: the result is then UNCALIBRATED, which changes nothing.

    Raises:
      TrainerError: the file is not what a training run writes.
    """
    path = Path(directory) / CALIBRATION
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        threshold = data["threshold"]
        made = Calibration(
            float(data["temperature"]),
            None if threshold is None else Threshold(**threshold),
            str(data["split"]),
            int(data["records"]),
            Abstention(**data["abstention"]) if "abstention" in data else None,
            bool(data.get("ordered", False)),
        )
    except FileNotFoundError:
        return UNCALIBRATED
    except (OSError, ValueError, TypeError, KeyError) as e:
        raise TrainerError(
            f"{str(path)!r} should be as training wrote it ({type(e).__name__}: {e}): train again."
        ) from e
    if not LEAST <= made.temperature <= GREATEST:
        raise TrainerError(
            f"The temperature in {str(path)!r} should be from {LEAST} to {GREATEST}. Received: {made.temperature}: "
            "train again."
        )
    return made


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Returns the softmax of logits / temperature.

    float (N, C) logits or logarithms of probabilities -> float64 (N, C) probabilities.
    """
    shares = np.asarray(logits, np.float64) / temperature  # one array: of many classes it has gigabytes
    shares -= shares.max(axis=1, keepdims=True, initial=-np.inf)
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fits the temperature that minimizes the cross entropy of the labels.

    The method is Newton's inside a bracket, because the cross entropy is convex in 1 / temperature. The targets are
    those of Platt 1999 ("Probabilistic outputs for support vector machines"): with N records and C classes they are
    (N + 1) / (N + C) and 1 / (N + C) instead of 1 and 0. So a few records that are all right do not lead to
    probabilities of 1.

    Args:
      logits: float (N, C). labels: int (N,), true ids.

    Returns:
      A number from LEAST to GREATEST; 1 without records, or if no record has logits that differ.
    """
    records, classes = np.shape(logits)
    if not records:
        return 1.0
    of_labels = np.concatenate([
        scores[np.arange(len(scores)), labels[rows]] for rows, scores in _centred(logits)
    ])  # fmt: skip
    target = float(of_labels.mean()) * records / (records + classes)  # the mean of a row is 0
    low, high, factor = 1 / GREATEST, 1 / LEAST, 1.0
    for _ in range(STEPS):
        slope, curvature = _derivatives(logits, target, factor)
        if slope == 0:
            break
        low, high = (low, factor) if slope > 0 else (factor, high)
        step = factor - slope / curvature if curvature > 0 else math.nan
        following = step if low < step < high else math.sqrt(low * high)
        done = abs(following - factor) <= PRECISION * factor
        factor = following
        if done:
            break
    return float(min(max(1 / factor, LEAST), GREATEST))


def _centred(logits: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields some rows of logits at a time, in float64, less the mean of each row."""
    step = max(1, AT_ONCE // max(1, np.shape(logits)[1]))
    for first in range(0, len(logits), step):
        rows = slice(first, first + step)
        scores = np.asarray(logits[rows], np.float64)
        yield rows, scores - scores.mean(axis=1, keepdims=True)


def _derivatives(logits: np.ndarray, target: float, factor: float) -> tuple[float, float]:
    """Computes the derivatives of the mean cross entropy by the factor.

    The factor is 1 / temperature. The result is (first derivative, second derivative).
    """
    means, variances = [], []
    for _, scores in _centred(logits):
        probabilities = softmax(scores, 1 / factor)
        means.append((probabilities * scores).sum(axis=1))
        variances.append((probabilities * scores**2).sum(axis=1) - means[-1] ** 2)
    return float(np.concatenate(means).mean()) - target, float(np.concatenate(variances).mean())


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Groups answers by their probability into `bins` bins of equal width."""
    confidence = probabilities.max(axis=1, initial=0.0)
    right = probabilities.argmax(axis=1) == labels if len(labels) else np.zeros(0, bool)
    which = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(which, confidence, bins) / counts
        share = np.bincount(which, right.astype(np.float64), bins) / counts
    return [Bin(i / bins, (i + 1) / bins, int(counts[i]), float(mean[i]), float(share[i])) for i in range(bins)]


def calibration_error(bins: list[Bin]) -> float:
    """Returns the expected calibration error.

    It is the mean of |accuracy - confidence| over all answers, by bin. NaN without records.
    """
    records = sum(b.records for b in bins)
    if not records:
        return math.nan
    return sum(b.records * abs(b.accuracy - b.confidence) for b in bins if b.records) / records


def error_by_chance(probabilities: np.ndarray, draws: int = 100, seed: int = 0) -> float:
    """Simulates the mean calibration error of a perfectly calibrated model.

    Its answers are right exactly as often as their probabilities say. With few records the bins are noisy, and this
    error is far from 0. Only an error above it shows bad calibration. NaN without records.
    """
    confidence = probabilities.max(axis=1, initial=0.0)
    rng, errors = np.random.default_rng(seed), []
    for _ in range(draws):  # two classes: class 0 is the answer, and label 0 means that it is right
        wrong = (rng.random(len(confidence)) >= confidence).astype(np.int64)
        as_two = np.stack([confidence, np.zeros_like(confidence)], axis=1)
        errors.append(calibration_error(reliability(wrong, as_two)))
    return float(np.mean(errors))


def brier(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the Brier score (Brier 1950), from 0 to 2.

    It is the sum of (probability - truth)**2 over the classes, averaged over the records. NaN without records.
    """
    if not len(labels):
        return math.nan
    wrong = np.array(probabilities, np.float64)
    wrong[np.arange(len(labels)), labels] -= 1
    return float((wrong**2).sum(axis=1).mean())
