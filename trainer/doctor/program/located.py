"""Finds the line of the user's code that a finding is about."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.subject.training import Place, Training


def with_places(findings: Sequence[Finding], training: Training | None) -> Iterator[Finding]:
    """Yields the findings with the line that each is about.

    A layer that a finding names is told by the line that made it. Otherwise findings on data have the line of fit, and
    those on the loss, the head and the optimizer that of compile.
    """
    for finding in findings:
        place = _place(finding, training) if training is not None and not finding.place else None
        yield finding if place is None else dataclasses.replace(finding, place=place.quoted)


def _place(finding: Finding, training: Training) -> Place | None:
    entry = catalogue.entries().get(finding.id)
    group = entry.group if entry is not None else ""
    if group in ("input", "data"):
        return training.place
    if finding.id in OF_FIT:
        return training.place
    told = f"{finding.what} {finding.evidence} {finding.fix}".replace("'", " ").replace(",", " ").replace(".", " ")
    words = set(told.split())
    layers = [name for name in training.layers_at if name in words]
    if len(layers) == 1:
        return training.layers_at[layers[0]]
    return training.compiled_at or training.place


# Findings of the group training that are about the arguments of fit.
OF_FIT = (
    "no-validation",
    "few-steps",
    "loss-not-settled",
    "overfitting",
    "underfitting",
    "diverged",
    "batch-norm-alone",
)
