"""Trains a program as it is and with a remedy, and compares both.

The held-out data, the seeds and the steps are the same.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.doctor.clock import Clock
from trainer.doctor.copies import model_variants
from trainer.doctor.copies.deep_copy import deep_copy
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.proof import Arm, Proof
from trainer.doctor.prove import setup as setups
from trainer.doctor.prove import source
from trainer.doctor.prove.remedies import REMEDIES, Case, Remedy, rate_edit
from trainer.doctor.prove.setup import Setup
from trainer.doctor.subject.sample import choose, class_ids
from trainer.doctor.subject.subject import Subject

SEEDS = (0, 1, 2)
POINTS = 8
SECONDS = 100.0  # for all trainings; `--deep` takes DEEPER times as long
LEAST_STEPS = 20
RATE_STEPS = 60  # to choose a learning rate
OUTPUT_BATCH = 64
DRAWN_SIZE, DRAWN_APART = 200, 0.15  # of a kernel, to tell trained weights from drawn ones by their deviation

Read = Callable[[str], str | None]


@dataclasses.dataclass(frozen=True)
class _Course:
    """Holds how a training went on the held-out data.

    scores: the score after each part of the training. shares: what each record adds to the last one.
    """

    scores: tuple[float, ...]
    shares: tuple[float, ...]


def prove(subject: Subject, findings: Sequence[Finding], read: Read) -> Proof:
    """Tries the remedy of the first finding that has one.

    Args:
      findings: ranked.
      read: returns the text of a file of the user by its name in a Place; None for one that cannot be patched.
    """
    passed: list[tuple[str, str]] = []
    for finding in findings:
        try:
            if finding.id not in REMEDIES:
                raise NotApplicable("its fix is not one change that can be made mechanically")
            own = setups.of(subject)
            case = Case(subject, finding, own)
            return dataclasses.replace(_tried(case, REMEDIES[finding.id](case), read), passed=tuple(passed))
        except NotApplicable as e:
            passed.append((finding.id, str(e)))
        except Exception as e:  # a user's model, loss or data may fail in any way
            passed.append((finding.id, f"the training with its remedy stopped ({type(e).__name__})"))
    return Proof(passed=tuple(passed))


def _tried(case: Case, remedy: Remedy, read: Read) -> Proof:
    """Trains both, seed by seed, and stops between two seeds when the time is over."""
    started = time.monotonic()
    budget = SECONDS * case.subject.times
    notes = list(case.setup.notes)
    before_setup, after_setup = _bounded(case.setup, remedy.setup, budget, notes)
    if remedy.rates:
        remedy = _best_rate(case, dataclasses.replace(remedy, setup=after_setup), Clock(budget / 4))
        after_setup = remedy.setup
    before: list[_Course] = []
    after: list[_Course] = []
    for seed in SEEDS:
        if before and (time.monotonic() - started) * (1 + 1 / len(before)) > budget:
            notes.append(f"The time was enough for {len(before)} of {len(SEEDS)} seeds.")
            break
        before.append(_train(before_setup, seed))
        after.append(_train(after_setup, seed))
    shares = np.linspace(0, 1, POINTS + 1)[1:]
    if before_setup.steps != after_setup.steps:
        notes.append(f"The program as it is had {before_setup.steps} steps, with the remedy {after_setup.steps}.")
    return Proof(
        finding=case.finding.id,
        remedy=remedy.told,
        score=setups.score_name(case.setup),
        held_out=case.setup.held_out,
        before=Arm(np.array([course.scores for course in before])),
        after=Arm(np.array([course.scores for course in after])),
        error=_error(before, after),
        points=tuple(round(share * after_setup.steps) for share in shares),
        notes=tuple(notes),
        patch=_patch(remedy, read),
    )


def _error(before: Sequence[_Course], after: Sequence[_Course]) -> float:
    """Returns the standard error of the mean gain: the held-out records are a sample.

    A record of numbers counts at most as far down as up: one that is far off would hide what all others show.
    """
    arms = [np.mean([course.shares for course in arm], axis=0) for arm in (before, after)]
    least = -1 / len(arms[0])
    gains = np.maximum(arms[1], least) - np.maximum(arms[0], least)
    return float(np.std(gains) * np.sqrt(len(gains)))


def _patch(remedy: Remedy, read: Read) -> str:
    files = {edit.place.file for edit in remedy.edits if edit.place is not None}
    if len(files) != 1 or any(edit.place is None for edit in remedy.edits):
        return ""
    file = files.pop()
    text = read(file)
    return "" if text is None else source.patch(file, text, remedy.edits)


def _bounded(before: Setup, after: Setup, budget: float, notes: list[str]) -> tuple[Setup, Setup]:
    """Returns both setups with as many steps as there is time for."""
    seconds = max(_seconds_of_a_step(before), 1e-4)
    wanted = before.steps + after.steps
    possible = int(0.7 * budget / (len(SEEDS) * seconds))
    if wanted <= possible:
        return before, after
    share = possible / wanted
    cut = [max(LEAST_STEPS, int(share * part.steps)) for part in (before, after)]
    notes.append(f"The training was cut to {cut[0]:,} of {before.steps:,} steps.")
    return before.but(steps=min(before.steps, cut[0])), after.but(steps=min(after.steps, cut[1]))


def _seconds_of_a_step(setup: Setup) -> float:
    model, data = _compiled(setup, 0), _dataset(setup, 0)
    model.fit(data, steps_per_epoch=2, epochs=1, verbose=0)
    started = time.monotonic()
    model.fit(data, steps_per_epoch=5, epochs=1, verbose=0)
    return (time.monotonic() - started) / 5


def _best_rate(case: Case, remedy: Remedy, clock: Clock) -> Remedy:
    """Returns the remedy with the best of its rates.

    It is the one that brings the training loss lowest in RATE_STEPS.
    """
    losses: dict[float, float] = {}
    for rate in remedy.rates:
        if losses and clock.over:
            break
        given = remedy.setup.with_options(learning_rate=rate).but(steps=min(RATE_STEPS, remedy.setup.steps))
        model = _compiled(given, 0)
        history = model.fit(_dataset(given, 0), steps_per_epoch=given.steps, epochs=1, verbose=0)
        loss = model.evaluate(given.x, given.y, batch_size=OUTPUT_BATCH, verbose=0, return_dict=True)["loss"]
        losses[rate] = loss if np.isfinite(loss) and np.isfinite(history.history["loss"][-1]) else np.inf
    rate = min(losses, key=lambda r: losses[r])
    return Remedy(f"a learning rate of {rate:g}", remedy.setup.with_options(learning_rate=rate),
                  (rate_edit(case, rate),))  # fmt: skip


def _train(setup: Setup, seed: int) -> _Course:
    """Returns how a training went on the held-out data."""
    model, scores = _compiled(setup, seed), []
    data = iter(_dataset(setup, seed))
    bounds = np.linspace(0, setup.steps, POINTS + 1).round().astype(int)
    for start, end in itertools.pairwise(bounds):
        for _ in range(end - start):
            model.train_on_batch(*_weighed(setup, next(data)))
        outputs = _outputs(model, setup.held_x)
        scores.append(setups.score(setup, outputs))
    return _Course(tuple(scores), tuple(setups.shares(setup, outputs).tolist()))


def _weighed(setup: Setup, batch: Any) -> tuple[Any, ...]:
    """Returns the arguments of train_on_batch.

    Class weights become sample weights.
    """
    if len(batch) == 3 or not setup.class_weight:
        return tuple(batch)
    ids = class_ids(np.asarray(batch[1]))
    return (*batch, np.array([setup.class_weight.get(int(label), 1.0) for label in ids], np.float32))


def _outputs(model: Any, x: Any) -> np.ndarray:
    count = len(keras.tree.flatten(x)[0])
    parts = [
        np.asarray(model(choose(x, slice(start, start + OUTPUT_BATCH)), training=False), np.float32)
        for start in range(0, count, OUTPUT_BATCH)
    ]
    return np.concatenate(parts)


def _dataset(setup: Setup, seed: int) -> tf.data.Dataset:
    parts = (setup.x, setup.y) if setup.weights is None else (setup.x, setup.y, setup.weights)
    count = len(keras.tree.flatten(setup.x)[0])
    data = tf.data.Dataset.from_tensor_slices(parts)
    data = data.shuffle(count, seed=seed, reshuffle_each_iteration=True) if setup.shuffle else data
    return data.batch(setup.batch_size).repeat()


def _compiled(setup: Setup, seed: int) -> Any:
    """Returns a new model with the weights of a seed, compiled.

    Weights that were trained before are kept: a kernel whose deviation is not that of a new draw.
    """
    keras.utils.set_random_seed(seed)
    try:
        model = model_variants.clone(setup.model, setup.change)
    except Exception as e:  # a subclassed model cannot be rebuilt from its layers
        if setup.change is not None:
            raise NotApplicable("the model cannot be rebuilt from its layers") from e
        model = deep_copy(setup.model)
    else:
        _keep_trained(model, setup.model, set(_changed(setup)))
    if setup.unfreeze:
        model.trainable = True
    model.compile(setup.rule.from_config(dict(setup.options)), setup.loss, jit_compile=False)
    return model


def _changed(setup: Setup) -> list[str]:
    """Returns the names of the layers whose initializers a remedy changes."""
    if setup.change is None:
        return []
    names = []
    for layer in setup.model.layers:
        old, new = (dict[str, Any](part.get_config()) for part in (layer, setup.change(layer)))
        if old.get("kernel_initializer") != new.get("kernel_initializer"):
            names.append(layer.name)
    return names


def _keep_trained(model: Any, source_model: Any, but: set[str]) -> None:
    new, old = (part.weights for part in (model, source_model))
    if len(new) != len(old):
        return
    for variable, given in zip(new, old, strict=True):
        value, drawn = np.asarray(given), np.asarray(variable)
        layer = given.path.split("/")[-2] if "/" in given.path else ""
        if value.shape != drawn.shape or value.dtype.kind != "f" or layer in but:
            continue
        small = value.ndim < 2 or value.size < DRAWN_SIZE
        apart = abs(float(value.std()) - float(drawn.std())) > DRAWN_APART * max(float(drawn.std()), 1e-9)
        if (value.ndim >= 2 and not small and apart) or (value.ndim < 2 and np.ptp(value) > 0):
            variable.assign(value)
