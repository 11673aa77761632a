"""The seconds of parts are noted inside `noted` only, and added up where a part runs twice."""

from __future__ import annotations

import pytest

from pipelines.core.console import timings


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a second at each look."""
    seconds = iter(range(100))
    monkeypatch.setattr(timings.time, "perf_counter", lambda: float(next(seconds)))


def test_parts_are_noted_and_added_up(clock):
    with timings.part("before"):
        pass
    with timings.noted() as found:
        with timings.part("plots"):
            pass
        with timings.part("export"), timings.part("parity"):
            pass
        with timings.part("plots"):
            pass
    with timings.part("after"):
        pass
    assert found == {"plots": 2.0, "parity": 1.0, "export": 3.0}


def test_a_part_that_fails_is_noted(clock):
    with timings.noted() as found, pytest.raises(ValueError, match="no"), timings.part("plots"):
        raise ValueError("no")
    assert found == {"plots": 1.0}


def test_the_table():
    assert timings.text({"imports": 4.0, "plots": 0.25}, 5.0) == "imports  4.00 s\nplots    0.25 s\nin all   5.00 s"
