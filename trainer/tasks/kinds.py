"""Finds the kind of a contract's task."""

from __future__ import annotations

from pipelines.contract import Contract
from trainer.tasks.classes import Classes
from trainer.tasks.multi_label import MultiLabel
from trainer.tasks.regression import Regression
from trainer.tasks.task import Comparable, Spoken, Task

COMPARABLE: tuple[Comparable, ...] = (MultiLabel(), Regression())
SPOKEN: dict[str, Spoken] = {task.kind: task for task in (MultiLabel(), Regression())}
KINDS: dict[str, Task] = {task.kind: task for task in (Classes(), MultiLabel(), Regression())}


def of(contract: Contract) -> Task:
    """Returns what is particular to the contract's kind of task."""
    return KINDS[contract.task.kind]
