"""Checks whether the label 1 of a pair stands for two of the same."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.sample import choose
from trainer.doctor.subject.subject import Subject, run_model

PAIRS, FEWEST = 256, 32  # pairs that are looked at, and the fewest that tell
CONSTANT = 0.05  # share of the spread of the answers within which those to two equal inputs lie
SURE = 0.75  # share of the cases in which a pair of one label is farther apart than a pair of the other


def look(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a loss that pushes apart those pairs whose inputs are alike."""
    sample = subject.split("train").sample
    pairs = choose(sample.inputs, slice(PAIRS))
    first, second, labels = *_two(pairs), np.asarray(sample.labels[:PAIRS]).reshape(-1)
    if len(labels) != len(first) or len(labels) < FEWEST or set(np.unique(labels)) != {0, 1}:
        raise NotApplicable("there are no labels of pairs, 0 and 1")
    answers = run_model(subject.model, pairs)
    clock.check()
    near = run_model(subject.model, keras.tree.pack_sequence_as(pairs, [first, first]))
    if answers.size != len(labels) or near.size != len(labels):
        raise NotApplicable("the model gives more than one number for a pair")
    answers, near = answers.reshape(-1), near.reshape(-1)
    far = float(np.quantile(answers, 0.9 if near.mean() <= np.median(answers) else 0.1))
    if np.ptp(near) > CONSTANT * np.ptp(answers) or not (near.min() <= answers.min() or near.max() >= answers.max()):
        raise NotApplicable("the answer is no distance between the two inputs")
    at = {label: [_loss(subject.model.loss, label, value) for value in (float(near.mean()), far)] for label in (0, 1)}
    apart = [label for label, (alike, different) in at.items() if different < alike]
    if len(apart) != 1:
        return []
    distances = np.square(first.astype(np.float64) - second).reshape(len(first), -1).mean(axis=1)
    ones, others = (distances[(labels == apart[0]) == wanted] for wanted in (True, False))
    nearer = float(np.mean(ones[:, None] < others))
    if nearer < SURE:
        return []
    alike, different = at[apart[0]]
    return [
        catalogue.found(
            "pair-labels-reversed",
            f"For two equal inputs the model answers {near.mean():.3g}. The loss of the label {apart[0]} falls from "
            f"{alike:.3g} there to {different:.3g} at {far:.3g}, so it pushes these pairs apart. But a pair of this "
            f"label is nearer, by the squares of the differences of its inputs, than one of the other in "
            f"{nearer:.0%} of cases.",
            label=apart[0],
        )
    ]


def _two(inputs: Any) -> tuple[np.ndarray, np.ndarray]:
    parts = [np.asarray(part) for part in keras.tree.flatten(inputs)]
    if len(parts) != 2 or parts[0].shape != parts[1].shape or any(part.dtype.kind not in "fiu" for part in parts):
        raise NotApplicable("the inputs are no pairs")
    return parts[0], parts[1]


def _loss(loss: Any, label: int, answer: float) -> float:
    """Returns the loss of one answer to pairs with one label."""
    given = (np.full((8, 1), value, np.float32) for value in (label, answer))
    try:
        return float(np.mean(keras.losses.get(loss)(*map(keras.ops.convert_to_tensor, given))))
    except Exception as e:  # losses raise many types
        raise NotApplicable(f"the loss does not take a number and a label ({type(e).__name__})") from e


PROBES = (Probe("meaning of the labels of pairs", look, ("images", "model", "loss"), 5.0),)
