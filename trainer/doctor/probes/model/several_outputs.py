"""Checks each of several outputs, and whether one loss drowns another."""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.probes.data import class_balance
from trainer.doctor.probes.model import head_and_loss, head_range
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools import output_parts, scores
from trainer.doctor.tools.output_parts import Output

OF_EACH = (
    *head_and_loss.PROBES,
    *head_range.PROBES,
    *(probe for probe in class_balance.PROBES if probe.look in (class_balance.imbalance, class_balance.one_answer)),
)
DROWNS = 1000.0  # times as much; the gradients of the smaller one are lost in the noise of the larger one's
STAYS = 0.95  # share of the first loss
FEWEST_EPOCHS = 3


def each(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds faults of single outputs, by the checks of models with one."""
    found = []
    for output in _outputs(subject):
        for probe in OF_EACH:
            clock.check()
            if probe.missing(output.subject) or probe.unsuited(output.subject):
                continue
            try:
                findings = probe.look(output.subject, clock)
            except NotApplicable:
                continue
            found += [dataclasses.replace(f, evidence=f"Output {output.name!r}: {f.evidence}") for f in findings]
    return found


def drowned(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds an output that learns nothing beside a loss that is far greater."""
    del clock
    known = _outputs(subject)
    history = subject.history or (subject.training.history if subject.training is not None else {})
    losses = {output.name: history.get(f"{output.name}_loss", ()) for output in known}
    epochs = min(map(len, losses.values()))
    if epochs < FEWEST_EPOCHS:
        raise NotApplicable(f"the history has no loss of each output for {FEWEST_EPOCHS} epochs")
    size = {o.name: abs(o.weight) * np.abs(np.asarray(losses[o.name][:epochs], np.float64)) for o in known}
    if not all(np.isfinite(values).all() for values in size.values()):
        return []
    large = max(size, key=lambda name: float(size[name].min()))
    for output in known:
        name = output.name
        if name == large or (DROWNS * size[name] >= size[large]).any() or not _learned_nothing(output, losses[name]):
            continue
        own, other = losses[name][-1], losses[large][-1]
        ratio = float(size[large][-1] / max(size[name][-1], 1e-300))
        score = next(iter(scores.of_any_task(output.subject)), None)
        told = "" if score is None else f" {score.sentence[0].upper()}{score.sentence[1:]}."
        return [
            catalogue.found(
                "output-drowned",
                f"In epoch {epochs} the loss of {large!r} is {other:.3g} and that of {name!r} {own:.3g}"
                f"{_weights(known)}: {ratio:.1e} times as much. The second one was {losses[name][0]:.3g} after the "
                f"first epoch.{told}",
                large=large,
                small=name,
                share=float(f"{1 / ratio:.0e}"),
            )
        ]
    return []


def _learned_nothing(output: Output, losses: tuple[float, ...]) -> bool:
    """Tells whether an output's loss does not fall, or it is at chance."""
    score = next(iter(scores.of_any_task(output.subject)), None)
    return losses[-1] > STAYS * losses[0] or (score is not None and score.at_chance)


def _weights(known: tuple[Output, ...]) -> str:
    if all(output.weight == 1 for output in known):
        return ""
    return f" (with loss_weights of {', '.join(f'{output.name} {output.weight:g}' for output in known)})"


def _outputs(subject: Subject) -> tuple[Output, ...]:
    known = output_parts.of(subject)
    if not known:
        raise NotApplicable("the model has not several outputs with a label each")
    return known


PROBES = (
    Probe("each of several outputs", each, ("images", "loss"), 30.0),
    Probe("losses of several outputs", drowned, ("images", "loss"), 20.0),
)
