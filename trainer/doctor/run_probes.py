"""Executes all probes over a subject, each within its time limit."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

import numpy as np

from pipelines.core.text import first_line
from trainer.doctor.clock import Clock, OutOfTime
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.output import text as report
from trainer.doctor.output import words
from trainer.doctor.output.text import Report
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools import output_parts, reported, scores, task

# The limit of all probes together. Gathering the inputs takes up to 30 s before them. With the time in which Keras
# builds models, the sum is two minutes.
TOTAL_SECONDS = 75.0
LEAST_EPOCHS, EVEN = 10, 0.75  # of a training that was cut short; the share of the commonest class


def run(subject: Subject, probes: Sequence[Probe]) -> Report:
    """Calls every probe and returns the report.

    The report lists a probe as not checked in three cases: an input that it needs is missing, no time is left, or the
    probe fails on unusual input.
    """
    started = time.monotonic()
    total = Clock(TOTAL_SECONDS * subject.times)
    findings: list[Finding] = list(subject.problems)
    checked: list[str] = []
    doubts: list[str] = []
    not_checked: list[tuple[str, str]] = []
    for probe in probes:
        missing = probe.missing(subject)
        if missing:
            # If a dataset or model was given and raised an exception, a finding of its own reports it.
            not_checked.append((probe.name, f"needs {' and '.join(missing)}"))
            continue
        unsuited = probe.unsuited(subject)
        if unsuited:
            not_checked.append((probe.name, unsuited))
            continue
        found, reason, undone = _ask(probe, subject, total)
        findings += found
        if reason:
            not_checked.append((probe.name, reason))
            if undone and probe.matters:
                doubts.append(f"{probe.name} could not be checked ({reason})")
        elif not found:
            checked.append(probe.name)
    told = scores.of_any_task(subject)
    if told and told[-1].at_chance:
        doubts.append(f"the trained model is no better than chance on the {told[-1].split} images")
    doubts += reported.doubts_of_history(subject)
    by_output = {output.name: scores.of_any_task(output.subject) for output in output_parts.of(subject)}
    for name, given in by_output.items():
        told += tuple(dataclasses.replace(score, split=f"{score.split}, output {name!r}") for score in given)
        if given and given[-1].at_chance:
            doubts.append(
                f"the trained model is no better than chance on the {given[-1].split} images, output {name!r}"
            )
    if _learned_nothing(subject):
        doubts.append("no epoch that ran was better on validation than always answering the commonest class")
    made = report.build(
        findings,
        checked=tuple(checked),
        not_checked=tuple(not_checked),
        about=describe(subject),
        seconds=time.monotonic() - started,
        scores=tuple(score.sentence for score in told),
        doubts=tuple(doubts),
    )
    return words.about_rows(made) if words.are_rows(subject) else made


def _learned_nothing(subject: Subject) -> bool:
    """Tells whether all epochs of a training that was cut short scored as guesses.

    The validation accuracy of each is within two standard errors of the share of the commonest class. Where that is
    over EVEN, an accuracy tells little.
    """
    training, validation = subject.training, subject.validation
    if training is None or training.whole or validation is None or not len(validation.sample):
        return False
    reported = state.reported_accuracy(training.history)
    if reported is None or not reported[0].startswith("val_") or len(training.history[reported[0]]) < LEAST_EPOCHS:
        return False
    if task.is_regression(subject) or task.is_multilabel(subject) or task.ignores_labels(subject):
        return False
    _, counts = np.unique(validation.sample.ids, return_counts=True)
    share, count = float(counts.max() / counts.sum()), int(counts.sum())
    return len(counts) > 1 and share <= EVEN and reported[1] <= share + 2 * math.sqrt(share * (1 - share) / count)


def _ask(probe: Probe, subject: Subject, total: Clock) -> tuple[list[Finding], str, bool]:
    """Calls one probe and returns (findings, reason why it could not check, undone).

    The reason is "" where the probe could check the subject. `undone` is True where the check would make sense of this
    subject and did not come to its end.
    """
    if total.over:
        return [], f"the {total.seconds:.0f} s for all checks had passed; --deep allows more time", True
    try:
        return list(probe.look(subject, Clock(min(probe.seconds * subject.times, total.left)))), "", False
    except NotApplicable as e:
        return [], str(e), False
    except OutOfTime as e:
        return [], str(e), True
    except Exception as e:  # one probe may fail on unusual input; the others still run
        return [], f"the check failed on this input ({type(e).__name__}: {first_line(e)})", True


def describe(subject: Subject) -> tuple[str, ...]:
    """Returns sentences that describe what the doctor examines."""
    lines = []
    for split in subject.splits:
        sample = split.sample
        total = f" of {sum(split.counts.values()):,}" if split.counts else ""
        shapes = ", ".join("x".join(map(str, shape)) for shape in sample.shapes[:3])
        kind = "small copies of " if subject.origin == "folder" else ""
        whole = "" if sample.complete or total else ", the first of the dataset"
        lines.append(f"{split.name}: {kind}{len(sample):,}{total} images ({shapes} {sample.batches[0].x.dtype}{whole})")
    if subject.model is not None:
        about = f"model: {subject.model.name}"
        if subject.model.built:
            about += f", {subject.model.count_params():,} parameters"
        lines.append(about + ("" if subject.has("optimizer") else ", not compiled"))
    if subject.history is not None:
        epochs = max(map(len, subject.history.values()))
        lines.append(f"history: {epochs} epochs of {', '.join(subject.history)}")
    return tuple(lines)
