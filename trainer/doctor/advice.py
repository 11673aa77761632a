"""Says how to begin with few images, beside the findings: it is no fault."""

from __future__ import annotations

import shlex

from pipelines.contract.task import CLASSES
from trainer.doctor.config import DoctorConfig
from trainer.doctor.finding import NotApplicable
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import FOLDER, PREPARED, Subject
from trainer.models.pretrained import FEW_IMAGES


def published_weights(config: DoctorConfig, subject: Subject) -> tuple[str, ...]:
    """Returns the advice to begin with published weights, and the commands for it.

    It is () for data that are no folder and no prepared dataset, for other tasks than classes, and for models whose
    weights may be published ones already: those of a run, and of a function of the user.
    """
    if subject.origin not in (FOLDER, PREPARED) or subject.kind not in ("", CLASSES):
        return ()
    if subject.trained is not None or ":" in config.model or config.model.endswith(".keras"):
        return ()
    try:
        counts, whole = state.counts(subject, subject.split("train"))
    except NotApplicable:
        return ()
    each = sum(counts.values()) / max(len(counts), 1)
    if not whole or len(counts) < 2 or each >= FEW_IMAGES:
        return ()
    begin = "python -m trainer train --data {} --output run-transfer/ --recipe transfer"
    commands = [begin.format(shlex.quote(subject.directory or config.data))]
    if subject.origin == FOLDER:
        prepare = f"python -m pipelines prepare --input {shlex.quote(config.data)} --output data-224/ --for MobileNetV2"
        commands = [prepare, begin.format("data-224/")]
    return (
        f"There are {each:,.0f} train images for each class on average. With so few, a network that begins with "
        "published weights is usually much better than one with random weights (docs/training.md has figures):",
        *commands,
    )
