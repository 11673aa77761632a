"""Watches trainings in a running Python, such as a Jupyter kernel."""

from __future__ import annotations

import os
import tempfile

from trainer.doctor.output.text import Report
from trainer.doctor.program.child import Examination
from trainer.doctor.program.places import Places
from trainer.doctor.program.spec import Spec

_watching: list[Examination] = []  # the one that watches at present, or none


def watch() -> None:
    """Begins to watch: each fit is examined at its end, and the report printed.

    Trainings are not cut short. A second call begins anew.
    """
    stop()
    folder = tempfile.mkdtemp(prefix="shardmill-doctor-")
    given = Spec("", "", (), os.getcwd(), {}, folder, full=True)
    examination = Examination(given, Places({}, os.getcwd()), examined=_print)
    examination.watcher.start()
    _watching.append(examination)


def report() -> Report | None:
    """Returns the report of the last training; None before the first."""
    return _watching[-1].reports[-1] if _watching and _watching[-1].reports else None


def stop() -> None:
    """Ends watching."""
    while _watching:
        _watching.pop().watcher.stop()


def _print(found: Report) -> None:
    print(found.text())  # noqa: T201 - the output of a cell
