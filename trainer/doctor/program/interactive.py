"""Watches trainings in a running Python, such as a Jupyter kernel."""

from __future__ import annotations

import os
import tempfile
import threading

from trainer.doctor.output.text import Report
from trainer.doctor.program.child import Examination
from trainer.doctor.program.spec import Spec
from trainer.doctor.watching.places import Places

_watching: list[tuple[Examination, tempfile.TemporaryDirectory[str]]] = []  # the one that watches at present, or none
_turn = threading.RLock()  # two that begin at once would leave the functions of one in Keras for ever


def watch() -> None:
    """Begins to watch: each fit is examined at its end, and the report printed.

    Trainings are not cut short. A second call begins anew.
    """
    with _turn:
        stop()
        folder = tempfile.TemporaryDirectory(prefix="shardmill-doctor-", ignore_cleanup_errors=True)
        given = Spec("", "", (), os.getcwd(), {}, folder.name, full=True)
        examination = Examination(given, Places({}, os.getcwd()), examined=_print)
        examination.watcher.start()
        _watching.append((examination, folder))


def report() -> Report | None:
    """Returns the report of the last training; None before the first."""
    with _turn:
        reports = _watching[-1][0].reports if _watching else []
        return reports[-1] if reports else None


def stop() -> None:
    """Ends watching."""
    with _turn:
        while _watching:
            examination, folder = _watching.pop()
            examination.watcher.stop()
            folder.cleanup()


def _print(found: Report) -> None:
    print(found.text())  # noqa: T201 - the output of a cell
