"""Checks whether the model can memorize one batch.

A model that cannot do this learns nothing from many batches. A copy of the model takes some steps on 16 images, with
the user's loss, optimizer and learning rate. If the loss does not fall below that of guessing, the probe looks for the
reason: nothing to train, no gradient, dead units, the learning rate, or one thing without which the model learns, such
as clipping or dropout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from pipelines.core.text import listed
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock, OutOfTime
from trainer.doctor.copies import model_variants
from trainer.doctor.copies.model_copy import Twin
from trainer.doctor.finding import LINES, Chart, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import Subject

STEPS = 80
LEAST_STEPS = 30
GREAT = 10.0  # times the loss of guessing, which all penalties of regularizers are in the end
RESTS, NEAR = 40, 0.02  # steps after which all losses are so near to that of guessing
HIGHER = 2.0  # times the first loss
SHARE = 0.25  # of the time, which LEAST_STEPS may take
FEWEST_IMAGES = 4
LEARNS = 0.9  # share of the loss of guessing; a network that learns at all falls below it in STEPS steps
LEARNED = 0.5  # share of the loss of guessing; a step below it ends the trial, since the batch is learned
STUCK = 0.99
ENOUGH = 0.5  # of the loss of guessing that all steps of the program would take away at the pace of the first STEPS
FASTER = 0.5  # share of the loss of guessing to which a better rate brings the batch
MOVES = 0.97  # share of the first loss; a loss that began far above guessing and falls is not stuck
# The probe tries these learning rates. One of them suits most networks and optimizers.
TRIED = (1e-3, 1e-2, 1e-4, 1e-1)
CLIPPED = 0.02  # share of the gradient's norm that clipping leaves; clipping of rare peaks leaves nearly all of it
KNOWS = 0.5  # share of the loss of guessing; below it, the model knows these images already


def one_batch(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds the reason why the model cannot memorize one batch."""
    if not subject.model.trainable_variables:
        return [_nothing_to_train(subject.model)]
    twin = Twin(subject)
    level = min(twin.start, twin.chance)
    if twin.start < KNOWS * twin.chance < math.inf or (math.isinf(twin.chance) and _has_learned(subject)):
        return []
    if level <= 0:
        raise NotApplicable("the loss is below 0 already, as a Poisson loss may be")
    _fit_to_time(twin, clock)
    own = twin.learning_rate if twin.warms_up else None  # what comes after the warm-up
    losses = _train(twin, own, level, clock)
    if _reached(losses, level) <= STUCK or _reached(losses, twin.start) <= MOVES:
        penalty = twin.penalty()  # one that is far greater falls, and hides that nothing is learned
        hidden = penalty > GREAT * level and losses[-1] - penalty > STUCK * level
        held = _culprit(twin, own, losses, level, clock) if hidden or _rests(losses, level) else []
        return held or _slow(subject, twin, losses, level, clock)
    culprit = _clipped(twin, losses, level) or _culprit(twin, own, losses, level, clock)
    if culprit:
        return culprit
    found = _without_gradient(twin) or _dead(twin)
    if found:
        return (_killed(subject, twin, level, clock) if found[0].id == "dead-units" else []) or found
    for rate in rates_to_try(twin.learning_rate, losses):
        if clock.over:
            break
        others = _train(twin, rate, level, clock)
        if _reached(others, level) <= LEARNS and others[-1] < min(losses):
            return [_rate(twin, rate, losses, others, level)]
    for rate in TRIED:  # what hinders may also have hidden that the rate is slow
        culprit = _culprit(twin, rate, losses, level, clock)
        if culprit:
            return culprit
    clock.check()
    return [_no_capacity(twin, losses, level)]


def _has_learned(subject: Subject) -> bool:
    """Tells whether the training brought its loss far down.

    It is below LEARNED of that of the first epoch. The loss of such a model on one batch may be as small as it gets.
    """
    losses = (subject.history or {}).get("loss", ())
    return state.is_trained(subject) and len(losses) > 1 and losses[-1] < LEARNED * losses[0]


def _fit_to_time(twin: Twin, clock: Clock) -> None:
    """Leaves images out where a step takes too long for all of them."""
    twin.step()  # traces the function
    seconds = -clock.left
    twin.step()
    seconds += clock.left
    affordable = int(twin.images * SHARE * clock.left / max(1e-9, LEAST_STEPS * -seconds))
    if affordable < twin.images:
        twin.shrink(max(FEWEST_IMAGES, affordable))


def rates_to_try(own: float, losses: list[float]) -> list[float]:
    """Returns the rates to try, the likeliest first.

    The rate is likely too high where it made the loss much larger.
    """
    others = [rate for rate in TRIED if not 1 / 3 < rate / own < 3]
    high = not np.max(losses) <= HIGHER * losses[0]  # also where one is NaN
    return sorted(others, key=lambda rate: (rate > own, -rate)) if high else others


def _slow(subject: Subject, twin: Twin, losses: list[float], level: float, clock: Clock) -> list[Finding]:
    """Finds a learning rate that is too low for the steps of the program.

    A larger one does more in STEPS than this one in all of them.
    """
    total = subject.training.total_steps if subject.training is not None else None
    reached = _reached(losses, level)
    if total is None or reached <= LEARNS or losses[-1] < LEARNED * level:
        return []
    # A loss that begins far above guessing first comes down to it: then the pace of the second half counts.
    begin = len(losses) // 2 if twin.start > level else 0
    above = losses[begin] if begin else level
    if above - (above - reached * level) * total / (len(losses) - begin) <= (1 - ENOUGH) * level:
        return []
    for rate in sorted(TRIED):
        if clock.over or rate < 3 * twin.learning_rate:
            continue
        others = _train(twin, rate, level, clock)
        if math.isfinite(others[-1]) and others[-1] <= FASTER * level:
            own = twin.learning_rate
            return [
                catalogue.found(
                    "learning-rate-low",
                    _compared(twin, rate, losses, others, level),
                    case="too-few-steps",
                    rate=own,
                    optimizer=twin.optimizer_name,
                    better=rate,
                    total=total,
                    charts=[_chart(own, rate, losses, others)],
                )
            ]
    return []


def _clipped(twin: Twin, losses: list[float], level: float) -> list[Finding]:
    """Finds clipping that leaves plain SGD next to nothing of the gradients.

    An optimizer such as Adam divides by the size of the gradients, so clipping does not slow it down.
    """
    optimizer = model_variants.inner_of(twin.source.optimizer)
    options = optimizer.get_config()
    if type(optimizer) is not keras.optimizers.SGD:
        return []
    twin.restart()
    gradients = [g.astype(np.float64) for _, g in twin.gradients() if g is not None]
    whole = math.sqrt(sum(float(np.sum(g * g)) for g in gradients))
    if options.get("clipvalue"):
        left = [np.clip(g, -options["clipvalue"], options["clipvalue"]) for g in gradients]
    elif options.get("clipnorm"):
        left = [g * min(1.0, options["clipnorm"] / max(float(np.linalg.norm(g)), 1e-30)) for g in gradients]
    elif options.get("global_clipnorm"):
        left = [g * min(1.0, options["global_clipnorm"] / max(whole, 1e-30)) for g in gradients]
    else:
        return []
    share = math.sqrt(sum(float(np.sum(g * g)) for g in left)) / max(whole, 1e-30)
    if share >= CLIPPED:
        return []
    told = ", ".join(f"{name}={options[name]:g}" for name in model_variants.CLIPPING if options.get(name))
    evidence = (
        f"The norm of the gradients is {whole:.3g}, and clipping leaves {share:.2%} of it. {len(losses)} steps on the "
        f"same {twin.images} images brought the loss to {losses[-1]:.3g}; guessing is {level:.3g}."
    )
    return [catalogue.found("cannot-memorize", evidence, case="clipping", told=told)]


def _culprit(twin: Twin, rate: float | None, losses: list[float], level: float, clock: Clock) -> list[Finding]:
    """Finds one thing without which the model learns the batch.

    Args:
      rate: the learning rate to try; None for the user's.
      losses: those of the model as it is.
    """
    for variant in model_variants.of(twin.source):
        if clock.over:
            break
        try:
            others = _train(twin.without(variant), rate, level, clock)
        except (NotApplicable, OutOfTime):
            continue
        if _reached(others, level) > LEARNS:
            continue
        also = "" if rate is None else f" and with a rate of {rate:g}"
        evidence = (
            f"{len(losses)} steps on the same {twin.images} images brought the loss to {losses[-1]:.3g}; guessing is "
            f"{level:.3g}. Without {variant.told}{also} it came to {others[-1]:.3g} in {len(others)} steps."
        )
        return [WITHOUT[variant.name](evidence, variant.told)]
    return []


# name of a variant -> the finding for it
WITHOUT: dict[str, Callable[[str, str], Finding]] = {
    "clipping": lambda e, told: catalogue.found("cannot-memorize", e, case="clipping", told=told),
    "momentum": lambda e, told: catalogue.found("cannot-memorize", e, case="momentum", told=told),
    "schedule": lambda e, told: catalogue.found("cannot-memorize", e, case="schedule", told=told),
    "weight-decay": lambda e, told: catalogue.found("cannot-memorize", e, case="weight-decay", told=told),
    "dropout": lambda e, told: catalogue.found("cannot-memorize", e, case="dropout", told=told),
    "augmentation": lambda e, told: catalogue.found("cannot-memorize", e, case="augmentation", told=told),
    "regularizer": lambda e, told: catalogue.found("cannot-memorize", e, case="regularizer", told=told),
    "float16": lambda e, _: catalogue.found("cannot-memorize", e, case="float16"),
}


def _train(twin: Twin, learning_rate: float | None, level: float, clock: Clock) -> list[float]:
    """Returns the losses of up to STEPS steps from the user's weights.

    A large network, whose batch was shrunk, takes LEAST_STEPS.

    It ends early when the loss shows that the model learns the batch, and when the loss is not finite. Out of time,
    fewer than LEAST_STEPS are enough to show that it learns.
    """
    twin.restart(learning_rate)
    losses = []
    for _ in range(LEAST_STEPS if twin.shrunk else STEPS):
        losses.append(twin.step())
        if clock.over and len(losses) < LEAST_STEPS and _reached(losses, level) > LEARNS:
            clock.check()
        if clock.over or not math.isfinite(losses[-1]) or losses[-1] < LEARNED * level:
            break
    return losses


def _reached(losses: list[float], level: float) -> float:
    """Returns the median of the last losses as a share of the level of guessing.

    It is infinite where one of these losses is not finite. Of a trial that ended because the batch was learned it is
    the last loss: of three steps, the median would be one of before.
    """
    if math.isfinite(losses[-1]) and losses[-1] < LEARNED * level:
        return losses[-1] / level
    last = losses[-5:]
    return float(np.median(last)) / level if np.isfinite(last).all() else math.inf


def _rests(losses: list[float], level: float) -> bool:
    """Tells whether losses came down to that of guessing and stay there."""
    later, last = losses[RESTS:], losses[-5:]
    return len(later) >= LEAST_STEPS and max(abs(loss - level) for loss in later) <= NEAR * level and bool(
        abs(float(np.median(last)) - float(np.median(later[:5]))) <= NEAR / 2 * level
    )  # fmt: skip


def _nothing_to_train(model: Any) -> Finding:
    return catalogue.found("nothing-to-train", f"0 of {model.count_params():,} parameters are trainable.")


def _without_gradient(twin: Twin) -> list[Finding]:
    twin.restart()
    gradients = twin.gradients()
    cut = [v.path for v, g in gradients if g is None]
    zero = [v.path for v, g in gradients if g is not None and not np.any(g)]
    kernels = [v.path for v, _ in gradients if v.path.endswith("kernel")]
    lost = [path for path in (*cut, *zero) if path in kernels]
    if not kernels or len(lost) < max(1, len(kernels) / 2):
        return []
    if not cut:  # units that are never active have no gradient; they have a finding of their own
        dead = _dead(twin)
        if dead:
            return dead
    return [
        catalogue.found(
            "no-gradient",
            f"Of {len(kernels)} trainable kernels {len(lost)} get none: {listed(lost, 4)}.",
        )
    ]


def _dead(twin: Twin) -> list[Finding]:
    """Finds ReLU layers that give 0 for every image of the batch."""
    twin.restart()
    layers = [layer for layer in twin.model.layers if _is_relu(layer)]
    if not layers or not getattr(twin.model, "inputs", None):
        return []
    try:
        values = keras.Model(twin.model.inputs, [layer.output for layer in layers])(twin.x, training=False)
    except Exception as e:  # layers that are used more than once have no single output
        raise NotApplicable("the outputs of the layers cannot be separated") from e
    values = values if isinstance(values, list | tuple) else [values]
    dead = [layer.name for layer, v in zip(layers, values, strict=True) if not np.any(np.asarray(v))]
    if not dead:
        return []
    return [
        catalogue.found(
            "dead-units",
            f"Of {len(layers)} ReLU layers {len(dead)} give nothing but 0 for {twin.images} images: {listed(dead, 4)}.",
        )
    ]


def _killed(subject: Subject, twin: Twin, level: float, clock: Clock) -> list[Finding]:
    """Finds a learning rate that made ReLU layers give 0 in the training.

    Before it they gave other values, and from there a smaller rate learns the batch.
    """
    first = subject.training.first_weights if subject.training is not None else None
    if not first or not state.is_trained(subject) or len(first) != len(subject.model.weights):
        return []
    twin.begin_from(first)
    if _dead(twin):
        return []
    own = _train(twin, None, level, clock)
    for rate in sorted((rate for rate in TRIED if rate < twin.learning_rate / 3), reverse=True):
        if clock.over:
            break
        others = _train(twin, rate, level, clock)
        if _reached(others, level) <= LEARNS:
            return [_rate(twin, rate, own, others, level, "Before the training every ReLU layer answered, and after it "
                          "one gives 0 for all images. From the weights before it: ")]  # fmt: skip
    return []


def _is_relu(layer: Any) -> bool:
    return isinstance(layer, keras.layers.ReLU) or getattr(getattr(layer, "activation", None), "__name__", "") == "relu"


def _rate(twin: Twin, better: float, own: list[float], other: list[float], level: float, before: str = "") -> Finding:
    rate = twin.learning_rate
    return catalogue.found(
        "learning-rate-low" if better > rate else "learning-rate-high",
        before + _compared(twin, better, own, other, level),
        case="one-batch",
        rate=rate,
        optimizer=twin.optimizer_name,
        better=better,
        charts=[_chart(rate, better, own, other)],
    )


def _compared(twin: Twin, better: float, own: list[float], other: list[float], level: float) -> str:
    """Returns what two rates do to one batch."""
    before = f"guessing: {level:.3g}" if math.isfinite(twin.chance) else f"before: {level:.3g}"
    return (
        f"{len(own)} steps on one batch of {twin.images} images brought the loss to {own[-1]:.3g} ({before}); with "
        f"{better:g} it came to {other[-1]:.3g} in {len(other)}."
    )


def _chart(rate: float, better: float, own: list[float], other: list[float]) -> Chart:
    length = max(len(own), len(other))
    series = {f"{rate:g}": _padded(own, length), f"{better:g}": _padded(other, length)}
    return Chart("loss on one batch", LINES, series, [str(i) for i in range(length)])


def _padded(values: list[float], length: int) -> list[float]:
    return [*values, *[values[-1]] * (length - len(values))]


def _no_capacity(twin: Twin, losses: list[float], level: float) -> Finding:
    return catalogue.found(
        "cannot-memorize",
        f"{len(losses)} steps on the same {twin.images} images brought the loss to {losses[-1]:.3g}; guessing "
        f"is {level:.3g}. Learning rates from 1e-4 to 0.1 did no better.",
        case="unknown",
    )


PROBES = (Probe("overfitting one batch", one_batch, ("images", "model", "loss"), 45.0, matters=True),)
