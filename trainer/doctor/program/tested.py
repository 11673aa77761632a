"""Examines by what a program judges its models after their training.

It looks at the data that evaluate and predict get, and at what evaluate reported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.doctor import run_probes
from trainer.doctor.finding import Finding
from trainer.doctor.probes.data import class_balance, label_noise
from trainer.doctor.program import fitted
from trainer.doctor.subject.sample import Batch, Sample
from trainer.doctor.subject.subject import Split, Subject
from trainer.doctor.subject.training import FIT
from trainer.doctor.tools import reported
from trainer.doctor.watching.watcher import Watcher

MOST = 2  # calls of evaluate whose data are looked at


def examine(watcher: Watcher, subjects: Sequence[Subject], deep: bool) -> tuple[list[Finding], list[str]]:
    """Returns findings on the data of evaluate, and doubts about what it reported."""
    found: list[Finding] = []
    doubts: dict[int, str] = {}  # of each model, about the last call
    found += _words_of_predict(watcher, subjects)
    for number, (model, arguments, place) in enumerate(watcher.evaluations):
        own = next((subject for subject in subjects if subject.model is model), None)
        if own is None or own.training is None or own.training.kind != FIT:
            continue  # the model of a loop has its first weights again
        last = not any(other is model for other, _, _ in watcher.evaluations[number + 1 :])
        if number >= MOST and not last:
            continue
        other = fitted.of_evaluation(watcher, model, arguments, place, deep)
        if other.validation is not None:
            test = dataclasses.replace(other.validation, name="test")
            other = dataclasses.replace(other, train=own.train, validation=test, problems=())
            probes = [label_noise.ANSWERS]
            if _trained_once(watcher, model):
                probes.insert(0, class_balance.UNSEEN)
            told = apart(watcher, own.train, test) or run_probes.run(other, probes).findings
            at = "" if place is None else place.quoted
            found += [dataclasses.replace(one, place=one.place or at) for one in told[:1]]
        if last and _after_training(watcher, model):
            doubts[id(model)] = reported.doubt_of_evaluation(
                "evaluate" if place is None else f"evaluate at {place}", watcher.reported[number], other
            )
    return found[:1], [doubt for doubt in doubts.values() if doubt]


def _words_of_predict(watcher: Watcher, subjects: Sequence[Subject]) -> list[Finding]:
    """Finds rows for predict that another vocabulary made than those of training."""
    asked = [_unlabelled(x) for x, _ in watcher.answered] + [_unlabelled(data) for data, _ in watcher.predicted]
    return [
        found
        for subject in subjects
        for split in asked
        if split is not None
        for found in apart(watcher, subject.train, split)
    ]


def apart(watcher: Watcher, train: Split | None, other: Split | None) -> list[Finding]:
    """Finds rows that layers made of other words or statistics than those of training."""
    return watcher.vocabularies.compare(train, other) or watcher.statistics.compare(train, other)


def _unlabelled(x: Any) -> Split | None:
    """Returns what predict gets as a split; None where it is no array and no dataset."""
    if isinstance(x, tf.data.Dataset):
        return Split("test", Sample((), np.zeros(0, np.int64), False), dataset=x)
    leaves = keras.tree.flatten(x)
    if not leaves or not all(hasattr(leaf, "__array__") and len(leaf.shape) > 1 for leaf in leaves):
        return None
    inputs = keras.tree.map_structure(np.asarray, x)
    ids = np.zeros(len(leaves[0]), np.int64)
    return Split("test", Sample((Batch(np.asarray(leaves[0]), ids, inputs=inputs),), ids, True))


def _after_training(watcher: Watcher, model: Any) -> bool:
    """Tells whether the last call of evaluate judged the model as it is at the end."""
    names = [call.name for call in watcher.calls(model)]
    last = len(names) - names[::-1].index("evaluate")
    return "fit" in names[:last] and not {"fit", "load_weights"} & set(names[last:])


def _trained_once(watcher: Watcher, model: Any) -> bool:
    """Tells whether all that a model learned is from one training."""
    names = [call.name for call in watcher.calls(model)]
    return names.count("fit") == 1 and "load_weights" not in names and id(model) not in watcher.tape.loops
