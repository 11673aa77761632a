"""Makes what is costly once for all processes of a test run."""

from __future__ import annotations

import fcntl
import os
import pathlib
import pickle
import shutil
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def folder(factory: pytest.TempPathFactory) -> pathlib.Path:
    """Returns the folder that all processes of a test run share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # each worker has a folder of its own there


def made(factory: pytest.TempPathFactory, name: str, make: Callable[[pathlib.Path], T]) -> T:
    """Returns what `make` returned in the first process that asked; the others wait until it is there.

    Args:
      name: the name of the folder that `make` gets, and that all processes read.
      make: its result can be pickled.
    """
    base = folder(factory)
    place, kept = base / name, base / f"{name}.pickle"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            shutil.rmtree(place, ignore_errors=True)  # of a process that failed
            place.mkdir()
            result = pickle.dumps(make(place))
            kept.write_bytes(result)
        return pickle.loads(kept.read_bytes())  # type: ignore[no-any-return]
