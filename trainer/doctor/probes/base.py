"""Defines a probe: one check of the subject."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools import task

# Inputs that a probe can need, and the options with which a user gives them.
NEEDS = {
    "images": "--data or --dataset",
    "dataset": "--dataset or a prepared --data",
    "folder": "--data with a folder of images",
    "contract": "--data with a prepared dataset",
    "validation": "a validation split",
    "model": "--model",
    "layers": "--model",
    "optimizer": "a compiled --model",
    "loss": "a compiled --model with a loss",
    "history": "--history",
}
# The same for a program that the doctor runs.
PROGRAM_NEEDS = NEEDS | {
    "images": "images that the program trains on",
    "dataset": "data as a tf.data.Dataset",
    "model": "a model",
    "layers": "a model",
    "optimizer": "a compiled model",
    "loss": "a model that is compiled with a loss",
    "history": "a training that ran to its end (--full lets it run)",
}


@dataclasses.dataclass(frozen=True)
class Probe:
    """Describes a pure function of the subject that returns findings.

    name: what is checked, as a noun that can stand in a list: "value range at the model's input".
    look: the function. It raises NotApplicable where it cannot check the subject, and OutOfTime (by its clock) where it
      could not finish.
    needs: names of NEEDS. Without one of them the probe is not called.
    seconds: time limit; `--deep` multiplies it by subject.DEEPER.
    of_classes: True if the check makes sense of classes only, and not of numbers that are to be predicted.
    exclusive: True if it makes sense only where exactly one class is right of each image.
    alone: True if it makes sense only where each image has a label of its own, and not a pair of images.
    matters: True if a program cannot be called healthy without this check.
    """

    name: str
    look: Callable[[Subject, Clock], Sequence[Finding]]
    needs: tuple[str, ...] = ()
    seconds: float = 5.0
    of_classes: bool = False
    matters: bool = False
    exclusive: bool = False
    alone: bool = False

    def missing(self, subject: Subject) -> list[str]:
        """Returns what the user would have to give for this probe."""
        names = NEEDS if subject.training is None else PROGRAM_NEEDS
        return [names[need] for need in self.needs if not subject.has(need)]

    def unsuited(self, subject: Subject) -> str:
        """Returns why the check makes no sense of this subject; "" if it does."""
        if (self.of_classes or self.exclusive) and any(s.sample.has_several_targets for s in subject.splits):
            return "there are several outputs, and each is judged by itself"
        if (self.of_classes or self.exclusive) and task.is_regression(subject):
            return "the targets are numbers and not classes"
        if (self.of_classes or self.exclusive) and task.ignores_labels(subject):
            return "the loss does not look at the labels"
        if self.exclusive and task.is_multilabel(subject):
            return "several classes may be right of one image"
        if self.alone and any(split.sample.has_pairs for split in subject.splits):
            return "the labels are those of several inputs together"
        return ""
