"""Describes what the child process is to run, and what it answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

FILE, ANSWER, STACK, LOG, REACHED = "spec.json", "answer", "stack.txt", "log.txt", "reached"  # in the folder of a run


@dataclasses.dataclass(frozen=True)
class Spec:
    """Holds what the child process is to run.

    program: the script that runs; for a notebook, the code made from it.
    named: the file as the user named it, absolute.
    arguments: what follows it on the command line.
    here: the folder where the doctor was started.
    copies: folder of a copy -> the user's folder.
    folder: where the answer is written.
    full: True to let the training run to its end.
    deep: True to look at more for longer.
    prove: True to train with the remedy of the first finding.
    reach_seconds: time for the program to reach its first training.
    notes: sentences on what was done to the program, for the report.
    """

    program: str
    named: str
    arguments: tuple[str, ...]
    here: str
    copies: dict[str, str]
    folder: str
    full: bool = False
    deep: bool = False
    prove: bool = False
    reach_seconds: float = 600.0
    html: bool = False
    notes: tuple[str, ...] = ()

    def write(self) -> None:
        """Writes the spec into its folder."""
        Path(self.folder, FILE).write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


def read(folder: str) -> Spec:
    """Reads the spec of a folder."""
    content: dict[str, Any] = json.loads(Path(folder, FILE).read_text(encoding="utf-8"))
    for name in ("arguments", "notes"):
        content[name] = tuple(content[name])
    return Spec(**content)
