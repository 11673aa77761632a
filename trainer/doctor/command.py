"""Executes the doctor: gathers inputs, runs the probes and writes the reports.

from trainer.doctor.config import DoctorConfig
from trainer.doctor.command import examine
report = examine(DoctorConfig(data="photos/"))
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

from pipelines.core.files import atomic
from trainer.doctor import advice, run_probes
from trainer.doctor.config import STANDARD_OUTPUT, DoctorConfig
from trainer.doctor.output import page
from trainer.doctor.output.text import Report
from trainer.doctor.probes import registry
from trainer.doctor.program import launch
from trainer.doctor.prove import trial
from trainer.doctor.subject import load


def examine(config: DoctorConfig) -> Report:
    """Examines what the options name, and writes the --json file and the --html page.

    Raises:
      TrainerError, ContractError: an option names something that does not exist.
      OSError: a file cannot be written.
    """
    started = time.monotonic()
    if config.program:
        report, html = launch.examine(config)
    else:
        subject = load.gather(config)
        report = run_probes.run(subject, registry.all_probes())
        if config.prove:
            report = dataclasses.replace(report, proof=trial.prove(subject, report.findings, lambda file: None))
        report = dataclasses.replace(report, advice=advice.published_weights(config, subject))
        html = page.render(subject, report) if config.html else ""
    report = dataclasses.replace(report, seconds=time.monotonic() - started)
    if config.json and config.json != STANDARD_OUTPUT:
        atomic.write_text(Path(config.json), to_json(report))
    if config.html:
        atomic.write_text(Path(config.html), html)
    return report


def to_json(report: Report) -> str:
    """Returns the text of the --json file."""
    return json.dumps(report.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
