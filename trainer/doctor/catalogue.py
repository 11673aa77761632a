"""Builds findings from findings.toml, the catalogue that holds their sentences.

    found("range-large", "The dataset gives 0..255.", rms=130.2, charts=[histogram])

The head of findings.toml explains the keys of an entry and the placeholders in its sentences.
"""

from __future__ import annotations

import dataclasses
import functools
import string
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.doctor.finding import LEVELS, Chart, Finding

FILE = Path(__file__).with_name("findings.toml")
GROUPS = {
    "input": "input against model",
    "labels": "labels and head",
    "data": "data",
    "training": "model and training",
}
TEXTS = ("what", "cost", "fix")
KEYS = {"level", "impact", *TEXTS}  # keys of an entry and of a case
# Arguments of `found`. A placeholder cannot have one of these names.
ARGUMENTS = {"id_", "evidence", "case", "level", "impact", "charts"}


@dataclasses.dataclass(frozen=True)
class Form:
    """Holds the sentences of a finding, or of one of its cases.

    levels: one level, or the levels from which the probe chooses.
    impact: None where the probe computes it.
    """

    levels: tuple[str, ...]
    impact: float | None
    what: str
    cost: str
    fix: str

    @property
    def placeholders(self) -> frozenset[str]:
        """Returns the names of the values that the sentences need."""
        parts = (string.Formatter().parse(getattr(self, name)) for name in TEXTS)
        return frozenset(name for part in parts for _, name, _, _ in part if name is not None)


@dataclasses.dataclass(frozen=True)
class Entry:
    """Describes one finding of the catalogue.

    group: one of GROUPS. It selects the table of docs/doctor.md that lists the finding.
    documentation: what the probe examines, and where the limit comes from.
    explains: ids of findings that this fault brings with it.
    forms: case -> its sentences. A finding without cases has one form, under "".
    """

    id: str
    group: str
    documentation: str
    forms: Mapping[str, Form]
    explains: tuple[str, ...] = ()

    @property
    def levels(self) -> tuple[str, ...]:
        """Returns all levels that the finding can have, in the order of the catalogue."""
        return tuple(dict.fromkeys(level for form in self.forms.values() for level in form.levels))


def found(
    id_: str,
    evidence: str,
    *,
    case: str = "",
    level: str = "",
    impact: float | None = None,
    charts: Sequence[Chart] = (),
    **values: Any,
) -> Finding:
    """Returns the finding of this id, with `values` in the place of its placeholders.

    Args:
      id_: a name of the catalogue.
      evidence: sentences with the numbers from the user's data and model that show the fault.
      case: the form of the finding, where it has several.
      level, impact: are given exactly where the catalogue leaves them to the probe.

    Raises:
      ValueError: the catalogue has no such id or case, or the arguments are not those that the catalogue asks for.
    """
    form = _form(id_, case)
    given = frozenset(values)
    if given != form.placeholders:
        missing, unused = sorted(form.placeholders - given), sorted(given - form.placeholders)
        raise ValueError(f"finding {id_}, case {case!r}: missing values {missing}, unused values {unused}")
    if bool(level) == (len(form.levels) == 1) or (level and level not in form.levels):
        raise ValueError(f"finding {id_}, case {case!r}: level {level!r} does not go with {list(form.levels)}")
    impacts = [value for value in (impact, form.impact) if value is not None]
    if len(impacts) != 1:
        raise ValueError(f"finding {id_}, case {case!r}: the impact should be given here or in the catalogue")
    what, cost, fix = (_Sentence().vformat(text, (), values) for text in (form.what, form.cost, form.fix))
    return Finding(
        id=id_,
        level=level or form.levels[0],
        what=what,
        evidence=evidence,
        cost=cost,
        fix=fix,
        impact=impacts[0],
        charts=tuple(charts),
        explains=entries()[id_].explains,
    )


def _form(id_: str, case: str) -> Form:
    entry = entries().get(id_)
    if entry is None:
        raise ValueError(f"the catalogue has no finding {id_!r}")
    if case not in entry.forms:
        raise ValueError(f"finding {id_} has no case {case!r}, but {list(entry.forms)}")
    return entry.forms[case]


class _Sentence(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        """Formats as Python does, or chooses between two words "one|several".

        The first word is for a value of 1 or True, the second for every other value.
        """
        one, either, several = format_spec.partition("|")
        if either:
            return one if value == 1 else several
        return str(super().format_field(value, format_spec))


@functools.cache
def entries() -> Mapping[str, Entry]:
    """Returns id -> entry, in the order of the catalogue."""
    found = {entry.id: entry for entry in parse(FILE.read_text(encoding="utf-8"))}
    for entry in found.values():
        unknown = sorted(set(entry.explains) - set(found))
        if unknown:
            raise ValueError(f"finding {entry.id} explains {', '.join(unknown)}, which the catalogue does not have")
    return found


def parse(text: str) -> Iterator[Entry]:
    """Reads a catalogue and yields its entries.

    Raises:
      ValueError: a group is unknown, an entry has a wrong key or value, or an id occurs twice. The message names it.
    """
    seen: set[str] = set()
    for group, members in tomllib.loads(text).items():
        if group not in GROUPS:
            raise ValueError(f"group should be one of {', '.join(GROUPS)}. Received: {group!r}")
        for id_, content in members.items():
            if id_ in seen:
                raise ValueError(f"finding {id_} is there twice")
            seen.add(id_)
            yield _entry(group, id_, content)


def _entry(group: str, id_: str, content: dict[str, Any]) -> Entry:
    common = {key: value for key, value in content.items() if key not in ("case", "documentation", "explains")}
    documentation = _line(content.get("documentation"))
    if not documentation:
        raise ValueError(f"finding {id_} has no documentation")
    cases = content.get("case", {"": {}})
    forms = {name: _parse_form(id_, common | case) for name, case in cases.items()}
    return Entry(id_, group, documentation, forms, tuple(content.get("explains", ())))


def _parse_form(id_: str, content: dict[str, Any]) -> Form:
    unknown = sorted(set(content) - KEYS)
    missing = sorted(name for name in ("level", *TEXTS) if not content.get(name))
    if unknown or missing:
        raise ValueError(f"finding {id_}: unknown keys {unknown}, missing keys {missing}")
    level, impact = content["level"], content.get("impact")
    levels = (level,) if isinstance(level, str) else tuple(level)
    if not set(levels) <= set(LEVELS):
        raise ValueError(f"finding {id_}: level should be of {', '.join(LEVELS)}. Received: {level!r}")
    if impact is not None and not (isinstance(impact, int | float) and 0 <= impact <= 1):
        raise ValueError(f"finding {id_}: impact should be from 0 to 1. Received: {impact!r}")
    form = Form(levels, impact, *(_line(content[name]) for name in TEXTS))
    if form.placeholders & ARGUMENTS:
        raise ValueError(f"finding {id_}: {sorted(form.placeholders & ARGUMENTS)} cannot be placeholders")
    return form


def _line(text: Any) -> str:
    """Joins the lines of a text of the catalogue."""
    return " ".join(str(text or "").split())
