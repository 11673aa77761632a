"""Checks the arguments of fit, which a program shows that the doctor runs."""

from __future__ import annotations

import dataclasses
import re
from itertools import zip_longest
from typing import Any

import numpy as np

from pipelines.core.text import listed, plural
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import Subject
from trainer.doctor.subject.training import FIT, Training
from trainer.doctor.tools import scores, task
from trainer.doctor.tools.answer_scores import AnswerScore

UNLEARNED_STEPS = 400  # fewer may be the reason why nothing was learned; of more, look for another
LEARNED = 0.15  # balanced accuracy above guessing, from which on a trained model tells the classes apart
LITTLE = 0.1  # of the way from the commonest class to no mistake, or of the first epoch's loss
MOST_EPOCHS = 20  # a training of more has been planned; at its end a loss may fall by a little in each
FALLS = 0.03  # share of the loss by which it falls in an epoch at the end
SMALL = 0.02  # share of the first loss; below it there is nothing more to gain
FEW_STEPS = 60  # a small network of random weights needs some hundred steps to tell two kinds of photographs apart


def validated(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a training that is judged by its own images only."""
    del clock
    training = _of_fit(subject)
    if training.validation_form or training.judged:
        return []
    if not training.form:
        raise NotApplicable("the training has no labels by which it could be judged")
    return [catalogue.found("no-validation", "fit has neither validation_data nor validation_split.")]


def steps(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a training that ends before a network can have learned."""
    del clock
    training = _of_fit(subject)
    total, per_epoch = training.total_steps, training.steps
    if total is None or per_epoch is None:
        raise NotApplicable("the number of steps is not known")
    if any(call.name == "load_weights" for call in training.calls) or training.number > 1:
        return []
    nothing = _learned_nothing(subject) if total < UNLEARNED_STEPS else ""
    if total >= FEW_STEPS and not nothing:
        return []
    images = "" if training.samples is None else f"{plural(training.samples, 'image')}, "
    epochs = training.epochs - training.initial_epoch
    return [
        catalogue.found(
            "few-steps",
            f"{images}{plural(per_epoch, 'step')} an epoch, {plural(epochs, 'epoch')}.{nothing}",
            total=total,
        )
    ]


def _learned_nothing(subject: Subject) -> str:
    """Returns a sentence if the history shows that next to nothing was learned.

    It returns "" otherwise.
    """
    history = subject.history or {}
    accuracy = next((history[name] for name in state.ACCURACIES if history.get(name)), None)
    loss = history.get("loss", ())
    known = next((score for score in scores.of(subject) if score.split == "train"), None)
    if known is not None and known.balanced >= 1 / known.classes + LEARNED:
        return ""  # the accuracy of the history does not say it
    if accuracy is not None and not task.is_multilabel(subject):
        counts, _ = state.counts(subject, subject.split("train"))
        majority = max(counts.values()) / max(1, sum(counts.values()))
        if accuracy[-1] < majority + LITTLE * (1 - majority):
            return (
                f" At its end the accuracy on the training data is {accuracy[-1]:.1%}, and that of the commonest "
                f"class {majority:.1%}."
            )
        return ""
    if len(loss) > 1 and loss[-1] > (1 - LITTLE) * loss[0]:
        return f" Its loss went from {loss[0]:.4g} to {loss[-1]:.4g}."
    return ""


def settled(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a training that ends while its loss still falls by much in each epoch."""
    del clock
    training = _of_fit(subject)
    history = subject.history or {}
    name = "val_loss" if history.get("val_loss") else "loss"
    losses = np.asarray(history.get(name, ()), np.float64)
    if not training.whole or not 2 <= len(losses) <= MOST_EPOCHS:
        raise NotApplicable(f"the training had not 2 to {MOST_EPOCHS} epochs that ran to their end")
    others = np.asarray(history["loss"], np.float64)
    last = losses[-1 - max(1, len(losses) // 3) :]
    if not np.isfinite(losses).all() or (np.diff(last) >= 0).any() or losses.argmin() != len(losses) - 1:
        return []
    fall = 1 - (last[-1] / last[0]) ** (1 / (len(last) - 1)) if last[-1] > 0 < last[0] else 0.0
    if fall < FALLS or last[-1] < SMALL * losses[0] or others[-1] >= others[0]:
        return []
    best = state.reported_accuracy(history)
    if best is not None and best[1] >= state.ACCURATE and not task.is_multilabel(subject):
        return []  # the network only becomes surer of answers that are right
    known = [score.value for score in scores.of_any_task(subject) if isinstance(score, AnswerScore)]
    if known and min(known) >= state.ACCURATE:
        return []  # so it does of several labels, and numbers are nearly exact
    told = {"val_loss": "validation loss", "loss": "training loss"}[name]
    return [
        catalogue.found(
            "loss-not-settled",
            f"The {told} went from {losses[0]:.4g} to {losses[-1]:.4g} in {plural(len(losses), 'epoch')} of "
            f"{plural(training.steps or 0, 'step')}, and fell by {fall:.1%} an epoch at the end.",
            epochs=len(losses),
            more=4 * len(losses),
        )
    ]


def watched(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a callback that keeps the worst epoch, or waits for nothing."""
    del clock
    training = _of_fit(subject)
    found = []
    known = {name for name, values in training.history.items() if values}
    for callback, at in zip_longest(training.callbacks, training.callbacks_at):
        place = "" if at is None else at.quoted
        monitor, name = getattr(callback, "monitor", None), type(callback).__name__
        if not isinstance(monitor, str) or not monitor:
            continue
        mode = str(getattr(callback, "mode", "auto"))
        if name == "ModelCheckpoint" and not getattr(callback, "save_best_only", False):
            continue
        wrong = "min" if _is_score(monitor) else "max" if _is_loss(monitor) else ""
        if wrong and (mode == wrong or _takes(callback) == wrong):
            other = "max" if wrong == "min" else "min"
            told = catalogue.found(
                "callback-mode",
                f"{name}(monitor={monitor!r}, mode={wrong!r}) takes the {_EXTREME[wrong]} value for the best.",
                callback=name,
                monitor=monitor,
                extreme=_EXTREME[wrong],
                mode=other,
            )
        elif known and monitor not in known and training.epochs_run:
            told = catalogue.found(
                "callback-blind",
                f"{name} waits for {monitor!r}. An epoch tells {listed(sorted(known), 8)}.",
                callback=name,
                monitor=monitor,
            )
        else:
            continue
        found.append(dataclasses.replace(told, place=place))
    return found


_EXTREME = {"min": "least", "max": "greatest"}
_SCORES = ("acc", "auc", "precision", "recall", "f1", "f_1", "iou", "dice", "r2", "kappa", "map")
_LOSSES = ("loss", "error", "mae", "mse", "rmse", "mape", "perplexity", "entropy")


def _is_score(monitor: str) -> bool:
    """Tells whether a metric is better the greater it is, by its name."""
    words = re.split(r"[_\W]+", monitor.lower().removeprefix("val_"))
    return any(word.startswith(score) for word in words for score in _SCORES) and not _is_loss(monitor)


def _is_loss(monitor: str) -> bool:
    return any(loss in re.split(r"[_\W]+", monitor.lower()) for loss in _LOSSES)


def _takes(callback: Any) -> str:
    """Returns which value a callback takes for the best.

    It is "" if that is not known, as before a training.
    """
    operation = getattr(callback, "monitor_op", None)
    return "min" if operation is np.less else "max" if operation is np.greater else ""


def _of_fit(subject: Subject) -> Training:
    if subject.training is None or subject.training.kind != FIT:
        raise NotApplicable("it reads the arguments of fit; give the program itself")
    return subject.training


PROBES = (
    Probe("what the callbacks watch", watched, (), 1.0),
    Probe("validation data", validated, (), 1.0),
    Probe("number of training steps", steps, (), 1.0),
    Probe("whether the loss had come to rest", settled, ("history",), 1.0),
)
