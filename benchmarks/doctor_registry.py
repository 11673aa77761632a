"""The faults and healthy set-ups that `doctor_faults.py` runs, and the room they are made in.

A case is a function that takes a Room and gives the arguments of `trainer.doctor.subject.load.subject_of`:

    @fault("0..255 into a model that expects small values", "range-large")
    def raw_pixels(room):
        x, y = room.photos("trashnet", each=40, side=64)
        return {"dataset": batches(x.astype("float32"), y), "model": cnn(6)}
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from trainer.doctor import catalogue

ROOT = pathlib.Path(__file__).parent.parent
HEALTHY = "healthy"
Given = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Case:
    """group: that of the finding in the catalogue, or HEALTHY.

    expects: the id that has to be found; "" where nothing may be.
    """

    group: str
    name: str
    expects: str
    make: Callable[[Room], Given]


CASES: list[Case] = []


def fault(name: str, expects: str) -> Callable[[Callable[[Room], Given]], Callable[[Room], Given]]:
    """Registers a set-up with one fault, and the id under which it has to be found.

    Raises:
      KeyError: the catalogue has no such id.
    """
    return _register(catalogue.GROUPS[catalogue.entries()[expects].group], name, expects)


def healthy(name: str) -> Callable[[Callable[[Room], Given]], Callable[[Room], Given]]:
    """Registers a set-up in which nothing may be found."""
    return _register(HEALTHY, name, "")


def _register(group: str, name: str, expects: str) -> Callable[[Callable[[Room], Given]], Callable[[Room], Given]]:
    def register(make: Callable[[Room], Given]) -> Callable[[Room], Given]:
        CASES.append(Case(group, name, expects, make))
        return make

    return register


class Room:
    """Real photographs, and prepared datasets and runs made of them once."""

    def __init__(self, data: pathlib.Path, folder: pathlib.Path) -> None:
        self.data, self.folder = data, folder

    def prepared(self, collection: str | pathlib.Path, *options: str) -> str:
        """The directory of a dataset prepared with these options from a collection, or from a folder."""
        source = self.data / collection  # an absolute folder stands by itself
        target = self.folder / "prepared" / _digest(str(source), *options)
        if not (target / "contract.json").is_file():
            _run("pipelines", "prepare", "--input", str(source), "--output", str(target), *options)
        return str(target)

    def trained(self, data: str, *options: str) -> str:
        """The directory of a run trained on a prepared dataset with these options."""
        target = self.folder / "runs" / _digest(data, *options)
        if not (target / "metrics.json").is_file():
            _run("trainer", "train", "--data", data, "--output", str(target), *options)
        return str(target)


def _run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)[:300]} failed ({done.returncode}):\n{done.stderr[-2000:]}")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
