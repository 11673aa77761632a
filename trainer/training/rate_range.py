"""Defines the options of the range test of learning rates."""

from __future__ import annotations

import dataclasses

from pipelines.core.errors import ConfigError
from pipelines.options import config_fields
from pipelines.options.config_fields import Range, option


@dataclasses.dataclass(frozen=True)
class RateRange:
    """Holds the rates that are tested.

    Raises:
      ConfigError: a value is out of its range, or the last rate is not above the first.
    """

    from_rate: float = option(1e-6, "first learning rate of the test", limits=Range(0, 100, above=True))
    to_rate: float = option(1.0, "last learning rate of the test", limits=Range(0, 100, above=True))
    rate_steps: int = option(
        100,
        "number of steps of the test; the rate rises by an equal factor from step to step",
        limits=Range(2, 100_000),
    )

    def __post_init__(self) -> None:
        config_fields.check(self)
        if self.to_rate <= self.from_rate:
            raise ConfigError(
                f"--to-rate should be above --from-rate. Received: {self.to_rate:g} and {self.from_rate:g}."
            )

    def rates(self) -> list[float]:
        """Returns the rate of each step."""
        factor = self.to_rate / self.from_rate
        return [self.from_rate * factor ** (n / (self.rate_steps - 1)) for n in range(self.rate_steps)]
