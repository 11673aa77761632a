"""Limits the time of probes.

A probe checks its clock between steps of work. Nothing interrupts a running TensorFlow operation.
"""

from __future__ import annotations

import time


class OutOfTime(Exception):  # noqa: N818 - an outcome and not an error
    """Says that a probe used up its time before it reached a result."""


class Clock:
    """Measures the time that is left of `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Returns the seconds that are left; negative after the end of the time."""
        return self._end - time.monotonic()

    @property
    def over(self) -> bool:
        return self.left <= 0

    def check(self) -> None:
        """Raises OutOfTime after the end of the time.

        Raises:
          OutOfTime: no time is left.
        """
        if self.over:
            raise OutOfTime(f"not done within {self.seconds:.0f} s; --deep allows more time")
