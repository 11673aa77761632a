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
from trainer.doctor.config import STANDARD_OUTPUT, DoctorConfig
from trainer.doctor.output.text import Report
from trainer.doctor.program import launch


def examine(config: DoctorConfig) -> Report:
    """Examines what the options name, and writes the --json file and the --html page.

    Raises:
      TrainerError, ContractError: an option names something that does not exist.
      OSError: a file cannot be written.
    """
    started = time.monotonic()
    if config.program:  # in a process of its own: this one needs no TensorFlow, and waits for no import of it
        report, html = launch.examine(config)
    else:
        from trainer.doctor import named

        report, html = named.examine(config)
    report = dataclasses.replace(report, seconds=time.monotonic() - started)
    if config.json and config.json != STANDARD_OUTPUT:
        atomic.write_text(Path(config.json), to_json(report))
    if config.html:
        atomic.write_text(Path(config.html), html)
    return report


def to_json(report: Report) -> str:
    """Returns the text of the --json file."""
    return json.dumps(report.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
