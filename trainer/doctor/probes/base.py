"""A probe: one question to the subject."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding
from trainer.doctor.subject.subject import Subject

# What a probe can need of a subject, and what a user gives for it.
NEEDS = {
    "images": "--data or --dataset",
    "dataset": "--dataset or a prepared --data",
    "folder": "--data with a folder of images",
    "contract": "--data with a prepared dataset",
    "validation": "a validation split",
    "model": "--model",
    "loss": "a compiled --model",
    "history": "--history",
}


@dataclasses.dataclass(frozen=True)
class Probe:
    """A pure function of the subject that gives findings, with what it needs and how long it may take.

    name: what is checked, as a noun that can stand in a list: "value range at the model's input".
    look: raises NotApplicable where it cannot tell, OutOfTime (by its clock) where it could not finish.
    needs: names of NEEDS; without one of them the probe is not asked.
    seconds: time limit; `--deep` multiplies it by subject.DEEPER.
    """

    name: str
    look: Callable[[Subject, Clock], Sequence[Finding]]
    needs: tuple[str, ...] = ()
    seconds: float = 5.0

    def missing(self, subject: Subject) -> list[str]:
        """What the user would have to give for this probe."""
        return [NEEDS[need] for need in self.needs if not subject.has(need)]
