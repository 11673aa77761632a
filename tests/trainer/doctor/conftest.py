"""Gives the probes more time than users wait, so that a busy machine does not change what they find."""

import time
import types

import pytest

from trainer.doctor import clock

SLOWER = 6


@pytest.fixture(autouse=True)
def patient_probes(monkeypatch):
    """Lets the seconds of a probe pass slower; programs that are examined in a fork inherit this."""
    slow = types.SimpleNamespace(monotonic=lambda: time.monotonic() / SLOWER)
    monkeypatch.setattr(clock, "time", slow)
