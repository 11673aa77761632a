"""Defines a finding: the fault, the numbers that show it, its cost, and the fix."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

ERROR, WARNING, INFO = LEVELS = ("error", "warning", "info")
BARS, LINES, MATRIX, PICTURES = CHART_KINDS = ("bars", "lines", "matrix", "pictures")


class NotApplicable(Exception):  # noqa: N818 - an outcome and not an error
    """Says that a probe cannot examine this subject.

    The message is the reason. It is written as the end of the line "not checked: ...".
    """


@dataclasses.dataclass(frozen=True)
class Chart:
    """Describes a plot of the HTML page.

    kind: one of CHART_KINDS.
      bars, lines: `series` maps a name to as many numbers as there are `labels`.
      matrix: `series` maps the name of each row to its numbers.
      pictures: `series` maps a caption to an image (H, W, 3) of any range. The page stretches its values to the visible
      range.
    labels: names below the bars, points or columns.
    """

    title: str
    kind: str
    series: Mapping[str, Any]
    labels: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Finding:
    """Describes one fault.

    id: stable name, such as `range-large`. docs/doctor.md explains the finding under this name.
    level: error: training cannot work like this; warning: the fault costs accuracy; info: worth knowing.
    what, cost, fix: sentences of findings.toml; see `catalogue.found`.
    evidence: sentences with the numbers from the user's data and model that show the fault.
    place: the line of the user's code that it is about, as "file:line: code", where it is known.
    impact: 0..1, the share of the reachable accuracy that the fault probably costs. It ranks findings of one level.
    explains: ids of findings that this fault brings with it.
    follows: id of the finding beside it that explains this one; "" without. `ranked` sets it.
    """

    id: str
    level: str
    what: str
    evidence: str
    cost: str
    fix: str
    impact: float = 0.5
    charts: tuple[Chart, ...] = ()
    place: str = ""
    explains: tuple[str, ...] = ()
    follows: str = ""

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"level should be one of {', '.join(LEVELS)}. Received: {self.level!r}")

    def to_dict(self) -> dict[str, Any]:
        """Returns the finding for JSON, without the plots."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in ("charts", "explains")]
        return {name: getattr(self, name) for name in names}


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Sorts findings: causes before what follows from them, errors first.

    A cause ranks with the highest level of what it explains. Of one level, the finding with the highest impact comes
    first. The name makes the order stable, so that equal runs give equal texts.
    """
    by_level = sorted(findings, key=lambda f: (LEVELS.index(f.level), -f.impact, f.id))
    causes: dict[str, str] = {}
    for finding in by_level:
        for id_ in finding.explains:
            causes.setdefault(id_, finding.id)
    levels: dict[str, int] = {}
    for finding in by_level:
        for id_ in (finding.id, causes.get(finding.id, finding.id)):
            levels[id_] = min(levels.get(id_, len(LEVELS)), LEVELS.index(finding.level))
    marked = [dataclasses.replace(f, follows=causes.get(f.id, "")) for f in by_level]
    return sorted(marked, key=lambda f: (bool(f.follows), levels[f.id], -f.impact, f.id))
