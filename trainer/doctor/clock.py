"""Time limits. A probe asks its clock between steps of work; nothing is interrupted in the middle of TensorFlow."""

from __future__ import annotations

import time


class OutOfTime(Exception):  # noqa: N818 - an outcome and not an error
    """A probe used up its time before it could tell."""


class Clock:
    """Counts down from `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left; negative when over."""
        return self._end - time.monotonic()

    @property
    def over(self) -> bool:
        return self.left <= 0

    def check(self) -> None:
        """Raises OutOfTime when the time is over."""
        if self.over:
            raise OutOfTime(f"not done within {self.seconds:.0f} s; --deep gives it more")
