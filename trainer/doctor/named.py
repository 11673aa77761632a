"""Examines what the options name: data, models and runs, but no program."""

from __future__ import annotations

import dataclasses

from trainer.doctor import advice, run_probes
from trainer.doctor.config import DoctorConfig
from trainer.doctor.output import page
from trainer.doctor.output.text import Report
from trainer.doctor.probes import registry
from trainer.doctor.prove import trial
from trainer.doctor.subject import load


def examine(config: DoctorConfig) -> tuple[Report, str]:
    """Returns the report on what the options name, and the page of --html or "".

    Raises:
      TrainerError, ContractError: an option names something that does not exist.
    """
    subject = load.gather(config)
    report = run_probes.run(subject, registry.all_probes())
    if config.prove:
        report = dataclasses.replace(report, proof=trial.prove(subject, report.findings, lambda file: None))
    report = dataclasses.replace(report, advice=advice.published_weights(config, subject))
    return report, page.render(subject, report) if config.html else ""
