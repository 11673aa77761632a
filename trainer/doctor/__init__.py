"""Finds what keeps the accuracy low in a dataset, a model or a past training.

`subject/` gathers the inputs once, within limits on their number and on the time. `tools/` has the measurements that
probes share, and `copies/` copies the model for experiments. A probe (`probes/`) is a pure function of the subject that
returns findings. `run_probes.py` runs all probes within their time limits. `output/` writes the report. `program/` runs
a user's program, and `watching/` watches it. Start reading in `command.py`.

The sentences of all findings are in `findings.toml`. A probe names a finding and gives numbers and evidence, and
`catalogue.py` builds the finding from them. `make docs` writes the tables of docs/doctor.md from the same file. These
tables say what each probe looks for, and where its thresholds come from.
"""

from __future__ import annotations

from typing import Any


def watch() -> None:
    """Begins to watch Keras in this Python, for example in a notebook.

    Each `model.fit` after it is examined at its end, and the report is printed.
    """
    from trainer.doctor.program import interactive

    interactive.watch()


def report() -> Any:
    """Returns the report of the last training after `watch`; None before the first."""
    from trainer.doctor.program import interactive

    return interactive.report()
