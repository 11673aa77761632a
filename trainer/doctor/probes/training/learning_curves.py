"""Checks the loss curves of a past training."""

from __future__ import annotations

import math

import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import LINES, Chart, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools import scores

EPOCHS = 5  # fewer epochs show no trend
RISES = 1.3  # ratio of the last loss to the lowest one
REGAINED = 0.05  # share of the fall of the validation loss by which it has risen again
APART = 2.0  # ratio of validation loss to training loss at the end
GUESSING = 0.95  # share of ln(classes), the loss of guessing
FLAT = 0.03  # share of the loss by which it changed in the last third of the epochs
SLOW = 0.1  # share of the first loss by which it fell in all epochs
STEADY = 0.5  # share of the mean fall per epoch that the last epochs still have
JUMPS = 0.2  # share of the loss by which it grows from one epoch to the next
OFTEN = 0.3  # share of the epochs that have such a jump


def course(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds the first fault that explains the loss curves.

    The faults are divergence, a learning rate that is too high or too low, overfitting and underfitting.
    """
    del clock
    loss, validation = state.losses(subject.history or {})
    chart = _chart(loss, validation)
    if not np.isfinite(loss).all() or (validation is not None and not np.isfinite(validation).all()):
        return [_diverged(loss, chart)]
    if len(loss) < EPOCHS:
        raise NotApplicable(f"the history has fewer than {EPOCHS} epochs")
    over = (
        None if _generalizes(subject) or _is_right(subject) else _over(*_until_kept(subject, loss, validation), chart)
    )
    for found in (_too_high(loss, chart), over, _low_or_under(subject, loss, chart)):
        if found:
            return [found]
    return []


def _chart(loss: np.ndarray, validation: np.ndarray | None) -> Chart:
    series = {"training": loss.tolist()} | ({} if validation is None else {"validation": validation.tolist()})
    return Chart("loss by epoch", LINES, series, [str(i + 1) for i in range(len(loss))])


def _until_kept(
    subject: Subject, loss: np.ndarray, validation: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the losses up to the epoch whose weights the model has.

    What came after it was thrown away, by `train` or by EarlyStopping(restore_best_weights=True).
    """
    kept = subject.kept
    for callback in subject.training.callbacks if subject.training is not None else ():
        restored = getattr(callback, "restore_best_weights", False) and callback.best_weights is not None
        kept = callback.best_epoch + 1 if restored else kept
    if kept is None:
        return loss, validation
    return loss[:kept], None if validation is None else validation[:kept]


def _diverged(loss: np.ndarray, chart: Chart) -> Finding:
    first = int(np.argmin(np.isfinite(loss))) + 1
    return catalogue.found(
        "diverged", f"The first loss that is NaN or infinite is that of epoch {first} of {len(loss)}.", charts=[chart]
    )


def _too_high(loss: np.ndarray, chart: Chart) -> Finding | None:
    change = np.diff(loss) / np.maximum(loss[:-1], 1e-9)
    jumps = float(np.mean(change > JUMPS))
    grown = loss[-1] > RISES * loss.min() and loss[-1] > loss[0]
    if not (grown or (jumps >= OFTEN and loss[-1] > 0.5 * loss[0])):
        return None
    return catalogue.found(
        "learning-rate-high",
        f"It went from {loss[0]:.3g} to {loss[-1]:.3g} in {len(loss)} epochs, with a least of "
        f"{loss.min():.3g}; in {jumps:.0%} of the epochs it grew by more than {JUMPS:.0%}.",
        case="history",
        charts=[chart],
    )


def _generalizes(subject: Subject) -> bool:
    """Tells whether the trained model is no better on train than on validation.

    Then a last epoch with a great validation loss is a jump, as RMSprop makes some, and not what overfitting does.
    """
    accuracy = {score.split: score.accuracy for score in scores.of(subject)}
    return len(accuracy) == 2 and accuracy["train"] <= accuracy["validation"]


def _is_right(subject: Subject) -> bool:
    """Tells whether the trained model is right on nearly all validation images.

    Its loss may have risen by a few images of which it has become too sure, and no accuracy is lost.
    """
    return any(
        score.split == "validation" and min(score.accuracy, score.balanced) >= state.ACCURATE
        for score in scores.of(subject)
    )


def _over(loss: np.ndarray, validation: np.ndarray | None, chart: Chart) -> Finding | None:
    if validation is None or len(validation) < EPOCHS:
        return None
    best = int(validation.argmin())
    end = validation[-1]
    if validation[best] <= 0 or end - validation[best] < REGAINED * (validation[0] - validation[best]):
        return None  # a loss below 0, as one of counts, has no ratio; a loss near 0 doubles by little
    if end < RISES * validation[best] or end < APART * loss[-1] or loss[-1] > 0.8 * loss[min(best, len(loss) - 1)]:
        return None
    return catalogue.found(
        "overfitting",
        f"The validation loss was least in epoch {best + 1}, {validation[best]:.3g}, and is {end:.3g} after "
        f"epoch {len(validation)}; the training loss is {loss[-1]:.3g}.",
        charts=[chart],
    )


def _low_or_under(subject: Subject, loss: np.ndarray, chart: Chart) -> Finding | None:
    third = max(1, len(loss) // 3)
    fall, last = loss[0] - loss[-1], (loss[-1 - third] - loss[-1]) / third
    steady = fall > 0 and last > STEADY * fall / (len(loss) - 1) and float(np.mean(np.diff(loss) < 0)) > 0.8
    if steady and fall < SLOW * loss[0]:
        return _low(loss, chart)
    several = any(split.sample.has_several_targets for split in subject.splits)
    known = bool(subject.splits or subject.labels or subject.model) and not several
    guess = math.log(state.classes(subject)) if known else math.inf
    if abs(loss[-1 - third] - loss[-1]) <= FLAT * loss[-1] and GUESSING * guess <= loss[-1] <= 1.5 * guess:
        return _under(loss, guess, chart)
    return None


def _low(loss: np.ndarray, chart: Chart) -> Finding:
    return catalogue.found(
        "learning-rate-low",
        f"From {loss[0]:.4g} to {loss[-1]:.4g} in {len(loss)} epochs, {1 - loss[-1] / loss[0]:.1%}, still as "
        "steadily as at the beginning.",
        case="history",
        charts=[chart],
    )


def _under(loss: np.ndarray, guess: float, chart: Chart) -> Finding:
    return catalogue.found(
        "underfitting",
        f"It is {loss[-1]:.3g} after {len(loss)} epochs and has stopped falling; always guessing gives {guess:.3g}.",
        charts=[chart],
    )


PROBES = (Probe("course of the past training", course, ("history",), 1.0),)
