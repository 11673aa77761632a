"""Holds what a probe found: the fault, the numbers that show it, what it costs, and the exact fix."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

ERROR, WARNING, INFO = LEVELS = ("error", "warning", "info")
BARS, LINES, MATRIX, PICTURES = CHART_KINDS = ("bars", "lines", "matrix", "pictures")


class NotApplicable(Exception):  # noqa: N818 - an outcome and not an error
    """A probe cannot tell anything of this subject; the message says why, as the end of "not checked: ..."."""


@dataclasses.dataclass(frozen=True)
class Chart:
    """A plot of the page.

    kind: bars or lines: `series` maps a name to as many numbers as `labels`; matrix: one row a series, named by it;
      pictures: `series` maps a caption to an image (H, W, 3), any range: it is stretched to what can be seen.
    labels: below the bars, points or columns.
    """

    title: str
    kind: str
    series: Mapping[str, Any]
    labels: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault.

    id: stable name, such as `range-large`; docs/doctor.md explains it under this name.
    level: error: training cannot work like this; warning: it costs accuracy; info: worth knowing.
    what, cost, fix: sentences of findings.toml; see `catalogue.found`.
    evidence: the numbers from the user's data and model that show it.
    impact: 0..1, the share of what could be reached that it is expected to cost; ranks findings of one level.
    """

    id: str
    level: str
    what: str
    evidence: str
    cost: str
    fix: str
    impact: float = 0.5
    charts: tuple[Chart, ...] = ()

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"level should be one of {', '.join(LEVELS)}. Received: {self.level!r}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without the plots."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "charts"}


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first; of one level, what costs most; equals by name, so that equal runs are equal texts."""
    return sorted(findings, key=lambda f: (LEVELS.index(f.level), -f.impact, f.id))
